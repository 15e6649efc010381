"""Prepared statements in transaction mode, failure class 25: where it is not known when a Parse is sent under which settings PostgreSQL
will read it, or whether a COPY will. Those it leaves behind belong to one client, and what is remembered of a batch ends with it."""

import pytest

from harness import wire
from harness.compare import at_once, batches, same
from test_prepared import SYNC, holds, one, prepare  # noqa: F401: `one` is a fixture
from test_prepared_settings import AMERICAN, DAY, EUROPEAN

pytestmark = pytest.mark.ours

TO_AMERICAN = "select set_config('datestyle', 'ISO, MDY', false)"
COPY = wire.parse("", "copy pg_temp.t from stdin") + wire.bind() + wire.execute()


@pytest.fixture
def settings_by_function(postgres):
    """european() sets DateStyle; that it does is not seen in a statement that calls it."""
    postgres.sql("create or replace function european() returns int language plpgsql as $$ begin "
                 "perform set_config('datestyle', 'ISO, DMY', false); return 1; end $$", database="e2e")
    yield
    postgres.sql("drop function european()", database="e2e")


def with_table(script):
    """In a transaction that has a table to copy to."""
    def run(c):
        c.query("begin")
        c.query("create temp table t (i int)")
        return script(c)
    return run


# When the settings are known ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("change", ["set " + AMERICAN, TO_AMERICAN])
def test_settings_of_a_batch_before_those_of_the_next(one, postgres, change):
    """Both are sent at once, and each of them changes settings."""
    with one.connect() as a, postgres.connect("app") as direct:
        same(direct, a, at_once(wire.run("set " + EUROPEAN) + wire.parse("s", DAY) + SYNC + wire.run(change) + SYNC, 2))
        same(direct, a, batches(wire.rerun("s") + SYNC))
        local = wire.query("begin") + wire.run("set local " + EUROPEAN) + wire.parse("t", DAY) + SYNC
        same(direct, a, at_once(local + wire.run("select 1") + wire.run("commit") + SYNC, 3))
        same(direct, a, batches(wire.rerun("t") + SYNC))


@pytest.mark.parametrize("end", [wire.run("commit"), wire.rerun("nothing")], ids=["commit", "failure"])
def test_what_the_batch_puts_back_stays_with_the_statement(one, postgres, end):
    """On the server on which it was parsed."""
    with one.connect() as a, one.connect() as c, postgres.connect("app") as direct:
        same(direct, a, batches(wire.run("begin") + wire.run("set local " + EUROPEAN) + wire.parse("s", DAY) + end + SYNC,
                                wire.query("rollback"), wire.rerun("s") + SYNC))
        prepare(c, "s", DAY)
        holds(c, "s", "2")


def test_statement_that_is_evicted_in_its_own_batch(broker, postgres):
    """It could not be made again as it was."""
    b = broker(default_pool_size=1, max_prepared_statements=1)
    with b.connect() as a, postgres.connect("app") as direct:
        same(direct, a, batches(wire.run("set " + EUROPEAN) + wire.parse("s", DAY) + wire.run("set " + AMERICAN) +
                                wire.parse("t", "select 1") + wire.rerun("s") + SYNC, wire.rerun("t") + SYNC))


def test_statements_that_nobody_shares_leave_no_rest(broker):
    """Closed they are gone: they take no place from others."""
    b = broker(default_pool_size=1, max_prepared_statements=20)
    with b.connect() as c, b.connect() as a:
        prepare(c, "kept", "select 'kept'")
        for _ in range(40):
            a.ask(wire.run("begin") + wire.run("set local " + EUROPEAN) + wire.parse("s", DAY) + wire.rerun("s") + wire.close("S", "s") +
                  wire.run("commit") + SYNC)
        names = [row[0] for row in wire.rows(a.query("select statement from pg_prepared_statements"))]
        assert "select 'kept'" in names and DAY not in names


@pytest.mark.parametrize("execute_first", [False, True])
def test_portal_of_an_earlier_batch(one, postgres, execute_first):
    """It is executed in a batch that has another Bind."""
    with one.connect() as a, one.connect() as c, postgres.connect("app") as direct:
        prepare(c, "known", DAY)
        bound = wire.parse("", "select 1") + wire.bind()
        run = wire.execute("p") + bound if execute_first else bound + wire.execute("p")
        same(direct, a, batches(wire.query("begin"), wire.parse("m", "set " + EUROPEAN) + SYNC, wire.bind("p", "m") + SYNC,
                                run + wire.parse("s", DAY) + SYNC, wire.rerun("s") + SYNC, wire.query("commit")))


def test_flags_of_one_who_went(one, postgres):
    """He leaves in the middle of a batch that has changed settings."""
    with one.connect() as a, postgres.connect("app") as direct:
        for c in (a, direct):
            prepare(c, "m", "set " + EUROPEAN)
        same(direct, a, batches(wire.parse("", DAY) + SYNC, wire.rerun("m") + SYNC))
        with one.connect() as gone:
            gone.send(wire.run("set work_mem = '5MB'") + wire.parse("", "select 7") + wire.flush())
            gone.until("C"), gone.until("1")
        same(direct, a, batches(wire.rerun("") + SYNC))


# The unnamed statement ------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("change", [
    wire.run("set " + EUROPEAN) + wire.parse("", DAY) + wire.rerun("m"),
    wire.rerun("b") + wire.run("set local " + EUROPEAN) + wire.parse("", DAY) + wire.rerun("c"),
    wire.run("select european()") + wire.parse("", DAY) + wire.rerun("m"),
    wire.run("set " + EUROPEAN) + wire.parse("", DAY) + wire.rerun("nothing"),
], ids=["set", "local", "function", "failure"])
def test_unnamed_statement_is_one_clients(broker, settings_by_function, change):
    """The same text, parsed by another on the server to which its client comes: made under other settings."""
    b = broker(default_pool_size=2)
    with b.connect() as one, b.connect() as two, b.connect() as a, b.connect() as c:
        for name, sql in (("m", "set " + AMERICAN), ("b", "begin"), ("c", "commit")):
            prepare(a, name, sql)
        one.query("begin")
        c.ask(wire.parse("", DAY) + SYNC)
        two.query("begin")  # takes the server of c
        one.query("commit")
        a.ask(change + SYNC)
        assert wire.rows(c.ask(wire.rerun("") + SYNC)) == [["2"]]


def test_unnamed_statement_behind_a_function(broker, postgres, settings_by_function):
    """Of an earlier batch, and bound on another server."""
    b = broker(default_pool_size=2)
    with b.connect() as a, b.connect() as blocker, postgres.connect("app") as direct:
        same(direct, a, at_once(wire.run("select european()") + SYNC + wire.parse("", DAY) + SYNC, 2))
        blocker.query("begin")
        same(direct, a, batches(wire.rerun("") + SYNC))


def test_unnamed_statement_whose_successor_was_skipped(one, postgres):
    """It means what it meant."""
    with one.connect() as a, postgres.connect("app") as direct:
        same(direct, a, batches(wire.parse("m1", "set " + EUROPEAN) + SYNC, wire.parse("m2", "set work_mem = '5MB'") + SYNC,
                                wire.parse("", DAY) + SYNC, wire.rerun("m1") + SYNC,
                                wire.rerun("m2") + wire.rerun("nothing") + wire.parse("", "select 5") + SYNC, wire.rerun("") + SYNC))


def test_unnamed_statement_behind_a_batch_that_fails(broker, postgres):
    """Its own batch has begun before the failure of the one before is known; and it is bound on another server."""
    b = broker(default_pool_size=2)
    with b.connect() as a, b.connect() as blocker, postgres.connect("app") as direct:
        def script(c):
            prepare(c, "m", "set " + EUROPEAN)
            c.send(wire.rerun("nothing") + wire.parse("", "select 5") + SYNC + wire.rerun("m") + wire.parse("", DAY))
            return c.until("Z") + c.ask(SYNC)
        same(direct, a, script)
        blocker.query("begin")
        same(direct, a, batches(wire.rerun("") + SYNC))


def test_unnamed_statement_behind_a_skipped_query(one, postgres):
    """A Query drops it; one that a failed batch skips does not."""
    with one.connect() as a, postgres.connect("app") as direct:
        same(direct, a, batches(wire.parse("", "select 1") + SYNC))
        same(direct, a, at_once(wire.rerun("nothing") + wire.query("select 2") + SYNC + wire.rerun("") + SYNC, 2))


# COPY -----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("sql", ["set " + AMERICAN, "reset all", "deallocate x", "discard all"])
@pytest.mark.parametrize("ahead", [False, True])
def test_copy_reads_the_parse_of_a_command(one, postgres, sql, ahead):
    with one.connect() as a, one.connect() as other, postgres.connect("app") as direct:
        prepare(other, "known", sql)

        def script(c):
            if ahead:
                return c.send(COPY + wire.parse("known", sql) + SYNC).until_closed()
            c.send(COPY + wire.flush())
            return c.until("G") + c.send(wire.parse("known", sql) + SYNC).until_closed()
        same(direct, a, with_table(script))


@pytest.mark.parametrize("message", [wire.parse("", "select 1") + wire.rerun(""), wire.parse("s", "select 1") + wire.rerun("s"),
                                     wire.parse("s", "set " + AMERICAN), wire.close("S", "nothing")],
                         ids=["unnamed", "named", "set", "close"])
def test_behind_a_copy_that_has_swallowed_its_sync(one, postgres, message):
    """PostgreSQL does not flush the end of such a COPY by itself."""
    with one.connect() as a, postgres.connect("app") as direct:
        def script(c):
            c.send(COPY + SYNC)
            return c.until("G") + c.ask(wire.copy_data(b"1\n") + wire.copy_done() + message + SYNC)
        same(direct, a, with_table(script))


def test_a_swallowed_sync_ends_no_doubt(one, postgres):
    with one.connect() as a, one.connect() as other, postgres.connect("app") as direct:
        prepare(other, "known", DAY)

        def script(c):
            c.send(wire.run("set " + EUROPEAN) + COPY + SYNC)
            out = c.until("G")
            out += c.send(wire.copy_data(b"1\n") + wire.copy_done() + wire.flush()).until("C")
            return out + c.ask(wire.parse("s", DAY) + wire.rerun("s") + SYNC) + c.ask(wire.rerun("s") + SYNC) + c.query("rollback")
        same(direct, a, with_table(script))


@pytest.mark.parametrize("name", ["", "s"])
def test_settings_behind_a_swallowed_sync(broker, postgres, name):
    """All is sent at once, so a later Sync tells them; and the statement is made again on another server."""
    b = broker(default_pool_size=2)
    copy = wire.bind("", "cp") + wire.execute() + SYNC + wire.copy_data(b"1\n") + wire.copy_done() + SYNC
    postgres.sql("drop table if exists copied; create table copied (i int); grant all on copied to public", database="e2e")
    with b.connect() as a, b.connect() as blocker, postgres.connect("app") as direct:
        same(direct, a, batches(wire.parse("cp", "copy copied from stdin") + SYNC))
        same(direct, a, at_once(wire.run("set " + EUROPEAN) + wire.parse(name, DAY) + copy, 1))
        blocker.query("begin")
        same(direct, a, batches(wire.rerun(name) + SYNC))
    postgres.sql("drop table copied", database="e2e")


@pytest.mark.parametrize("message", [wire.close("S", "nothing"), wire.parse("known", "select 1")], ids=["close", "parse"])
def test_stray_copy_done_behind_an_answer_of_the_broker(one, postgres, message):
    with one.connect() as a, one.connect() as c, postgres.connect("app") as direct:
        prepare(c, "known", "select 1")
        same(direct, a, batches(message + wire.copy_done() + SYNC, wire.query("select 1")))


# Answers of the broker's own ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("first, count", [(b"", 20000), (wire.parse("", "select 1"), 40000)], ids=["alone", "behind"])
def test_more_answers_than_the_queue_holds(one, first, count):
    """class 26: of nothing but the broker's own, and of several times as many."""
    with one.connect() as a:
        a.send(first + wire.close("S", "nothing") * count + SYNC)
        assert wire.tags(a.until("Z")) == "1" * bool(first) + "3" * count + "Z"
    with one.connect() as c:
        assert c.value("select 'served'") == "served"


def test_who_reads_no_answers_is_not_read(one):
    """class 26: answers of the broker's own have a bound, too."""
    with one.connect() as a:
        a.sock.settimeout(2)
        with pytest.raises(TimeoutError):
            for _ in range(400):
                a.sock.sendall(wire.close("S", "nothing") * 100000)


def test_skipped_deallocate_all_of_one_who_went(one):
    """class 24: what the server has is known all the same."""
    with one.connect() as c:
        prepare(c, "kept", "select 'kept'")
        for _ in range(5):
            gone = one.connect()
            gone.send(wire.rerun("nothing") + wire.run("deallocate all"))
            gone.abort()
        for _ in range(2):
            holds(c, "kept", "kept")


def test_close_of_a_statement_that_others_have(one, postgres):
    """class 25: after DDL, too: who has prepared it before is told so until he prepares it again."""
    postgres.sql("drop table if exists changing; create table changing (i int); grant all on changing to public", database="e2e")
    with one.connect() as a, one.connect() as c, postgres.connect("app") as direct:
        for client in (a, c, direct):
            prepare(client, "s", "select * from changing")
        postgres.sql("alter table changing add column t text", database="e2e")
        c.ask(wire.rerun("s") + SYNC), c.ask(wire.close("S", "s") + SYNC)
        same(direct, a, batches(wire.rerun("s") + SYNC))
    postgres.sql("drop table changing", database="e2e")


def test_statements_in_doubt_of_those_who_went(broker):
    """Nobody has them any more: they are the first to make room."""
    b = broker(default_pool_size=1, max_prepared_statements=20)
    with b.connect() as c:
        prepare(c, "kept", "select 'kept'")
        for _ in range(40):
            with b.connect() as a:
                a.ask(wire.run("set local " + EUROPEAN) + wire.parse("s", DAY) + wire.run("deallocate s") + SYNC)
            holds(c, "kept", "kept")
        assert int(c.value("select count(*) from pg_prepared_statements")) <= 20


@pytest.mark.parametrize("name", ["", "d"])
def test_describe_of_a_deallocate_in_a_failed_transaction(one, postgres, name):
    with one.connect() as a, postgres.connect("app") as direct:
        same(direct, a, batches(wire.query("begin"), wire.parse(name, "deallocate x") + SYNC, wire.run("select 1/0", name="q") + SYNC,
                                wire.describe("S", name) + SYNC, wire.query("rollback")))


def test_deallocate_of_a_name_that_is_cut_within_a_character(one, postgres):
    """SQL cuts it at a character, the protocol at a byte: so it is another name."""
    name = "\u00e9" * 40
    with one.connect() as a, postgres.connect("app") as direct:
        for c in (a, direct):
            prepare(c, name, "select 1")
            assert wire.sqlstates(c.query(f'deallocate "{name}"')) == ["26000"]
        same(direct, a, batches(wire.rerun(name) + SYNC))
