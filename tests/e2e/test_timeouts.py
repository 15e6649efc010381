"""Timeouts end what they are meant to end and nothing else. No test asserts how long anything took."""

from pathlib import Path

import pytest

from harness import wire
from harness.raw import Raw
from harness.system import eventually

PID = "select pg_backend_pid()"


def ended_with(c, text, sqlstates):
    """The client is told why, and that is the last it hears."""
    said = [m for m in c.until_closed() if m.tag not in "TDCZS"]
    error = wire.only_error(said)
    assert text in error.text.replace("_", " "), error.fields
    assert error.sqlstate in sqlstates, error.fields


def gone(postgres, pid):
    eventually(lambda: int(pid) not in postgres.backends(), f"backend {pid} ends")


def healthy(b):
    assert b.alive
    with b.connect() as other:
        assert other.value("select 'served'") == "served"


@pytest.mark.ours
def test_query_timeout(broker, postgres):
    """The query is not left running on the server."""
    b = broker(query_timeout=1, default_pool_size=1)
    c = b.connect()
    pid = c.value(PID)
    c.send(wire.query("select pg_sleep(600)"))
    ended_with(c, "query timeout", ["57014", "08P01"])
    healthy(b)
    eventually(lambda: not postgres.sql("select 1 from pg_stat_activity where wait_event = 'PgSleep'"),
               "the query ends")
    assert pid


def test_query_timeout_spares_idle_clients(broker):
    b = broker(query_timeout=1)
    c, other = b.connect(), b.connect()
    c.query("begin")
    other.send(wire.query("select pg_sleep(600)"))
    other.until_closed()
    assert c.query("select 1")[-1].status == "T"
    assert c.query("commit")[-1].status == "I"


def test_query_timeout_begins_with_the_query(broker):
    """The first query of a session, too."""
    b = broker(query_timeout=60)
    for port in (b.transaction_port, b.session_port):
        with b.connect(port) as c:
            assert c.value("select 'served' from pg_sleep(0.4)") == "served"


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_idle_transaction_timeout(broker, postgres, mode):
    b = broker(idle_transaction_timeout=1, default_pool_size=2)
    port = getattr(b, mode + "_port")
    c = b.connect(port)
    c.query("begin")
    c.query("select txid_current()")
    ended_with(c, "idle transaction timeout", ["25P03", "08P01"])
    eventually(lambda: not postgres.open_transactions(), "the transaction is rolled back")
    healthy(b)


@pytest.mark.newer
def test_transaction_timeout(broker, postgres):
    """Also where the client is never idle for long."""
    b = broker(transaction_timeout=1, default_pool_size=1)
    c = b.connect()
    c.query("begin")
    c.send(wire.query("select pg_sleep(600)"))
    ended_with(c, "transaction timeout", ["25P04", "57014", "08P01"])
    eventually(lambda: not postgres.open_transactions())
    healthy(b)


def test_client_idle_timeout(broker):
    b = broker(client_idle_timeout=1)
    c = b.connect()
    c.query("select 1")
    ended_with(c, "client idle timeout", ["57P05", "08P01", "57P01"])
    healthy(b)


def test_client_idle_timeout_spares_who_works(broker):
    b = broker(client_idle_timeout=1)
    c, idle = b.connect(), b.connect()
    c.send(wire.query("select 'long' from pg_sleep(2.5)"))
    idle.until_closed()
    assert wire.rows(c.until("Z")) == [["long"]]


def test_server_idle_timeout(broker, postgres):
    b = broker(server_idle_timeout=1)
    c = b.connect()
    pid = c.value(PID)
    gone(postgres, pid)
    assert c.value(PID) != pid


def test_server_lifetime(broker, postgres):
    b = broker(server_lifetime=1)
    c = b.connect()
    pid = c.value(PID)
    gone(postgres, pid)
    assert c.value(PID) != pid


def test_server_lifetime_spares_a_transaction(broker, postgres):
    """I4: a server in use is replaced only when it is free."""
    b = broker(server_lifetime=1, default_pool_size=2)
    c, other = b.connect(), b.connect()
    c.query("begin")
    pid = c.value(PID)
    gone(postgres, other.value(PID))
    assert c.value(PID) == pid
    c.query("commit")
    gone(postgres, pid)


def test_client_login_timeout_spares_who_is_logged_in(broker):
    b = broker(client_login_timeout=1)
    c = b.connect()
    Raw(b.transaction_port).until_closed()
    assert c.value("select 1") == "1"


@pytest.mark.newer
def test_timeouts_of_a_user(broker):
    """[users]: one user's timeout is not another's."""
    b = broker(users={"app": "query_timeout=1", "app2": "client_idle_timeout=1"})
    one, two = b.connect(), b.connect(user="app2")
    one.send(wire.query("select pg_sleep(600)"))
    ended_with(one, "query timeout", ["57014", "08P01"])
    ended_with(two, "client idle timeout", ["57P05", "08P01", "57P01"])


def test_server_check_query(broker, fake):
    """A server that lay idle is asked before it is used again."""
    server = fake()
    b = broker(databases={"e2e": server.entry()}, server_check_delay=0, server_check_query="select 'check'",
               default_pool_size=1)
    c = b.connect()
    for n in range(3):
        assert c.value(f"select {n}") == f"select {n}"
    seen = [m.body[:-1].decode() for s in server.sessions for m in s.seen if m.tag == "Q"]
    assert "select 'check'" in seen and [s for s in seen if s != "select 'check'"] == [f"select {n}" for n in range(3)]


def test_server_reset_query(broker, fake):
    """Session mode: run when the client leaves; transaction mode: not, unless server_reset_query_always."""
    server = fake()
    b = broker(databases={"e2e": server.entry()}, server_reset_query="RESET SESSION 1", default_pool_size=1,
               server_check_query="select 1", server_check_delay=30)
    seen = lambda: [m.body[:-1].decode() for s in server.sessions for m in s.seen if m.tag == "Q"]
    with b.session() as c:
        c.query("select 'in session'")
        assert "RESET SESSION 1" not in seen()
    eventually(lambda: "RESET SESSION 1" in seen())


def test_server_reset_query_always(broker, fake):
    server = fake()
    b = broker(databases={"e2e": server.entry()}, server_reset_query="RESET ALWAYS 1", server_reset_query_always=1,
               default_pool_size=1)
    seen = lambda: [m.body[:-1].decode() for s in server.sessions for m in s.seen if m.tag == "Q"]
    c = b.connect()
    c.query("select 1")
    eventually(lambda: "RESET ALWAYS 1" in seen())


def keepalive_runs(b, c):
    """Whether the kernel has a keepalive timer for the broker's end of a connection (proc(5), /proc/net/tcp)."""
    port, ours = b.transaction_port, c.sock.getsockname()[1]
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        _, local, remote, _, _, timer, *_ = line.split()
        if (int(local.split(":")[1], 16), int(remote.split(":")[1], 16)) == (port, ours):
            return timer.startswith("02:")
    return None


@pytest.mark.ours
def test_tcp_keepalive(broker):
    """Accepted sockets get it, and a change counts for those to come."""
    b = broker()
    console = b.new_console()
    with Raw(b.transaction_port) as first:
        first.login("app", "e2e")
        assert keepalive_runs(b, first) is True
        console("SET tcp_keepalive = 0")
        with Raw(b.transaction_port) as second:
            second.login("app", "e2e")
            assert keepalive_runs(b, second) is False
        assert keepalive_runs(b, first) is True
    console.close()
