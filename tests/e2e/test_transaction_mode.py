"""Transaction mode: one transaction one backend (I4), when a server is released, portals.

Most tests use a pool of ONE server, so that a server that was not released, or released too early, shows at once: a
second client is made to wait, and the console tells whether it does.
"""

import random

import pytest

from harness import wire
from harness.held import assert_free, assert_held, waiting
from harness.system import Task, in_threads

PID = "select pg_backend_pid()"


# One transaction, one backend -----------------------------------------------------------------------------------------

def test_one_transaction_one_backend(broker):
    """I4: 16 clients on 3 servers; inside a transaction pid and xid never change."""
    b = broker(default_pool_size=3)

    def work(number):
        rng = random.Random(number)
        with b.connect() as c:
            pids = set()
            for _ in range(15):
                c.query("begin")
                seen = {tuple(wire.rows(c.query("select pg_backend_pid(), txid_current()"))[0])
                        for _ in range(rng.randrange(1, 6))}
                assert len(seen) == 1, seen
                assert c.query(rng.choice(["commit", "rollback"]))[-1].status == "I"
                pids |= seen
            return {pid for pid, _ in pids}

    pids = set().union(*in_threads(16, work))
    assert 1 <= len(pids) <= 3


def test_more_clients_than_servers_share_them(broker, control):
    """I8: never more servers than the pool's size."""
    b = broker(default_pool_size=2)
    clients = [b.connect(application_name="sharing") for _ in range(30)]
    for c in clients:
        c.send(wire.query(PID + " from pg_sleep(0.01)"))
    pids = {wire.scalar(c.until("Z")) for c in clients}
    assert len(pids) == 2


def test_release_after_each_autocommit_query(one):
    a, c = one.connect(), one.connect()
    assert len({a.value(PID), c.value(PID), a.value(PID), c.value(PID)}) == 1


def test_transaction_keeps_its_server(one):
    a = one.connect()
    a.query("begin")
    assert assert_held(one, lambda: a.query("commit")[-1].status) == "I"


def test_failed_transaction_keeps_its_server(one):
    a = one.connect()
    a.query("begin")
    assert a.query("select 1/0")[-1].status == "E"
    assert assert_held(one, lambda: a.query("commit")[-1].status) == "I"


@pytest.mark.parametrize("batch, answer", [
    (wire.parse("", "select 1"), "1"),
    (wire.parse("", "select 1") + wire.bind(), "12"),
    (wire.run("select 1"), "12DC"),
    (wire.parse("", "select 1") + wire.describe("S"), "1tT"),
])
@pytest.mark.ours
def test_messages_without_sync_keep_the_server(one, batch, answer):
    """Parse, Bind or Flush without Sync keep the server, though nothing is outstanding after the Flush."""
    a = one.connect()
    a.send(batch + wire.flush())
    assert wire.tags([a.recv() for _ in answer]) == answer
    assert wire.tags(assert_held(one, lambda: a.ask(wire.sync()))) == "Z"


@pytest.mark.ours
def test_flush_behind_a_sync_keeps_nothing(one):
    """It opens no batch, whether the Sync is answered by then or not."""
    a, c = one.connect(), one.connect()
    a.ask(wire.run("select pg_sleep(0.2)") + wire.sync() + wire.flush())
    assert c.value("select 1") == "1"


@pytest.mark.ours
def test_failed_batch_with_a_query_behind_keeps_the_server(one):
    """PostgreSQL skips the Query too and waits for the Sync: the next client's would be skipped like it."""
    a = one.connect()
    a.send(wire.parse("", "selec") + wire.query("select 'skipped'"))
    assert a.recv().tag == "E"
    assert wire.tags(assert_held(one, lambda: a.ask(wire.sync()))) == "Z"


@pytest.mark.ours
def test_leaving_a_failed_batch_with_a_query_behind(one):
    a = one.connect()
    a.send(wire.parse("", "selec") + wire.query("select 'skipped'"))
    assert a.recv().tag == "E"
    a.terminate()
    assert_free(one)


def test_flush_pipeline(one):
    """A client that reads each answer after a Flush, across several statements, before the one Sync."""
    a = one.connect()
    for n in range(5):
        a.send(wire.run("select $1::int", [n]) + wire.flush())
        got = [a.recv() for _ in "12DC"]
        assert wire.tags(got) == "12DC" and wire.rows(got) == [[str(n)]]
    assert wire.tags(a.ask(wire.sync())) == "Z"
    assert_free(one)


def test_pipeline_of_syncs(one):
    """class 7: a batch with many ReadyForQuery; every answer arrives, in order (I6)."""
    a = one.connect()
    a.send(b"".join(wire.run("select $1::int", [n]) + wire.sync() for n in range(300)))
    for n in range(300):
        answer = a.until("Z")
        assert wire.tags(answer) == "12DCZ" and wire.rows(answer) == [[str(n)]]
    assert_free(one)


def test_pipeline_of_simple_queries(one):
    """class 1, 7: queries sent ahead are counted, each."""
    a = one.connect()
    a.send(b"".join(wire.query(f"select {n}") for n in range(300)))
    assert [wire.rows(a.until("Z")) for _ in range(300)] == [[[str(n)]] for n in range(300)]
    assert_free(one)


def test_mixed_pipeline_with_transactions(one):
    """Simple and extended protocol, a transaction that begins in one batch and ends in another."""
    a = one.connect()
    a.send(wire.query("begin") + wire.run("select txid_current()") + wire.sync() + wire.query("select txid_current()") +
           wire.run("select 1/0") + wire.sync() + wire.query("rollback") + wire.run("select 'after'") + wire.sync())
    answers = [a.until("Z") for _ in range(6)]
    assert [x[-1].status for x in answers] == ["T", "T", "T", "E", "I", "I"]
    assert wire.scalar(answers[1]) == wire.scalar(answers[2])
    assert wire.sqlstates(answers[3]) == ["22012"]
    assert wire.scalar(answers[5]) == "after"
    assert_free(one)


def test_pipeline_stays_on_one_server_through_a_transaction(broker):
    """I4 for pipelines, while others take every free server."""
    b = broker(default_pool_size=3)
    stop = []

    def noise(_):
        with b.connect() as c:
            while not stop:
                c.query(PID)

    tasks = [Task(noise, n) for n in range(4)]
    with b.connect() as a:
        for _ in range(30):
            a.send(wire.run("begin") + wire.run(PID) + wire.sync() + wire.run(PID) + wire.sync() +
                   wire.query(PID) + wire.run("commit") + wire.sync())
            answers = [a.until("Z") for _ in range(4)]
            assert len({row[0] for x in answers for row in wire.rows(x)}) == 1
    stop.append(True)
    for task in tasks:
        task.result()


def test_begin_ahead_of_its_first_answer(one):
    """A Query and the next one sent in a single segment; the first ReadyForQuery must not release."""
    a, c = one.connect(), one.connect()
    for _ in range(30):
        a.send(wire.query("select 1") + wire.query("begin"))
        c.send(wire.query("select 'c', txid_current_if_assigned()"))
        assert a.until("Z")[-1].status == "I"
        assert a.until("Z")[-1].status == "T"
        a.query("select txid_current()")
        a.query("commit")
        assert wire.rows(c.until("Z")) == [["c", None]]


def test_row_limits_and_portal_suspended(one):
    """class 39: a suspended portal keeps its server until the Sync that ends it."""
    a = one.connect()
    a.send(wire.parse("", "select n from generate_series(1, 5) n") + wire.bind() + wire.execute(limit=2) + wire.flush())
    got = [a.recv() for _ in "12DDs"]
    assert wire.tags(got) == "12DDs"

    def go_on():
        a.send(wire.execute(limit=2) + wire.flush())
        assert wire.tags([a.recv() for _ in "DDs"]) == "DDs"
        return a.ask(wire.execute(limit=2) + wire.sync())

    assert wire.tags(assert_held(one, go_on)) == "DCZ"


def test_named_portal_across_syncs_in_a_transaction(one):
    """class 39, 28: the portal lives until the transaction ends; closing portal x leaves statement x."""
    a = one.connect()
    a.query("begin")
    answer = a.ask(wire.parse("x", "select n from generate_series(1, 5) n") + wire.bind("x", "x") +
                   wire.execute("x", 2) + wire.sync())
    assert wire.tags(answer) == "12DDsZ" and answer[-1].status == "T"
    assert wire.rows(a.ask(wire.execute("x", 2) + wire.sync())) == [["3"], ["4"]]
    assert wire.tags(a.ask(wire.close("P", "x") + wire.sync())) == "3Z"
    assert wire.sqlstates(a.ask(wire.execute("x", 2) + wire.sync())) == ["34000"]
    a.query("rollback")
    assert_free(one)


def test_sql_cursor_in_a_transaction(one):
    a = one.connect()
    a.query("begin; declare c cursor for select n from generate_series(1, 10) n")
    assert wire.rows(a.query("fetch 3 from c")) == [["1"], ["2"], ["3"]]
    assert wire.rows(a.query("fetch 1 from c")) == [["4"]]
    a.query("commit")
    assert_free(one)


def test_error_then_query_without_sync(one, postgres):
    """class 34: after an error PostgreSQL skips a Query too; there is no ReadyForQuery to wait for but the Sync's."""
    def script(c):
        c.send(wire.parse("", "selec") + wire.flush())
        first = c.recv()
        c.send(wire.query("select 'skipped'") + wire.sync())
        return wire.tags([first] + c.until("Z"))

    assert script(postgres.connect("app")) == "EZ"
    a = one.connect()
    assert script(a) == "EZ"
    assert_free(one)
    assert a.value("select 'still here'") == "still here"


def test_error_in_the_first_of_two_batches(one):
    """class 33: the second batch is executed, the rest of the first is skipped."""
    a = one.connect()
    a.send(wire.run("select 1/0") + wire.run("select 'skipped'") + wire.sync() +
           wire.run("select 'second'") + wire.sync())
    first, second = a.until("Z"), a.until("Z")
    assert wire.tags(first) == "1EZ" and wire.scalar(second) == "second"
    assert_free(one)


def test_many_errors_one_after_the_other(one):
    """class 33, I2: each batch has exactly one end."""
    a = one.connect()
    a.send(b"".join((wire.run("select 1/0") if n % 3 == 0 else wire.run("select $1::int", [n])) + wire.sync()
                    for n in range(200)))
    for n in range(200):
        answer = a.until("Z")
        assert wire.tags(answer) == ("1EZ" if n % 3 == 0 else "12DCZ")
    assert_free(one)


def test_sync_alone(one):
    a = one.connect()
    assert wire.tags(a.ask(wire.sync())) == "Z"
    a.send(wire.sync() * 5)
    assert [wire.tags(a.until("Z")) for _ in range(5)] == ["Z"] * 5
    assert_free(one)


def test_flush_alone(one):
    a = one.connect()
    a.send(wire.flush())
    assert a.value("select 'next'") == "next"
    assert_free(one)


# FunctionCall ---------------------------------------------------------------------------------------------------------

INT4PL = 177


def four(number):
    return number.to_bytes(4, "big", signed=True)


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_function_call(broker, mode):
    """class 38, T2: as the very first message too, when no server is linked."""
    b = broker(default_pool_size=1)
    a = b.connect(getattr(b, mode + "_port"))
    answer = a.ask(wire.function_call(INT4PL, [four(2), four(40)]))
    assert wire.tags(answer) == "VZ" and answer[0].body == four(4) + four(42)
    answer = a.ask(wire.function_call(999999, []))
    assert wire.tags(answer) == "EZ"
    assert a.value("select 'after'") == "after"


def test_function_call_in_a_transaction_and_in_a_pipeline(one):
    """class 38"""
    a = one.connect()
    a.send(wire.query("begin") + wire.function_call(INT4PL, [four(1), four(1)]) + wire.run("select 1") + wire.sync() +
           wire.query("commit"))
    assert [wire.tags(a.until("Z")) for _ in range(4)] == ["CZ", "VZ", "12DCZ", "CZ"]
    assert_free(one)


# Session mode beside it -----------------------------------------------------------------------------------------------

def test_session_client_keeps_its_server(broker):
    b = broker(default_pool_size=2)
    a = b.session()
    pid = a.value(PID)
    a.query("create temp table mine (n int)")
    assert all(a.value(PID) == pid for _ in range(5))
    assert a.value("select count(*) from mine") == "0"


@pytest.mark.ours
def test_server_of_a_session_client_is_reset_for_a_transaction_client(broker):
    """I5: whatever server_reset_query says."""
    b = broker(default_pool_size=1, server_reset_query="", transaction_reserve=0)
    a = b.session()
    a.query("set work_mem = '77MB'; create temp table left_over (n int); prepare p as select 1; listen something")
    a.ask(wire.parse("named", "select 1") + wire.sync())
    pid = a.value(PID)
    a.terminate()
    c = b.connect()
    answer = c.query("select pg_backend_pid(), current_setting('work_mem') = '77MB', to_regclass('left_over'), "
                     "(select count(*) from pg_prepared_statements), (select count(*) from pg_listening_channels())")
    ((got, *state),) = wire.rows(answer)
    assert state == ["f", None, "0", "0"], (pid, got)


@pytest.mark.ours
def test_session_clients_leave_the_reserve_to_transactions(broker):
    """transaction_reserve (default 1): transaction traffic never stops, however many sessions are open."""
    b = broker(default_pool_size=3)
    a, c = b.session(), b.session()
    a.query("select 1"), c.query("select 1")
    third = b.session()
    third.send(wire.query("select 'third'"))
    waiting(b)
    with b.connect() as t:
        for _ in range(5):
            assert t.value("select 't'") == "t"
    a.terminate()
    assert wire.rows(third.until("Z")) == [["third"]]


def test_statement_mode(broker):
    """Every statement its own server; an explicit transaction is refused."""
    b = broker(pool_mode="statement", default_pool_size=1)
    a = b.connect(b.listen_port)
    assert a.value("select 'one'") == "one"
    a.send(wire.query("begin"))
    assert any(m.tag == "E" for m in a.until("EZ"))
    with b.connect(b.listen_port) as c:
        assert c.value("select 'next'") == "next"
