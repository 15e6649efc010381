"""Transaction mode: one transaction one backend (I4), when a server is released, COPY, portals, clients that leave.

Most tests use a pool of ONE server, so that a server that was not released, or released too early, shows at once: a
second client is made to wait, and the console tells whether it does.
"""

import random
import time

import pytest

from harness import wire
from harness.system import Task, eventually, in_threads

PID = "select pg_backend_pid()"


@pytest.fixture
def one(broker):
    """A broker whose pools hold one server."""
    return broker(default_pool_size=1)


def waiting(b, count=1):
    eventually(lambda: b.pool()["cl_waiting"] == count, f"{count} clients wait; pool: {b.pool()}")


def assert_free(b):
    """The pool's only server serves another client, and its transaction is over."""
    with b.connect() as other:
        answer = other.query("select 'free', pg_current_xact_id_if_assigned() is null")
        assert wire.rows(answer) == [["free", "t"]] and answer[-1].status == "I"


def assert_held(b, release):
    """Another client waits until release() was called."""
    with b.connect() as other:
        other.send(wire.query("select 'mine'"))
        waiting(b)
        assert other.quiet(0.05)
        out = release()
        assert wire.rows(other.until("Z")) == [["mine"]]
    return out


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


# COPY -----------------------------------------------------------------------------------------------------------------

@pytest.fixture
def table(postgres, request):
    name = "copied"
    postgres.sql(f"drop table if exists {name}; create table {name} (n int); grant all on {name} to public",
                 database="e2e")
    yield name
    postgres.sql(f"drop table {name}", database="e2e")


def begin_copy(a, table):
    """Extended protocol as libpq speaks it: the Sync after Execute is read by nobody (class 35)."""
    a.send(wire.run(f"copy {table} from stdin") + wire.sync())
    return a.until("G")


def test_copy_in(one, table):
    a = one.connect()
    assert wire.tags(a.send(wire.query(f"copy {table} from stdin")).until("G")) == "G"
    a.send(b"".join(wire.copy_data(f"{n}\n".encode()) for n in range(20000)) + wire.copy_done())
    assert wire.tags(a.until("Z")) == "CZ"
    assert_free(one)
    assert a.value(f"select sum(n) from {table}") == str(sum(range(20000)))


def test_copy_in_keeps_the_server(one, table):
    a = one.connect()
    a.send(wire.query(f"copy {table} from stdin")).until("G")
    assert wire.tags(assert_held(one, lambda: a.ask(wire.copy_data(b"1\n") + wire.copy_done()))) == "CZ"


@pytest.mark.ours
def test_copy_in_without_waiting_for_the_server(one, table):
    """Query, CopyData and CopyDone in one segment, then the next query."""
    a = one.connect()
    a.send(wire.query(f"copy {table} from stdin") + wire.copy_data(b"1\n2\n") + wire.copy_done() +
           wire.query(f"select count(*) from {table}"))
    assert wire.tags(a.until("Z")) == "GCZ"
    assert wire.rows(a.until("Z")) == [["2"]]
    assert_free(one)


def test_copy_in_with_an_error_in_the_middle(one, table):
    """class 35: PostgreSQL answers the error at once and ignores the CopyData that still comes."""
    a = one.connect()
    a.send(wire.query(f"copy {table} from stdin")).until("G")
    a.send(wire.copy_data(b"not a number\n"))
    assert wire.sqlstates(a.until("Z")) == ["22P02"]
    a.send(wire.copy_data(b"3\n") * 1000 + wire.copy_done())
    assert a.value(f"select count(*) from {table}") == "0"
    assert_free(one)


@pytest.mark.ours
def test_late_copy_data_is_swallowed(one, table):
    """class 35 (#1471): CopyData after an error costs no server and reaches no other client."""
    a = one.connect()
    for _ in range(5):
        a.send(wire.query(f"copy {table} from stdin")).until("G")
        a.send(wire.copy_data(b"x\n")).until("Z")
        a.send(wire.copy_data(b"3\n") * 100)
        assert_free(one)
        a.send(wire.copy_done())
    assert a.value("select 'fine'") == "fine"
    assert_free(one)


def test_copy_fail(one, table):
    a = one.connect()
    a.send(wire.query(f"copy {table} from stdin")).until("G")
    answer = a.ask(wire.copy_data(b"1\n") + wire.copy_fail("changed my mind"))
    assert wire.sqlstates(answer) == ["57014"] and "changed my mind" in wire.only_error(answer).text
    assert_free(one)


def test_sync_during_copy_is_not_answered(one, table):
    """class 35: the Sync after Execute falls into the COPY and PostgreSQL never answers it."""
    a = one.connect()
    assert wire.tags(begin_copy(a, table)) == "12G"
    a.send(wire.copy_data(b"1\n") * 10 + wire.copy_done() + wire.sync())
    assert wire.tags(a.until("Z")) == "CZ"
    assert a.quiet(0.05)
    assert_free(one)
    assert a.value(f"select count(*) from {table}") == "10"


def test_more_syncs_and_flushes_during_copy(one, table):
    """class 35"""
    a = one.connect()
    begin_copy(a, table)
    a.send((wire.copy_data(b"1\n") + wire.sync() + wire.flush()) * 20 + wire.copy_done() + wire.sync())
    assert wire.tags(a.until("Z")) == "CZ"
    assert_free(one)
    assert a.value(f"select count(*) from {table}") == "20"


def test_sync_during_copy_with_an_error(one, table):
    """class 35: after the error everything is skipped up to the one Sync."""
    a = one.connect()
    begin_copy(a, table)
    a.send(wire.copy_data(b"bad\n"))
    assert wire.sqlstates(a.until("E")) == ["22P02"]
    a.send(wire.copy_data(b"1\n") * 50 + wire.copy_done() + wire.sync())
    assert wire.tags(a.until("Z")) == "Z"
    assert_free(one)
    assert a.value(f"select count(*) from {table}") == "0"


def test_copy_fail_in_extended_protocol(one, table):
    a = one.connect()
    begin_copy(a, table)
    answer = a.ask(wire.copy_fail("no") + wire.sync())
    assert wire.sqlstates(answer) == ["57014"] and wire.tags(answer) == "EZ"
    assert_free(one)


def test_copy_in_a_transaction(one, table):
    a = one.connect()
    a.query("begin")
    a.send(wire.query(f"copy {table} from stdin")).until("G")
    assert a.ask(wire.copy_data(b"1\n") + wire.copy_done())[-1].status == "T"
    begin_copy(a, table)
    assert a.ask(wire.copy_data(b"2\n") + wire.copy_done() + wire.sync())[-1].status == "T"
    assert a.query("commit")[-1].status == "I"
    assert_free(one)
    assert a.value(f"select sum(n) from {table}") == "3"


def test_copy_out(one):
    a = one.connect()
    answer = a.query("copy (select n from generate_series(1, 50000) n) to stdout")
    assert wire.tags(answer) == "H" + "d" * 50000 + "cCZ"
    answer = a.ask(wire.run("copy (select 1) to stdout") + wire.sync())
    assert wire.tags(answer) == "12HdcCZ"
    assert_free(one)


def test_copy_out_with_an_error_in_the_middle(one):
    a = one.connect()
    answer = a.query("copy (select 10 / (n - 500) from generate_series(1, 1000) n) to stdout")
    assert wire.sqlstates(answer) == ["22012"] and answer[-1].status == "I"
    assert_free(one)


def test_copy_in_of_a_message_in_pieces(one, table):
    """class 41: one CopyData of 4 MB, in segments that end anywhere."""
    a = one.connect()
    a.send(wire.query(f"copy {table} from stdin")).until("G")
    data = wire.copy_data(b"7\n" * (2 << 20)) + wire.copy_done()
    rng, at = random.Random(7), 0
    while at < len(data):
        step = rng.choice([1, 5, 1000, 4096, 65536, 300000])
        a.send(data[at:at + step])
        at += step
    assert wire.tags(a.until("Z")) == "CZ"
    assert a.value(f"select count(*) from {table}") == str(2 << 20)


# Clients that leave ---------------------------------------------------------------------------------------------------

def leave_in_transaction(a):
    a.query("begin")
    a.query("create table left_behind (n int)")


def leave_in_failed_transaction(a):
    a.query("begin; create table left_behind (n int)")
    a.query("select 1/0")


def leave_in_copy_in(a):
    a.query("begin; create table left_behind (n int)")
    a.send(wire.query("copy left_behind from stdin")).until("G")
    a.send(wire.copy_data(b"1\n") * 10)


def leave_in_extended_copy_in(a):
    a.query("begin; create table left_behind (n int)")
    a.send(wire.run("copy left_behind from stdin") + wire.sync()).until("G")
    a.send(wire.copy_data(b"1\n") * 10)


def leave_before_sync(a):
    a.send(wire.run("begin") + wire.run("create table left_behind (n int)") + wire.flush())
    assert wire.tags([a.recv() for _ in "12C12C"]) == "12C12C"


def leave_after_an_error_before_sync(a):
    a.send(wire.run("create table left_behind (n int)") + wire.run("select 1/0") + wire.flush()).until("E")


def leave_with_a_running_query(a):
    a.query("begin; create table left_behind (n int)")
    a.send(wire.query("select pg_sleep(600)"))


def leave_in_the_middle_of_a_result(a):
    a.query("begin; create table left_behind (n int)")
    a.send(wire.query("select repeat('x', 1000) from generate_series(1, 1000000)"))
    a.recv()


def leave_in_copy_out(a):
    a.query("begin; create table left_behind (n int)")
    a.send(wire.query("copy (select repeat('x', 1000) from generate_series(1, 1000000)) to stdout")).until("H")


def leave_with_a_pipeline(a):
    a.send(wire.query("begin; create table left_behind (n int)") + wire.query("select pg_sleep(600)") +
           wire.run("select 1") + wire.sync() + wire.query("commit"))
    a.until("Z")


LEAVING = [leave_in_transaction, leave_in_failed_transaction, leave_in_copy_in, leave_in_extended_copy_in,
           leave_before_sync, leave_after_an_error_before_sync, leave_with_a_running_query,
           leave_in_the_middle_of_a_result, leave_in_copy_out, leave_with_a_pipeline]


@pytest.mark.ours
@pytest.mark.parametrize("how", ["terminate", "close", "abort"])
@pytest.mark.parametrize("leave", LEAVING, ids=lambda f: f.__name__)
def test_client_that_leaves_costs_a_rollback_not_a_backend(one, postgres, leave, how):
    """class 8, 47, 48: the same backend serves the next client, outside any transaction, and nothing was committed."""
    a, c = one.connect(user="app3"), one.connect(user="app3")
    backend = a.value(PID)
    postgres.sql("grant all on schema public to app3", database="e2e")
    leave(a)
    getattr(a, how)()
    answer = c.query("select pg_backend_pid(), to_regclass('left_behind'), pg_current_xact_id_if_assigned()")
    assert wire.rows(answer) == [[backend, None, None]] and answer[-1].status == "I"
    assert not postgres.open_transactions()


@pytest.mark.ours
@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize("half", [1, 4, 5, 6, 20])
def test_client_that_leaves_in_the_middle_of_a_message(one, how, half):
    """class 8, 48: half a message reached the server or not; the next client gets a whole one."""
    a, c = one.connect(), one.connect()
    a.query("begin")
    a.send(wire.query("select 'a long enough text to cut'")[:half])
    getattr(a, how)()
    assert c.value("select 'whole'") == "whole"
    assert_free(one)


@pytest.mark.ours
@pytest.mark.parametrize("cut", ["bind", "copy"])
def test_client_that_leaves_in_the_middle_of_a_big_message(one, table, cut):
    """class 8: part of the message has streamed to the server, so that server cannot be used again."""
    a, c = one.connect(), one.connect()
    if cut == "bind":
        data = wire.run("select length($1)", [b"x" * (8 << 20)])
    else:
        a.send(wire.query(f"copy {table} from stdin")).until("G")
        data = wire.copy_data(b"1\n" * (4 << 20))
    a.send(data[:len(data) // 2])
    a.close()
    assert c.value("select 'whole'") == "whole"
    assert c.value(f"select count(*) from {table}") == "0"
    assert_free(one)


def test_terminate_while_idle_costs_nothing(one):
    c = one.connect()
    backend = c.value(PID)
    for how in ("terminate", "close", "abort"):
        a = one.connect()
        a.query("select 1")
        getattr(a, how)()
    assert c.value(PID) == backend


@pytest.mark.ours
def test_waiting_client_that_leaves(one):
    """class 42, I13: its place in the queue goes away with it."""
    a, c, d = one.connect(), one.connect(), one.connect()
    a.query("begin")
    c.send(wire.query("select 'c'"))
    waiting(one)
    d.send(wire.query("select 'd'"))
    waiting(one, 2)
    c.close()
    waiting(one, 1)
    a.query("commit")
    assert wire.rows(d.until("Z")) == [["d"]]


def test_waiters_are_served_in_order(broker):
    """I9: strictly within a worker; between workers test_workers.py says what holds."""
    one = broker(workers=1, default_pool_size=1)
    a = one.connect()
    a.query("begin")
    clients = [one.connect() for _ in range(8)]
    for count, c in enumerate(clients, 1):
        c.send(wire.query("select clock_timestamp()::text"))
        waiting(one, count)
    a.query("commit")
    times = [wire.scalar(c.until("Z")) for c in clients]
    assert times == sorted(times)


def test_slow_reader_does_not_give_its_bytes_to_the_next(one):
    """class 3, 6: the server goes to the next client only after its last byte is with the slow one."""
    a = one.connect()
    a.send(wire.query("select repeat('a', 1000) from generate_series(1, 20000)"))
    a.recv()
    c = one.connect()
    c.send(wire.query("select 'c'"))
    time.sleep(0.05)
    answer = a.until("Z")
    assert wire.tags(answer) == "D" * 20000 + "CZ"
    assert wire.rows(c.until("Z")) == [["c"]]


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
