"""Backends that die, restart, answer wrongly or fall silent. At most the client that used them notices."""

import socket

import pytest

from harness import fake_server as odd
from harness import wire
from harness.attempts import answer_or_end, healthy, login_or_refusal
from harness.names import HeldNames
from harness.postgres import Postgres
from harness.raw import Closed, Raw, Refused
from harness.system import Task, eventually, free_port, in_threads

PID = "select pg_backend_pid()"


# Real backends that die -----------------------------------------------------------------------------------------------

def test_idle_server_is_terminated(broker, postgres):
    """class 53: a dead server is not handed out; no client sees an error."""
    b = broker(default_pool_size=2)
    c = b.connect()
    for _ in range(5):
        pid = c.value(PID)
        postgres.sql(f"select pg_terminate_backend({pid}, 10000)")
        eventually(lambda: int(pid) not in postgres.backends())
        assert c.value(PID) != pid


def test_active_server_is_terminated(broker, postgres, control):
    """class 54, 24: the client hears 57P01, once, and everybody else is served."""
    b = broker(default_pool_size=1)
    c, other = b.connect(), b.connect()
    pid = c.value(PID)
    c.send(wire.query("select pg_sleep(600)"))
    eventually(lambda: control.sql(f"select 1 from pg_stat_activity where pid = {pid} and wait_event = 'PgSleep'"))
    control.sql(f"select pg_terminate_backend({pid})")
    said = []
    try:
        said = c.until("Z")
    except Closed as closed:
        said = closed.messages
    assert wire.sqlstates(said)[0] == "57P01" and len(wire.errors(said)) <= 2
    assert other.value("select 'other'") == "other"


@pytest.mark.short
def test_server_in_a_transaction_is_terminated(broker, postgres):
    """I4: the transaction is not continued on another server."""
    b = broker(default_pool_size=2)
    c, other = b.connect(), b.connect()
    c.query("begin")
    pid = c.value(PID)
    postgres.sql(f"select pg_terminate_backend({pid}, 10000)")
    said = answer_or_end(c, PID)
    assert not wire.rows(said), "a statement of the dead transaction was executed elsewhere"
    assert other.value("select 'other'") == "other"


@pytest.mark.limit(120)
def test_nothing_is_done_twice(broker, postgres):
    """class 9, I3: inserts while their backends are terminated: acknowledged once, or an error and at most once."""
    postgres.sql("create table once (key text)", database="e2e", user="app")
    b = broker(default_pool_size=3)
    acknowledged, failed, stop = [], [], []

    def killer(_):
        while not stop:
            for pid in postgres.backends(where="usename = 'app'"):
                postgres.sql(f"select pg_terminate_backend({pid})")

    def writer(number):
        for turn in range(60):
            key = f"{number}.{turn}"
            try:
                with b.connect() as c:
                    said = answer_or_end(c, f"insert into once select '{key}' from pg_sleep(0.002)")
            except (Refused, Closed):
                failed.append(key)
                continue
            (acknowledged if "INSERT 0 1" in wire.command_tags(said) else failed).append(key)

    kills = Task(killer, 0)
    try:
        in_threads(4, writer)
    finally:
        stop.append(True)
        kills.result()
    counts = {key: int(n) for key, n in postgres.sql("select key, count(*) from once group by key", database="e2e")}
    assert all(counts.get(key) == 1 for key in acknowledged)
    assert all(counts.get(key, 0) <= 1 for key in failed)
    print(f"{len(acknowledged)} acknowledged, {len(failed)} failed")
    eventually(lambda: login_or_refusal(b) is None, "the broker recovers")
    postgres.sql("drop table once", database="e2e")


@pytest.mark.newer
def test_statements_survive_the_death_of_a_server(broker, postgres):
    """A client's prepared statement is prepared again on the next server."""
    b = broker(default_pool_size=1)
    c = b.connect()
    c.ask(wire.parse("s", "select 'mine ' || $1::text") + wire.sync())
    for n in range(3):
        assert wire.scalar(c.ask(wire.rerun("s", [n]) + wire.sync())) == f"mine {n}"
        pid = c.value(PID)
        postgres.sql(f"select pg_terminate_backend({pid}, 10000)")
        eventually(lambda: int(pid) not in postgres.backends())


@pytest.mark.parametrize("how", [2, 3], ids=["fast", "immediate"])
def test_restart_of_postgresql(broker, own_postgres, how):
    """Clients that are idle keep their connection across a restart."""
    b = broker(server=own_postgres)
    c = b.connect()
    assert c.value("select 1") == "1"
    own_postgres.stop(how)
    own_postgres.start()
    eventually(lambda: login_or_refusal(b) is None)
    assert c.value("select 'after'") == "after"


@pytest.mark.ours
def test_query_while_postgresql_is_down(broker, own_postgres):
    """A query that did not reach a backend waits and is executed when the server is back."""
    b = broker(server=own_postgres)
    c = b.connect()
    assert c.value("select 1") == "1"
    own_postgres.stop()
    c.send(wire.query("select 'patient'"))
    assert c.quiet(0.3)
    own_postgres.start()
    assert wire.rows(c.until("Z")) == [["patient"]]


@pytest.mark.ours
def test_server_is_down_at_start(broker, own_postgres):
    """The broker starts without it; who comes early waits."""
    own_postgres.stop()
    b = broker(server=own_postgres)
    c = Raw(b.transaction_port).startup(user="app", database="e2e").send(wire.query("select 'early'"))
    assert c.quiet(0.3)
    own_postgres.start()
    assert wire.rows(c.until("C", 60)) == [["early"]]


def test_server_that_refuses_connections(broker, postgres):
    """query_wait_timeout bounds the wait; the error says that there is no server."""
    b = broker(databases={"dead": f"host=127.0.0.1 port={free_port()} dbname=x",
                          "e2e2": f"host={postgres.sockets} port={postgres.port}"}, query_wait_timeout=2)
    assert login_or_refusal(b, "dead") is not None
    healthy(b)


@pytest.mark.parametrize("balance", ["round-robin", "disable"])
@pytest.mark.parametrize("listens", [False, True], ids=["refuses", "says nothing"])
def test_first_of_two_hosts_does_not_serve(broker, postgres, balance, listens):
    """The next attempt goes to the other one."""
    with socket.socket() as first:
        first.bind(("127.0.0.2", postgres.port))
        if listens:
            first.listen(64)
        b = broker(server_connect_timeout=1, server_login_retry=1, databases={
            "e2e": f"host=127.0.0.2,127.0.0.1 port={postgres.port} dbname=e2e load_balance_hosts={balance}"})
        with b.connect() as c:
            assert c.value("select 'found'") == "found"


@pytest.mark.ours
@pytest.mark.limit(120)
def test_too_many_connections(broker):
    """53300 is overload, not failure: what is open keeps serving, and no client sees an error."""
    small = Postgres(max_connections=10)
    try:
        b = broker(server=small, default_pool_size=20)

        def work(number):
            with b.connect() as c:
                for turn in range(10):
                    assert c.value(f"select '{number}.{turn}' from pg_sleep(0.005)") == f"{number}.{turn}"

        in_threads(30, work)
        assert small.value("select 1") == "1", "the superuser's slots are left alone"
    finally:
        small.remove()


# Fake servers: answers ------------------------------------------------------------------------------------------------

def half_message(session, message):
    session.send(odd.row_description("x") + odd.data_row("y" * 1000)[:300])
    session.sock.close()
    raise odd.Gone()


def fatal_in_the_middle(session, message):
    session.send(odd.row_description("x") + odd.data_row("y") + odd.fatal("57P01", "terminating connection"))
    session.sock.close()
    raise odd.Gone()


def fatal_in_half(session, message):
    session.send(odd.fatal("57P01", "terminating connection")[:20])
    session.sock.close()
    raise odd.Gone()


def closes_without_a_word(session, message):
    session.sock.close()
    raise odd.Gone()


def bad_length(session, message):
    session.send(b"D\0\0\0\2" + b"zzzz")
    session.wait_closed()


def bad_length_negative(session, message):
    session.send(b"D\xff\xff\xff\xf0" + b"zzzz")
    session.wait_closed()


def unknown_tag(session, message):
    session.send(wire.frame("?", b"what is this"))
    session.wait_closed()


def authentication_again(session, message):
    session.send(odd.authentication(3))
    session.wait_closed()


def bad_status(session, message):
    session.send(odd.complete("SELECT 0") + odd.ready("?"))
    session.wait_closed()


def long_ready(session, message):
    session.send(odd.complete("SELECT 0") + wire.frame("Z", b"II"))
    session.wait_closed()


BAD_ANSWERS = [half_message, fatal_in_the_middle, fatal_in_half, closes_without_a_word, bad_length, bad_length_negative,
               unknown_tag, authentication_again, bad_status, long_ready]


@pytest.mark.ours
@pytest.mark.parametrize("answer", BAD_ANSWERS, ids=lambda f: f.__name__)
def test_bad_answer_of_a_server(broker, fake, postgres, answer):
    """T7, T24, I16: whole messages, then at most one error, then the end or ReadyForQuery; the server is not used again."""
    def first_badly(session, message):
        (answer if session.number == 1 else odd.Session.answer_well)(session, message)

    server = fake(answer=first_badly)
    b = broker(databases={"e2e": server.entry(), "e2e2": f"host={postgres.sockets} port={postgres.port}"},
               default_pool_size=1)
    c, other = b.connect(), b.connect()
    c.send(wire.query("select 'x'"))
    got = []
    try:
        while not got or got[-1].tag != "Z":
            got.append(c.recv())
    except (Closed, AssertionError):
        pass
    healthy(b)
    assert len(wire.errors(got)) <= 1 + ("FATAL" in str(got)), got
    assert other.value("select 'next'") == "select 'next'"
    assert len(server.sessions) == 2


UNASKED = {
    "ready": odd.ready(), "row": odd.data_row("stale"), "complete": odd.complete("SELECT 1") + odd.ready(),
    "close": wire.frame("3"), "half": b"D\0\0", "fatal": odd.fatal("57P01", "terminating connection"),
    "notice": odd.error({"S": "NOTICE", "C": "00000", "M": "by the way"}, "N"), "parameter": odd.parameter("TimeZone", "UTC"),
}
HARMLESS = {"notice", "parameter"}


@pytest.mark.ours
@pytest.mark.parametrize("when", ["behind its answer", "later"])
@pytest.mark.parametrize("what", UNASKED)
def test_messages_of_an_idle_server(broker, fake, what, when):
    """class 1, 3, 4: what a server says after its ReadyForQuery is nobody's answer.

    Behind its answer, in one segment, it may cost the session of the client that was answered, and no other's.
    """
    data = UNASKED[what]

    def answer(session, message):
        first = session.number == 1 and when != "later" and message.tag == "Q"
        session.answer_well(message, data if first else b"")

    server = fake(answer=answer)
    b = broker(databases={"e2e": server.entry()}, default_pool_size=1)
    one, two, three = b.connect(), b.connect(), b.connect()
    assert one.value("select 'one'") == "select 'one'"
    if when == "later":
        server.sessions[0].send(data)
        if what not in HARMLESS:
            eventually(lambda: server.sessions[0].gone, "the server that spoke out of turn is closed")
    for n in range(3):
        for c in (two, three):
            answer = [m for m in c.query(f"select {n}") if m.tag not in "NS"]
            assert wire.tags(answer) == "TDCZ" and wire.rows(answer) == [[f"select {n}"]]


def test_server_that_falls_silent(broker, fake, postgres):
    """class 50, 51: one silent server, everybody else is served; its client can leave."""
    server = fake(answer=lambda session, message: None)
    b = broker(databases={"e2e": server.entry(), "e2e2": f"host={postgres.sockets} port={postgres.port}"})
    c = b.connect()
    c.send(wire.query("select 1"))
    healthy(b)
    c.close()
    eventually(lambda: not b.clients(database="e2e"), "the client is gone")
    healthy(b)


def test_slow_server(broker, fake):
    """class 41: answers byte by byte."""
    def answer(session, message):
        for byte in odd.row_description("x") + odd.data_row("slow") + odd.complete("SELECT 1") + odd.ready():
            session.send(bytes([byte]))

    b = broker(databases={"e2e": fake(answer=answer).entry()})
    c = b.connect()
    for _ in range(3):
        assert c.value("select 1") == "slow"


@pytest.mark.ours
def test_a_name_server_that_hangs(broker, fake, postgres):
    """T12, but for names: whoever waits for one holds up nobody else, may leave, and is served when it is known."""
    server = fake()
    held = f"host=db.held port={server.port} dbname=fake"
    b = broker(databases={"slow": held, "e2e2": f"host={postgres.sockets} port={postgres.port}"}, launch=False)
    names = HeldNames(b.root)
    b.environment = names.environment
    b.start()
    waiting = [Raw(b.transaction_port).startup(user="app", database="slow") for _ in range(3)]
    eventually(lambda: len(b.clients(database="slow")) == 3, "all of them wait")
    healthy(b)
    waiting.pop().close()
    eventually(lambda: len(b.clients(database="slow")) == 2, "one has left")
    healthy(b)
    assert not server.sessions
    names.let_on()
    for c in waiting:
        assert c.finish_login("app").value("select 1") == "select 1"
