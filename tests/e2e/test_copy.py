"""COPY in transaction mode, both protocols: who holds the server meanwhile, errors, Syncs that nobody answers. Pools of one server."""

import random

import pytest

from harness import wire
from harness.held import assert_free, assert_held


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
