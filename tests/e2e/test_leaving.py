"""Clients that leave in the middle of something, in transaction mode: it costs a rollback, and nobody else notices (class 8, 47, 48)."""

import time

import pytest

from harness import wire
from harness.held import assert_free, waiting

PID = "select pg_backend_pid()"


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
