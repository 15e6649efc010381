"""Cancel requests hit the canceller's own query or nothing (class 15 to 21, I10)."""

import random

import pytest

from harness import wire
from harness.raw import Raw, cancel
from harness.system import Task, eventually, in_threads, random_seed

SLEEP = wire.query("select 'slept', pg_sleep(600)")


@pytest.fixture
def one(broker):
    return broker(default_pool_size=1)


def running(control, count=1):
    """That many backends execute the sleep: a cancel sent now finds it."""
    eventually(lambda: int(control.sql("select count(*) from pg_stat_activity where wait_event = 'PgSleep'")[0][0]) == count,
               f"{count} queries sleep")


def is_cancelled(answer):
    return wire.sqlstates(answer) == ["57014"] and "user request" in wire.only_error(answer).text


@pytest.mark.parametrize("mode", ["transaction", "session"])
@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_own_query(broker, control, mode, extended):
    b = broker()
    port = getattr(b, mode + "_port")
    c = b.connect(port)
    c.send(wire.run("select pg_sleep(600)") + wire.sync() if extended else SLEEP)
    running(control)
    cancel(port, c.pid, c.key)
    assert is_cancelled(c.until("Z"))
    assert c.value("select 'after'") == "after"


def test_through_any_port_and_over_the_unix_socket(broker, control):
    """A cancel request is a connection of its own and need not come in by the same door."""
    b = broker()
    c = b.connect()
    doors = [(b.transaction_port, "127.0.0.1"), (b.transaction_port, str(b.root))]
    if b.settings.get("session_port"):
        doors += [(b.session_port, "127.0.0.1"), (b.listen_port, str(b.root))]
    for port, host in doors:
        c.send(SLEEP)
        running(control)
        cancel(port, c.pid, c.key, host)
        assert is_cancelled(c.until("Z"))


def test_in_a_transaction(one, control):
    c = one.connect()
    c.query("begin")
    c.send(SLEEP)
    running(control)
    cancel(one.transaction_port, c.pid, c.key)
    answer = c.until("Z")
    assert is_cancelled(answer) and answer[-1].status == "E"
    c.query("rollback")
    with one.connect() as other:
        assert other.value("select 'free'") == "free"


@pytest.mark.ours
def test_while_waiting_in_the_queue(one):
    """The client has no server yet: it is told 57014, keeps its connection, and the holder is not touched."""
    a, c = one.connect(), one.connect()
    a.query("begin")
    c.send(wire.query("select 'must not run'"))
    eventually(lambda: one.pool()["cl_waiting"] == 1)
    cancel(one.transaction_port, c.pid, c.key)
    answer = c.until("Z")
    assert wire.sqlstates(answer) == ["57014"] and wire.tags(answer) == "EZ"
    assert a.query("select 1")[-1].status == "T"
    a.query("commit")
    assert c.value("select 'after'") == "after"


@pytest.mark.ours
def test_while_waiting_with_a_pipeline(one):
    """The batch that waits ends with its Sync; the batch after it is executed."""
    a, c = one.connect(), one.connect()
    a.query("begin")
    c.send(wire.run("select 'must not run'") + wire.run("select 'nor this'") + wire.sync())
    eventually(lambda: one.pool()["cl_waiting"] == 1)
    cancel(one.transaction_port, c.pid, c.key)
    answer = c.until("Z")
    assert wire.sqlstates(answer) == ["57014"] and wire.tags(answer) == "EZ"
    c.send(wire.run("select 'second'") + wire.sync())
    eventually(lambda: one.pool()["cl_waiting"] == 1)
    a.query("commit")
    assert wire.rows(c.until("Z")) == [["second"]]


@pytest.mark.parametrize("change", ["key", "pid", "short", "long"])
def test_wrong_key(one, control, change):
    """class 20, T34: an unknown key ends in silence and touches nobody."""
    c = one.connect()
    c.send(SLEEP)
    running(control)
    wrong = bytes(byte ^ 1 for byte in c.key)
    pid, key = {"key": (c.pid, wrong), "pid": (c.pid ^ 1, wrong), "short": (c.pid, c.key[:3]),
                "long": (c.pid, c.key + b"\0")}[change]
    with Raw(one.transaction_port) as connection:
        connection.send_if_open(wire.cancel_request(pid, key))
        assert set(wire.tags(connection.until_closed())) <= {"E"}
    assert c.quiet(0.1), "the query of the innocent client was cancelled"
    running(control)
    cancel(one.transaction_port, c.pid, c.key)
    assert is_cancelled(c.until("Z"))


def test_idle_client(one):
    """class 15, 17: nothing runs, so nothing may be cancelled, not the client's next query either, nor another's."""
    a, c = one.connect(), one.connect()
    for turn in range(20):
        assert a.value("select 1") == "1"
        cancel(one.transaction_port, a.pid, a.key)
        assert c.value(f"select 'c{turn}'") == f"c{turn}"
        assert a.value(f"select 'a{turn}'") == f"a{turn}"


def test_key_of_a_client_that_left(one, control):
    a, c = one.connect(), one.connect()
    a.value("select 1")
    a.terminate()
    c.send(SLEEP)
    running(control)
    cancel(one.transaction_port, a.pid, a.key)
    assert c.quiet(0.1)
    cancel(one.transaction_port, c.pid, c.key)
    assert is_cancelled(c.until("Z"))


def test_100_cancels_at_once(broker, control):
    """class 20, 21: a storm of own cancels, each for its own query."""
    b = broker(default_pool_size=20, max_client_conn=300)
    clients = [b.connect() for _ in range(20)]
    for c in clients:
        c.send(SLEEP)
    running(control, 20)
    in_threads(100, lambda n: cancel(b.transaction_port, clients[n % 20].pid, clients[n % 20].key))
    for c in clients:
        assert is_cancelled(c.until("Z"))
    for c in clients:
        assert c.value("select 'after'") == "after"
    eventually(lambda: (b.pool()["sv_active"], b.pool()["cl_waiting"]) == (0, 0), "nothing is left over")


@pytest.mark.ours
def test_1000_stale_cancels(broker):
    """class 20: cancels for idle clients and with wrong keys do not hold anything."""
    b = broker(default_pool_size=2, max_client_conn=50)
    c = b.connect()
    c.value("select 1")

    def storm(number):
        for turn in range(50):
            key = c.key if turn % 2 else bytes(4)
            connection = Raw(b.transaction_port)
            connection.send_if_open(wire.cancel_request(c.pid, key))
            if turn % 3:
                connection.until_closed()
            connection.close()

    in_threads(20, storm)
    assert c.value("select 'after'") == "after"
    with b.connect() as other:
        assert other.value("select 'other'") == "other"


@pytest.mark.limit(120)
@pytest.mark.parametrize("pool_size", [1, 3])
def test_never_another_clients_query(broker, pool_size):
    """class 15, I10: cancellers cancel at random moments; clients that never do must never see 57014, and every
    answer carries its own tag."""
    b = broker(default_pool_size=pool_size)
    seed = random_seed()
    port = b.transaction_port
    stop = []

    def innocent(number):
        done = 0
        with b.connect(application_name=f"innocent {number}") as c:
            while not stop or done < 50:
                tag = f"i{number}.{done}"
                assert c.value(f"select '{tag}' from pg_sleep(0.0005)") == tag
                done += 1
        return done

    def canceller(number):
        rng = random.Random(seed + number)
        hits = 0
        with b.connect(application_name=f"canceller {number}") as c:
            for turn in range(60):
                tag = f"c{number}.{turn}"
                seconds = rng.choice([0, 0.001, 0.01])
                c.send(wire.query(f"select '{tag}' from pg_sleep({seconds})"))
                task = Task(cancel, port, c.pid, c.key) if rng.random() < 0.8 else None
                answer = c.until("Z")
                if wire.errors(answer):
                    assert task and wire.sqlstates(answer) == ["57014"], answer
                    hits += 1
                else:
                    assert wire.scalar(answer) == tag
                if task:
                    task.result()
        return hits

    innocents = [Task(innocent, n) for n in range(4)]
    cancellers = [Task(canceller, n) for n in range(4)]
    try:
        hits = [task.result(100) for task in cancellers]
    finally:
        stop.append(True)
    for task in innocents:
        task.result()
    print("cancelled", hits)
    assert b.alive


def test_the_next_query_of_the_same_client_is_not_hit(broker):
    """class 17: the cancel belongs to the query that ran when it was sent."""
    b = broker(default_pool_size=1)
    port = b.transaction_port
    with b.connect() as c, b.connect() as other:
        for turn in range(40):
            c.send(wire.query("select 'x' from pg_sleep(0.002)"))
            cancel(port, c.pid, c.key)
            c.until("Z")
            assert other.value(f"select 'o{turn}' from pg_sleep(0.001)") == f"o{turn}"
            assert c.value(f"select 'c{turn}' from pg_sleep(0.001)") == f"c{turn}"


def test_cancel_in_the_middle_of_a_big_result(one):
    c = one.connect()
    c.send(wire.query("select repeat('x', 1000) from generate_series(1, 3000000)"))
    c.recv()
    cancel(one.transaction_port, c.pid, c.key)
    while True:
        message = c.recv()
        if message.tag == "E":
            assert message.sqlstate == "57014"
        if message.tag == "Z":
            break
        assert message.tag in "TDEC"
    assert c.value("select 'after'") == "after"


def test_cancel_during_copy_in(one, postgres):
    postgres.sql("create table cancelled_copy (n int)", database="e2e", user="app")
    c = one.connect()
    c.send(wire.query("copy cancelled_copy from stdin")).until("G")
    c.send(wire.copy_data(b"1\n") * 10)
    cancel(one.transaction_port, c.pid, c.key)
    c.send(wire.copy_data(b"1\n") * 10 + wire.copy_done())
    answer = c.until("Z")
    assert wire.sqlstates(answer) in (["57014"], []), answer
    assert c.value("select 'after'") == "after"
    postgres.sql("drop table cancelled_copy", database="e2e")
