"""Clients that break the protocol, stop reading, or send without end: each ends at most its own session."""

import random
import struct

import pytest

from harness import wire
from harness.raw import Closed, Raw
from harness.system import Task, eventually, random_seed


def healthy(b, control=None):
    """Others are served, and no backend is left in a transaction."""
    assert b.alive
    with b.connect() as other:
        answer = other.query("select 'served', pg_current_xact_id_if_assigned()")
        assert wire.rows(answer) == [["served", None]] and answer[-1].status == "I"
    if control:
        eventually(lambda: not control.sql("select 1 from pg_stat_activity where state like 'idle in transaction%'"),
                   "no transaction is left open")


def rss(b):
    """Anonymous memory of the process in bytes."""
    fields = dict(line.split(":", 1) for line in open(f"/proc/{b.pid}/status"))
    return int(fields["RssAnon"].split()[0]) * 1024


@pytest.fixture
def one(broker):
    return broker(default_pool_size=1)


# Garbage in each state ------------------------------------------------------------------------------------------------

def idle(b, c):
    return None


def after_a_query(b, c):
    c.query("select 1")


def in_a_transaction(b, c):
    c.query("begin"), c.query("create temp table t (n int)")


def in_a_failed_transaction(b, c):
    c.query("begin"), c.query("select 1/0")


def in_copy_in(b, c):
    c.query("begin"), c.query("create temp table t (n int)")
    c.send(wire.query("copy t from stdin")).until("G")


def after_parse(b, c):
    c.send(wire.parse("", "select 1") + wire.flush())
    c.recv()


def after_execute(b, c):
    c.send(wire.run("select 1") + wire.flush())
    [c.recv() for _ in "12DC"]


def after_an_error(b, c):
    c.send(wire.run("select 1/0") + wire.flush()).until("E")


def with_a_running_query(b, c):
    c.send(wire.query("select pg_sleep(600)"))


STATES = [idle, after_a_query, in_a_transaction, in_a_failed_transaction, in_copy_in, after_parse, after_execute,
          after_an_error, with_a_running_query]
GARBAGE = {
    "unknown tag": wire.frame("?", b"what"),
    "backend tag": wire.frame("Z", b"I"),
    "zero tag": b"\0\0\0\0\4",
    "length 0": b"Q\0\0\0\0",
    "length 3": b"Q\0\0\0\3",
    "negative length": b"Q\xff\xff\xff\xff",
    "longest length": b"Q\x7f\xff\xff\xff" + b"x" * 100,
    "startup": wire.startup({"user": "postgres", "database": "e2e"}),
    "ssl request": wire.ssl_request(),
    "cancel request": wire.cancel_request(1, b"abcd"),
    "password": wire.password("x"),
    "http": b"GET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.ours
@pytest.mark.parametrize("state", STATES, ids=lambda f: f.__name__)
def test_garbage_in_every_state(one, control, state):
    """T2, T7, T15, T29, I16: an error at most, then the end; the server is clean for the next client."""
    for name, garbage in GARBAGE.items():
        c = one.connect()
        state(one, c)
        c.send_if_open(garbage).half_close()
        said = c.until_closed()
        assert set(wire.tags(said)) <= set("EZNSCTD3I"), (name, said)
        for error in wire.errors(said):
            assert len(error.sqlstate) == 5
        healthy(one, control)


@pytest.mark.ours
def test_garbage_while_waiting(one, control):
    for name, garbage in GARBAGE.items():
        holder, c = one.connect(), one.connect()
        holder.query("begin")
        c.send(wire.query("select 'waits'"))
        eventually(lambda: one.pool()["cl_waiting"] == 1)
        c.send_if_open(garbage).half_close()
        holder.query("commit")
        said = c.until_closed()
        assert wire.tags(said) in ("E", "", "TDCZ", "TDCZE"), (name, said)
        healthy(one, control)
        holder.terminate()


@pytest.mark.ours
def test_protocol_violation_is_told(one):
    """08P01 with the violation's name."""
    c = one.connect()
    c.send(wire.frame("?", b"what"))
    said = c.until_closed()
    assert wire.sqlstates(said) == ["08P01"] and said[-1].severity == "FATAL"


MALFORMED = {
    "unterminated query": wire.frame("Q", b"select 1"),
    "empty query body": wire.frame("Q"),
    "query with a zero inside": wire.frame("Q", b"select 1\0select 2\0"),
    "parse without a name": wire.frame("P", b"abc"),
    "parse without a query": wire.frame("P", b"name\0"),
    "parse without a count": wire.frame("P", b"name\0select 1\0"),
    "parse with too few types": wire.frame("P", b"name\0select 1\0\0\5\0\0"),
    "parse with too many types": wire.frame("P", b"name\0select 1\0\xff\xff"),
    "bind without names": wire.frame("B", b"abc"),
    "bind without counts": wire.frame("B", b"\0\0"),
    "bind with a huge parameter": wire.frame("B", b"\0\0\0\0\0\1\x7f\xff\xff\xff"),
    "bind with a negative parameter": wire.frame("B", b"\0\0\0\0\0\1\xff\xff\xff\x00"),
    "describe nothing": wire.frame("D"),
    "describe of a strange kind": wire.frame("D", b"Xname\0"),
    "describe unterminated": wire.frame("D", b"Sname"),
    "close of a strange kind": wire.frame("C", b"Xname\0"),
    "close unterminated": wire.frame("C", b"Pname"),
    "execute without a limit": wire.frame("E", b"\0"),
    "execute unterminated": wire.frame("E", b"portal"),
    "sync with a body": wire.frame("S", b"body"),
    "flush with a body": wire.frame("H", b"body"),
    "function call cut": wire.frame("F", b"\0\0\0"),
    "copy fail unterminated": wire.frame("f", b"x"),
    "terminate with a body": wire.frame("X", b"body"),
}


@pytest.mark.ours
@pytest.mark.parametrize("what", MALFORMED)
@pytest.mark.parametrize("first", [True, False], ids=["first", "in a transaction"])
def test_malformed_messages(one, control, what, first):
    """T24, T29: what PostgreSQL would refuse ends in an error of PostgreSQL's or ours; nobody else notices."""
    c = one.connect()
    if not first:
        c.query("begin")
    c.send_if_open(MALFORMED[what] + wire.sync()).half_close()
    said = c.until_closed()
    assert set(wire.tags(said)) <= set("EZ123nNCTDI"), said
    healthy(one, control)


@pytest.mark.limit(120)
@pytest.mark.ours
def test_mutated_sessions(broker, control):
    """Fuzz with a printed seed: a good session with some bytes changed, cut anywhere, many at once."""
    b = broker(default_pool_size=2)
    seed = random_seed()
    good = (wire.query("select 1") + wire.run("select $1::int", [1]) + wire.sync() + wire.query("begin") +
            wire.parse("s", "select 2") + wire.bind("p", "s") + wire.describe("P", "p") + wire.execute("p", 1) +
            wire.close("S", "s") + wire.sync() + wire.function_call(177, [b"\0\0\0\1", b"\0\0\0\2"]) + wire.query("commit"))

    def attack(number):
        rng = random.Random(seed + number)
        for _ in range(40):
            data = bytearray(good)
            for _ in range(rng.randrange(1, 4)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            with b.connect() as c:
                at = 0
                while at < len(data):
                    step = rng.choice([1, 7, 100, 1000])
                    c.send_if_open(bytes(data[at:at + step]))
                    at += step
                if rng.random() < 0.5:
                    c.half_close().until_closed()
                elif rng.random() < 0.5:
                    c.abort()

    tasks = [Task(attack, n) for n in range(4)]
    for n in range(20):
        with b.connect() as c:
            assert c.value(f"select 'n{n}'") == f"n{n}"
    for task in tasks:
        task.result(100)
    healthy(b, control)
    eventually(lambda: (b.pool()["sv_active"], b.pool()["cl_waiting"]) == (0, 0))


# Half messages and silence --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("cut", [1, 3, 5, 8])
def test_half_a_message_and_then_nothing(broker, cut):
    """Others are served by the remaining servers; the message may be finished much later."""
    b = broker(default_pool_size=2)
    silent = [b.connect() for _ in range(10)]
    for c in silent[:1]:
        c.send(wire.query("select 'late'")[:cut])
    healthy(b)
    for c in silent[:1]:
        c.send(wire.query("select 'late'")[cut:])
        assert wire.rows(c.until("Z")) == [["late"]]


def test_many_halves_do_not_hold_servers(one):
    """A message that has not arrived far enough to be forwarded holds no server."""
    held = [one.connect() for _ in range(30)]
    for c in held:
        c.send(wire.query("select 'late'")[:4])
    healthy(one)
    for c in held:
        c.send(wire.query("select 'late'")[4:])
    for c in held:
        assert wire.rows(c.until("Z")) == [["late"]]


@pytest.mark.ours
def test_second_startup_after_the_login(one):
    """T15: identity never changes after the first startup."""
    c = one.connect()
    c.send_if_open(wire.startup({"user": "postgres", "database": "e2e"}))
    said = c.half_close().until_closed()
    assert "R" not in wire.tags(said) and "Z" not in wire.tags(said)
    healthy(one)


# Clients that do not read ---------------------------------------------------------------------------------------------

BIG = "select repeat('x', 1000000) from generate_series(1, 100)"


def stalled(b, receive_buffer=65536):
    """A client that has asked for 100 MB and reads none of it."""
    c = Raw(b.transaction_port, receive_buffer=receive_buffer)
    c.login("app", "e2e")
    c.send(wire.query(BIG))
    c.recv()
    return c


@pytest.mark.limit(120)
def test_client_stops_reading_a_big_result(broker):
    """class 61, I11: others are served, memory stays bounded, and the client can still read everything."""
    b = broker(default_pool_size=3)
    healthy(b)
    before = rss(b)
    slow = [stalled(b) for _ in range(2)]
    for n in range(50):
        with b.connect() as c:
            assert c.value(f"select {n}") == str(n)
    assert rss(b) - before < 32 << 20, "a slow client's result does not pile up in the broker"
    for c in slow:
        answer = c.until("Z", 60)
        assert sum(len(m.body) for m in answer if m.tag == "D") == 100 * 1000006
        c.close()


@pytest.mark.ours
@pytest.mark.parametrize("how", ["close", "abort", "terminate"])
def test_client_that_does_not_read_leaves(one, control, how):
    """class 3, 47: the next client gets its own answer, and the server is free soon."""
    c = stalled(one)
    getattr(c, how)()
    with one.connect() as other:
        assert other.value("select 'mine'") == "mine"
    healthy(one, control)


@pytest.mark.limit(120)
@pytest.mark.ours
def test_client_that_only_writes(broker):
    """class 44: it sends queries with big answers and reads nothing; both directions are full, nobody else is stuck."""
    b = broker(default_pool_size=2)
    healthy(b)
    before = rss(b)
    c = Raw(b.transaction_port, receive_buffer=65536)
    c.login("app", "e2e")
    c.sock.settimeout(1)
    request = wire.query("select repeat('y', 100000) -- " + "z" * 100000)
    sent = 0
    try:
        for _ in range(400):
            c.sock.sendall(request)
            sent += 1
    except TimeoutError:
        pass
    for n in range(20):
        with b.connect() as other:
            assert other.value(f"select {n}") == str(n)
    assert rss(b) - before < 32 << 20
    c.abort()
    healthy(b)
    print("queries sent before the writer blocked:", sent)


@pytest.mark.limit(120)
def test_pipeline_of_10000_messages_without_sync(one):
    """One batch of 10,000 messages: all answers, in order."""
    c = one.connect()
    task = Task(c.send, b"".join(wire.run("select $1::int", [n]) for n in range(3334)) + wire.sync())
    answer = c.until("Z", 60)
    task.result()
    assert wire.rows(answer) == [[str(n)] for n in range(3334)]
    assert wire.tags(answer) == "12DC" * 3334 + "Z"
    healthy(one)


@pytest.mark.ours
@pytest.mark.parametrize("how", ["close", "abort", "terminate"])
def test_10000_messages_and_never_a_sync(one, control, how):
    c = one.connect()
    c.send(b"".join(wire.parse("", "select 1") for _ in range(10000)))
    getattr(c, how)()
    healthy(one, control)


@pytest.mark.ours
def test_10000_statements_are_bounded_by_what_the_client_sends(broker):
    """A client that prepares without end is refused or served, and gives everything back when it leaves (I12)."""
    b = broker(default_pool_size=1)
    for _ in range(2):
        c = b.connect()
        c.send(b"".join(wire.parse(f"s{n}", f"select {n}") for n in range(10000)) + wire.sync())
        c.until("Z", 60)
        c.close()
    healthy(b)


@pytest.mark.ours
def test_statements_without_end(one, control):
    """I12: the named statements of a client have a limit, and it says what to do."""
    c, prepared, got = one.connect(), 0, []
    with pytest.raises(Closed):
        while prepared < 70000:
            c.send(b"".join(wire.parse(f"s{prepared + n}", "select 1") for n in range(1000)) + wire.sync())
            while True:
                got.append(c.recv())
                if got[-1].tag == "Z":
                    break
            prepared += 1000
    assert prepared == 65000 and wire.sqlstates(got) == ["54000"]
    healthy(one, control)


def test_terminate_and_then_more(one):
    """What follows a Terminate is not executed."""
    c = one.connect()
    c.send_if_open(wire.terminate() + wire.query("create table after_terminate ()"))
    c.until_closed()
    with one.connect() as other:
        assert other.value("select to_regclass('after_terminate') is null") == "t"


@pytest.mark.ours
@pytest.mark.parametrize("at", [1, 2, 5])
def test_reset_at_every_message(one, control, at):
    """Fault list: RST at each message boundary and next to it, in a transaction."""
    script = [wire.query("begin"), wire.parse("s", "select 1"), wire.bind("", "s"), wire.execute(), wire.sync(),
              wire.query("create temp table t (n int)"), wire.query("copy t from stdin"), wire.copy_data(b"1\n"),
              wire.copy_done(), wire.query("commit")]
    for count in range(len(script) + 1):
        c = one.connect()
        c.send(b"".join(script[:count]))
        if count < len(script):
            c.send(script[count][:at])
        c.abort()
    healthy(one, control)
    eventually(lambda: one.pool()["sv_active"] == 0)
    eventually(lambda: not one.clients(user="app"))


def test_broken_pipe_storm(broker, control):
    """class 45, 57: 200 clients that connect, ask and vanish."""
    b = broker(default_pool_size=2)
    for n in range(200):
        c = b.connect()
        c.send(wire.query("select repeat('x', 100000)"))
        if n % 2:
            c.recv()
        c.abort() if n % 3 else c.close()
    healthy(b, control)
    eventually(lambda: (b.pool()["sv_active"], b.pool()["cl_waiting"], len(b.clients(user="app"))) == (0, 0, 0))


def test_lengths_in_the_middle_of_a_valid_stream(one):
    """T29: a Bind whose parameter length disagrees with the frame's length is PostgreSQL's to refuse, in its frame."""
    c = one.connect()
    body = b"\0\0" + struct.pack("!HH", 0, 1) + struct.pack("!i", 1000) + b"short" + struct.pack("!H", 0)
    c.send(wire.parse("", "select $1::text") + wire.frame("B", body) + wire.execute() + wire.sync())
    try:
        assert "E" in wire.tags(c.until("Z"))
    except Closed as closed:
        assert "D" not in wire.tags(closed.messages)
    healthy(one)
