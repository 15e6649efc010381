"""auth_query: as whom the broker logs in to ask, and servers that do harm with their answers."""

import os
import re
import signal
import socket
from pathlib import Path

import pytest

from harness import scram, wire
from harness.fake_server import FakeServer, complete, data_row, error, random_salt, ready, row_description
from harness.raw import Refused
from harness.system import eventually
from test_auth_query import asking, cannot_be_looked_up, login, lookers, roles, server, start_login  # noqa: F401

pytestmark = pytest.mark.ours


# As whom the broker asks ----------------------------------------------------------------------------------------------

def test_an_md5_secret_logs_in(asking, server):  # noqa: F811
    """As with PgBouncer: where the server asks for md5, the hash is all that it takes."""
    secret = scram.md5("looker", "lookerpw")
    before = server.value("select rolpassword from pg_authid where rolname = 'looker'")
    server.sql(f"alter role looker password '{secret}'")
    try:
        assert login(asking(userlist={"looker": secret})) == "ann"
        cannot_be_looked_up(asking(userlist={"looker": scram.md5("looker", "other")}))
    finally:
        server.sql(f"alter role looker password '{before}'")


def test_a_scram_secret_logs_in_once_its_user_has(asking, server):  # noqa: F811
    """Its keys come from a client's login, as for the servers of pools."""
    b = asking(userlist={"looker": server.value("select rolpassword from pg_authid where rolname = 'looker'")})
    cannot_be_looked_up(b)
    assert "serves only after a client's SCRAM login" in b.log
    assert login(b, "looker", "lookerpw") == "looker"

    def found():
        try:
            return login(b)
        except Refused:  # there is a pause between two attempts
            return None
    assert eventually(found, "the keys serve") == "ann"


# Servers that do harm -------------------------------------------------------------------------------------------------

def peak(b):
    """The most memory that the broker has had, in MB."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{b.pid}/status").read_text())[1]) / 1024


@pytest.fixture
def beside(asking, server):  # noqa: F811
    """A broker with a healthy database and one of this server."""
    fakes = []

    def start(**does):
        fakes.append(FakeServer(**does))
        return fakes[-1], asking(databases={"e2e": f"host={server.sockets} port={server.port} dbname=e2e",
                                            "bad": fakes[-1].entry()})
    yield start
    for fake in fakes:
        fake.stop()


@pytest.mark.parametrize("iterations", [2147483647, 1000000])
def test_a_server_that_wants_our_time_holds_up_nobody(beside, iterations):
    """T12: rounds of SCRAM without end, or as many as we count, with ever new salts; also not the end of the process."""
    fake, b = beside(login=lambda s: (s.scram(salt=random_salt(), iterations=iterations), s.wait_closed()))
    strangers = [start_login(b, "ann", "bad") for _ in range(3)]
    eventually(lambda: fake.sessions and fake.sessions[0].seen, "it has asked for them")
    assert login(b) == "ann"
    b.signal(signal.SIGQUIT)
    assert b.wait_exit() == 0
    for c in strangers:
        c.close()


HEALTHY = {3: ("f", "scram-sha-256", "4096"), 4: ("ann", "annpw", "0", "0")}
BEGUN = wire.frame("1") + wire.frame("2")


def answers(columns):
    return BEGUN + row_description(*"abcd"[:columns]) + data_row(*HEALTHY[columns]) + complete("SELECT 1") + ready()


def pour(session, piece):
    while True:  # until it is Gone
        session.send(piece)


def pours(piece, columns=3, begun=True):
    """After the question whose answer has so many columns; those before it are answered as they should be."""
    def answer(session, message):
        if message.tag != "S":
            return
        number = sum(m.tag == "S" for m in session.seen)
        if number + 2 < columns:
            return session.send(answers(number + 2))
        session.send(BEGUN + row_description(*"abcd"[:columns]) if begun else b"")
        pour(session, piece)
    return {"answer": answer}


ROW, NOTICE = data_row("ann", "x" * 2000, "0", "0"), error({"S": "NOTICE", "V": "NOTICE", "M": "x" * 2000}, "N")
FLOODS = {
    "rows for the probe": pours(data_row("f", "x" * 2000, "1") * 32),
    "rows for a user": pours(ROW * 32, 4),
    "notices": pours(NOTICE * 32, 4, False),
    "parameters": pours(wire.frame("S", b"a\0" + b"x" * 2000 + b"\0") * 32, 4),
    "one row without end": pours(b"D\x7f\xff\xff\xff" + b"x" * 65536, 4),
    "notices before a login": {"login": lambda s: pour(s, NOTICE * 32)},
    "parameters before it is ready": {"login": lambda s: (s.send(wire.frame("R", b"\0" * 4)), pour(s, wire.frame("S", b"a\0b\0") * 999))},
}


@pytest.mark.parametrize("flood", list(FLOODS))
def test_a_server_that_pours_fills_no_memory(beside, flood):
    """T11."""
    fake, b = beside(**FLOODS[flood])
    assert login(b) == "ann"
    before = peak(b)
    cannot_be_looked_up(b, database="bad")
    assert fake.sessions and all(eventually(lambda s=s: s.gone, "it is not listened to") for s in fake.sessions)
    assert peak(b) - before < 30
    assert login(b) == "ann"
    assert not fake.failures


@pytest.mark.parametrize("listens", [False, True], ids=["refuses", "says nothing"])
def test_the_next_host_is_asked_before_anybody_is_told(asking, server, listens):  # noqa: F811
    """Also one that takes connections and says nothing, as behind a firewall."""
    with socket.socket() as first:
        first.bind(("127.0.0.2", server.port))
        if listens:
            first.listen(64)
        b = asking(databases={"e2e": f"host={server.sockets} port={server.port} dbname=e2e",
                              "lookup": f"host=127.0.0.2,127.0.0.1 port={server.port} dbname=e2e"},
                   auth_dbname="lookup", server_connect_timeout=1)
        assert login(b) == "ann"
        why = "no answer in time" if listens else "connect to 127.0.0.2"
        assert f'database "lookup" as user "looker": {why}' in b.log


def test_a_connection_that_died_silently_is_made_again(asking, server):  # noqa: F811
    """As behind a firewall that has forgotten it: the login waits a little, and gets in."""
    b = asking()
    assert login(b) == "ann"
    rested = "select max(pid) from pg_stat_activity where application_name = 'pgberth auth_query' and state_change < now() - interval '2s'"
    backend = eventually(lambda: server.value(rested), "it has rested")
    os.kill(int(backend), signal.SIGSTOP)
    try:
        assert login(b) == "ann"
    finally:
        os.kill(int(backend), signal.SIGCONT)
    assert "is reached again" not in b.log, "that is no outage"


def test_an_idle_connection_that_ends_is_no_outage(asking, server):  # noqa: F811
    b = asking()
    assert login(b) == "ann"
    server.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'pgberth auth_query'")
    eventually(lambda: lookers(b)["e2e"]["connections"] == 0, "it has gone")
    assert login(b) == "ann"
    assert "auth_query: database" not in b.log


def test_a_wrong_dbname_of_an_entry_is_a_mistake(asking, server):  # noqa: F811
    """Only behind the entry * may a client have made the name up."""
    b = asking(databases={"e2e": f"host={server.sockets} port={server.port} dbname=no_such_database"})
    cannot_be_looked_up(b)
    assert 'database "no_such_database" does not exist' in b.log
