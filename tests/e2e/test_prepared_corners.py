"""Prepared statements in transaction mode, failure classes 22 to 32: what the broker answers by itself, or sends under a name of its own,
is answered as PostgreSQL alone would."""

import pytest

from harness import wire
from harness.compare import batches, same
from test_prepared import SYNC, holds, one, prepare, without_place  # noqa: F401: `one` is a fixture


@pytest.mark.ours
@pytest.mark.parametrize("name", ["", "d"])
def test_prepared_deallocate_means_what_its_name_means_then(one, postgres, name):
    """class 22: prepared before the statement that it drops, and executed again when that has gone."""
    drop = wire.bind("", name) + wire.execute() + SYNC
    with one.connect() as a, postgres.connect("app") as direct:
        same(direct, a, batches(wire.parse(name, "deallocate x") + SYNC, drop, wire.parse("x", "select 1") + SYNC,
                                wire.parse(name, "deallocate x") + SYNC if not name else SYNC, drop, drop,
                                wire.rerun("x") + SYNC, wire.query("prepare x as select 2"),
                                wire.parse(name, "deallocate x") + SYNC if not name else SYNC, drop, drop))


@pytest.mark.ours
def test_error_names_the_name_that_was_bound(one, postgres):
    """class 22: two names of one text."""
    with one.connect() as a, postgres.connect("app") as direct:
        same(direct, a, batches(*[wire.parse(name, "select $1::int") + SYNC for name in ("a", "m", "z")],
                                *[wire.bind("", name, [1, 2]) + SYNC for name in ("a", "m", "z")],
                                wire.close("S", "a") + SYNC, wire.bind("", "z", [1, 2]) + SYNC))


@pytest.mark.ours
def test_names_longer_than_postgresql_keeps(one, postgres):
    """class 22: PostgreSQL looks at 63 bytes of a name."""
    long = "x" * 63
    with one.connect() as a, postgres.connect("app") as direct:
        same(direct, a, batches(wire.parse(long + "a", "select 1") + SYNC, wire.rerun(long) + SYNC, wire.rerun(long + "b") + SYNC,
                                wire.parse(long + "b", "select 2") + SYNC, wire.describe("S", long + "c") + SYNC,
                                wire.close("S", long + "d") + SYNC, wire.rerun(long + "a") + SYNC))


@pytest.mark.ours
@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("message", [wire.parse("known", "select 1"), wire.close("S", "known"), wire.close("S", "nothing")],
                         ids=["parse", "close", "close-nothing"])
def test_what_the_broker_answers_itself_ends_a_copy(one, postgres, message, ahead):
    """class 26: PostgreSQL's COPY FROM STDIN reads it, whether it was sent before the COPY began or behind, and ends the session."""
    with one.connect() as a, one.connect() as other, postgres.connect("app") as direct:
        prepare(other, "known", "select 1")
        if message[:1] == b"C":
            for c in (a, direct):
                prepare(c, "known", "select 1")
        copy = wire.parse("", "copy pg_temp.t from stdin") + wire.bind() + wire.execute()

        def script(c):
            c.query("begin")
            c.query("create temp table t (i int)")
            if ahead:
                c.send(copy + message + SYNC)
                return c.until_closed()
            c.send(copy + wire.flush())
            return c.until("G") + c.send(message + SYNC).until_closed()
        got = same(direct, a, script)
        assert wire.sqlstates(got) == ["08P01"] * 2


@pytest.mark.ours
def test_more_answers_than_the_queue_behind_one_that_is_not_flushed(one):
    """class 26: PostgreSQL keeps its answer until its buffer is full or it is asked for it; the broker's own do not fill that."""
    closes = 20000
    with one.connect() as a:
        a.send(wire.parse("", "select 1") + wire.close("S", "nothing") * closes + SYNC)
        assert wire.tags(a.until("Z")) == "1" + "3" * closes + "Z"


@pytest.mark.ours
def test_function_call_ends_a_batch(one, postgres):
    """class 26: ReadyForQuery has been sent, so the server goes to others."""
    pid = 2026  # pg_backend_pid
    call = wire.function_call(pid, [], [])
    with one.connect() as a, one.connect() as c, postgres.connect("app") as direct:
        for client in (a, direct):
            assert wire.tags(client.ask(wire.parse("", "select 1") + call)) == "1VZ"
        assert c.value("select 'served'") == "served"
        # In a batch that has failed it is skipped, and ends nothing.
        same(direct, a, batches(wire.parse("", "select nonsense") + call + SYNC, wire.query("select 1")))


@pytest.mark.ours
def test_prepared_anew_after_ddl(broker, postgres):
    """class 25: a copy that others have made before the DDL is given to nobody who prepares the statement behind its failure. Names that
    are older keep it, as in PostgreSQL: what their drivers know of the columns is older, too."""
    postgres.sql("drop table if exists changing; create table changing (i int); grant all on changing to public", database="e2e")
    sql = "select * from changing"
    b = broker(default_pool_size=1)
    with b.connect() as old, b.connect() as new:
        prepare(old, "s", sql)
        postgres.sql("alter table changing add column t text", database="e2e")
        assert wire.sqlstates(old.ask(wire.rerun("s") + SYNC)) == ["0A000"]
        assert wire.sqlstates(old.ask(wire.rerun("s") + SYNC)) == ["0A000"]
        prepare(new, "s", sql)
        assert wire.tags(new.ask(wire.describe("S", "s") + wire.rerun("s") + SYNC)) == "tT2CZ"
        assert wire.sqlstates(old.ask(wire.describe("S", "s") + SYNC)) == ["0A000"]
        assert wire.tags(old.ask(wire.close("S", "s") + wire.parse("s", sql) + wire.rerun("s") + SYNC)) == "312CZ"
    postgres.sql("drop table changing", database="e2e")
