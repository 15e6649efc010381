"""Backends that die, restart, refuse, lie or fall silent. At most the client that used them notices."""

import base64
import struct

import pytest

from harness import fake_server as odd
from harness import wire
from harness.postgres import Postgres
from harness.raw import Closed, Raw, Refused
from harness.system import Task, eventually, free_port, in_threads

PID = "select pg_backend_pid()"


def answer_or_end(c, sql="select 'x'", timeout=30):
    """What a client hears of a query that may end its session."""
    c.send_if_open(wire.query(sql))
    out = []
    try:
        while not out or out[-1].tag != "Z":
            out.append(c.recv(timeout))
    except Closed:
        pass
    return out


def login_or_refusal(b, database="e2e", sql="select 'x'"):
    """A whole attempt of a client; the error with which it ended, or None."""
    try:
        with Raw(b.transaction_port) as c:
            c.login("app", database)
            errors = wire.errors(answer_or_end(c, sql))
            return errors[0] if errors else None
    except Refused as e:
        return e.error
    except Closed:
        return "closed"


def healthy(b, database="e2e2"):
    assert b.alive
    with b.connect(database=database) as other:
        assert other.value("select 'served'") == "served"


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


# Fake servers: the login ----------------------------------------------------------------------------------------------

HUGE = 1 << 16


def no_sqlstate(session):
    session.send(odd.error({"S": "FATAL", "M": "no state at all"}))


def no_fields(session):
    session.send(odd.error({}))


def unterminated_error(session):
    session.send(wire.frame("E", b"SFATAL\0C12345\0Mhalf a fie"))


def unterminated_error_at_once(session):
    session.send(wire.frame("E", b"S"))


def empty_error(session):
    session.send(wire.frame("E", b""))


def huge_error(session):
    session.send(odd.fatal("XX000", "x" * (4 << 20)))


def huge_nonce(session):
    session.scram(nonce_tail="n" * HUGE)
    session.wait_closed()


def huge_salt(session):
    session.scram(salt=b"s" * HUGE)
    session.wait_closed()


def huge_iterations(session):
    session.scram(iterations="2147483647")
    session.wait_closed()


def zero_iterations(session):
    session.scram(iterations="0")
    session.wait_closed()


def negative_iterations(session):
    session.scram(iterations="-1")
    session.wait_closed()


def other_nonce(session):
    session.send(odd.authentication(10, b"SCRAM-SHA-256\0\0"))
    session.message()
    session.send(odd.authentication(11, b"r=completely-different,s=" + base64.b64encode(b"salt") + b",i=4096"))
    session.wait_closed()


def wrong_server_signature(session):
    session.scram()
    session.message()
    session.send(odd.authentication(12, b"v=" + base64.b64encode(b"w" * 32)))
    session.greet()


def final_without_first(session):
    session.send(odd.authentication(12, b"v=" + base64.b64encode(b"w" * 32)))
    session.greet()


def no_final(session):
    """A server that does not prove that it knows the secret."""
    session.scram()
    session.message()
    session.greet()


def sasl_without_mechanisms(session):
    session.send(odd.authentication(10, b"\0"))
    session.wait_closed()


def sasl_unterminated(session):
    session.send(odd.authentication(10, b"SCRAM-SHA-256"))
    session.wait_closed()


def unknown_method(session):
    session.send(odd.authentication(77))
    session.wait_closed()


def gss_method(session):
    session.send(odd.authentication(7))
    session.wait_closed()


def short_authentication(session):
    session.send(wire.frame("R", b"\0\0"))
    session.wait_closed()


def short_md5_salt(session):
    session.send(odd.authentication(5, b"ab"))
    session.wait_closed()


def length_zero(session):
    session.send(b"R\0\0\0\0")
    session.wait_closed()


def length_three(session):
    session.send(b"R\0\0\0\3")
    session.wait_closed()


def length_negative(session):
    session.send(b"R\xff\xff\xff\xff" + b"x" * 1000)
    session.wait_closed()


def length_huge(session):
    session.send(b"S\x7f\xff\xff\xff" + b"x" * 1000)
    session.wait_closed()


def garbage(session):
    session.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    session.wait_closed()


def data_before_the_login(session):
    session.send(odd.row_description("x") + odd.data_row("evil") + odd.complete("SELECT 1") + odd.ready())
    session.wait_closed()


def ready_before_authentication(session):
    session.send(odd.ready())
    session.wait_closed()


def closes_at_once(session):
    session.sock.close()


def closes_in_the_middle(session):
    session.send(odd.authentication(0) + odd.parameter("server_version", "15")[:7])
    session.sock.close()


def short_key(session):
    session.send(odd.authentication(0) + wire.frame("K", b"\0\0\0\1") + odd.ready())
    session.wait_closed()


def unterminated_parameter(session):
    session.send(odd.authentication(0) + wire.frame("S", b"name-only") + odd.ready())
    session.wait_closed()


def ready_in_transaction(session):
    session.send(odd.authentication(0) + wire.frame("K", b"\0\0\0\1abcd") + odd.ready("T"))
    session.wait_closed()


def endless_parameters(session):
    session.send(odd.authentication(0))
    while True:
        session.send(odd.parameter("x" * 1000, "y" * 1000) * 100)


BAD_LOGINS = {
    "errors": [no_sqlstate, no_fields, unterminated_error, unterminated_error_at_once, empty_error, huge_error],
    "scram": [huge_nonce, huge_salt, huge_iterations, zero_iterations, negative_iterations, other_nonce,
              wrong_server_signature, final_without_first, no_final, sasl_without_mechanisms, sasl_unterminated],
    "frames": [short_authentication, short_md5_salt, length_zero, length_three, length_negative, length_huge, garbage,
               short_key, unterminated_parameter, closes_at_once, closes_in_the_middle],
    "order": [unknown_method, gss_method, data_before_the_login, ready_before_authentication, ready_in_transaction,
              endless_parameters],
}


def told_with_a_sqlstate(b, database):
    """What a client hears that wants to work with such a server: an error and never data."""
    c = Raw(b.transaction_port).startup(user="app", database=database).send(wire.query("select 'x'"))
    said = []
    try:
        while not said or said[-1].tag != "E":
            said.append(c.recv())
    except Closed:
        pass
    assert "D" not in wire.tags(said), said
    assert said and said[-1].tag == "E" and len(said[-1].sqlstate) == 5, f"not told: {said}"
    assert len(said[-1].body) < 100000


@pytest.mark.ours
@pytest.mark.parametrize("group", BAD_LOGINS)
def test_bad_logins_of_servers(broker, fake, postgres, group):
    """T7, T8, T9, T12, T23, T24: all of a group at once behind one broker; a good database is served meanwhile."""
    servers = {login.__name__: fake(login=login) for login in BAD_LOGINS[group]}
    databases = {name: server.entry("user=app password=secret") for name, server in servers.items()}
    b = broker(databases={**databases, "e2e2": f"host={postgres.sockets} port={postgres.port}"},
               query_wait_timeout=2, server_connect_timeout=1, server_login_retry=1)
    tasks = {name: Task(told_with_a_sqlstate, b, name) for name in servers}
    healthy(b)
    failures = {}
    for name, task in tasks.items():
        try:
            task.result()
        except AssertionError as failure:
            failures[name] = str(failure)
    healthy(b)
    assert not failures, failures


def without_key(session):
    session.greet(key=None)


def with_long_key(session):
    session.greet(key=b"k" * 256)


def with_notices(session):
    notice = odd.error({"S": "NOTICE", "V": "NOTICE", "C": "00000", "M": "in the middle of the login"}, "N")
    session.send(notice + odd.authentication(0) + notice)
    session.send(odd.parameter("server_version", "15.9") + notice + wire.frame("K", b"\0\0\0\1abcd") + notice + odd.ready())


def with_notice_without_fields(session):
    session.send(odd.error({}, "N") + odd.error({"M": "only text"}, "N"))
    session.greet()


def with_negotiation(session):
    session.send(wire.frame("v", struct.pack("!II", 0x30000, 0)))
    session.greet()


def byte_by_byte(session):
    for byte in odd.authentication(0) + odd.parameter("server_version", "15.9") + wire.frame("K", b"\0\0\0\1abcd") + odd.ready():
        session.send(bytes([byte]))


def with_cleartext(session):
    session.send(odd.authentication(3))
    session.message()
    session.greet()


def with_unknown_parameters(session):
    session.greet(parameters={"x" * 300: "y" * 3000, "in_hot_standby": "on", "": "empty name"})


ODD_LOGINS = [without_key, pytest.param(with_long_key, marks=pytest.mark.ours), with_notices, with_notice_without_fields,
              byte_by_byte, with_cleartext, with_unknown_parameters]


@pytest.mark.parametrize("login", ODD_LOGINS, ids=lambda f: f.__name__)
def test_odd_login_that_must_work(broker, fake, login):
    """class 40, 41, T9, T34: no BackendKeyData (RDS Proxy), notices during the login."""
    server = fake(login=login)
    b = broker(databases={"e2e": server.entry("user=app password=secret")}, query_wait_timeout=5)
    with b.connect() as c:
        for n in range(3):
            assert c.value(f"select {n}") == f"select {n}"
    assert not server.failures


@pytest.mark.ours
def test_negotiation_that_nobody_asked_for(broker, fake, postgres):
    """class 40: a server that negotiates 3.0 down to 3.0; a login or a clear refusal, and nobody else notices."""
    b = broker(databases={"e2e": fake(login=with_negotiation).entry(),
                          "e2e2": f"host={postgres.sockets} port={postgres.port}"}, query_wait_timeout=1)
    error = login_or_refusal(b)
    assert error is None or len(error.sqlstate) == 5
    healthy(b)


def test_server_that_never_answers(broker, fake, postgres):
    """class 50: server_connect_timeout covers the whole login."""
    server = fake(login=lambda session: session.wait_closed())
    b = broker(databases={"e2e": server.entry(), "e2e2": f"host={postgres.sockets} port={postgres.port}"},
               server_connect_timeout=1, query_wait_timeout=3)
    c = Raw(b.transaction_port).startup(user="app", database="e2e")
    healthy(b)
    eventually(lambda: len(server.sessions) >= 2, "it gives up and tries again")
    assert wire.errors(c.send_if_open(wire.query("select 1")).until("EZ")), "the client is told"
    healthy(b)


def test_server_that_is_full_and_then_is_not(broker, fake):
    """53300 at the login: the client is served as soon as there is room."""
    count = []

    def login(session):
        count.append(1)
        if len(count) <= 1:
            session.send(odd.fatal("53300", "sorry, too many clients already"))
            session.sock.close()
            raise odd.Gone()
        session.greet()

    server = fake(login=login)
    b = broker(databases={"e2e": server.entry()}, server_login_retry=1)
    assert eventually(lambda: login_or_refusal(b) is None, timeout=60)


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
