"""Prepared statements in a failed transaction, in transaction mode: PostgreSQL refuses all but its end, and what stands behind the
end in the same batch runs. Each answer is PostgreSQL's own."""

import pytest

from harness import wire
from harness.compare import batches, same
from test_prepared import SYNC, one, prepare, without_place  # noqa: F401: `one` is a fixture


@pytest.mark.ours
def test_parse_behind_the_end_of_a_failed_transaction(one, postgres):
    """The ROLLBACK is in the same batch: what is parsed behind it is not refused, and no name is in use."""
    end = wire.parse("", "rollback") + wire.bind("", "") + wire.execute()
    twice = wire.parse("t", "select 'same'") + wire.parse("s", "select 'same'") + SYNC
    got = same(postgres.connect("app"), one.connect(),
               batches(wire.query("begin"), wire.query("select 1/0"), end + twice, wire.rerun("s") + SYNC,
                       wire.rerun("t") + SYNC))
    assert wire.sqlstates(got) == ["22012"] and wire.rows(got) == [["same"], ["same"]]


@pytest.mark.ours
@pytest.mark.parametrize("sql", ["rollback", "/* a /* b */ */ rollback", "-- why\n\tCOMMIT", "; end", "abort work", "rollback to a",
                                 "prepare\n transaction 'x'", "commit/**/prepared 'x'", "rollback prepared 'x'", "rollbacks",
                                 "prepare x as select 1", "", " /* nothing */ ;"])
def test_what_a_failed_transaction_lets_in(broker, postgres, sql):
    """Its end and the empty statement, however they are written, whether the server has the statement or not; nothing else."""
    b = broker(default_pool_size=1, max_prepared_statements=1)
    a, other, direct = b.connect(), b.connect(), postgres.connect("app")
    other.ask(wire.parse("s", sql) + SYNC)

    def failed(c, *steps):
        begin = [wire.query("begin"), wire.query("savepoint a"), wire.query("select 1/0")]
        return batches(*begin, *steps, wire.query("rollback"))(c)

    def script(c):
        out = c.ask(wire.parse("t", sql) + SYNC)
        out += failed(c, wire.parse("u", sql) + SYNC, wire.rerun("u") + SYNC)  # the server has it
        if c is a:
            prepare(other, "place", "select 1")  # the server's only place
        out += failed(c, wire.rerun("t") + SYNC)
        if c is a:
            prepare(other, "placed", "select 2")
        return out + failed(c, wire.parse("t", sql) + SYNC)

    same(direct, a, script)


@pytest.mark.ours
def test_name_in_use_behind_the_end_of_a_failed_transaction(broker, postgres):
    """The server lacks the statement, and the ROLLBACK ahead in the pipeline is not answered yet: PostgreSQL says 42P05."""
    with without_place(broker, postgres, "select 'first'") as (a, direct):

        def script(c):
            out = c.query("begin") + c.query("select 1/0")
            c.send(wire.run("rollback") + SYNC + wire.parse("s", "select 'second'") + SYNC + wire.rerun("s") + SYNC)
            for _ in range(3):
                out += c.until("Z")
            return out

        got = same(direct, a, script)
        assert wire.sqlstates(got) == ["22012", "42P05"] and wire.rows(got) == [["first"]]


@pytest.mark.ours
@pytest.mark.parametrize("end", ["rollback", "select 2", ""])
def test_statement_behind_the_end_of_a_failed_transaction(broker, postgres, end):
    """The server lacks it, and the ROLLBACK is in the same batch: it runs (found by fuzz_sim_cancel). Without one it is refused, also
    behind the empty statement, which runs in a failed transaction and does not end it."""
    with without_place(broker, postgres, "select 'here'") as (a, direct):
        got = same(direct, a, batches(wire.query("begin"), wire.query("select 1/0"), wire.run(end) + wire.rerun("s") + SYNC,
                                      wire.query("rollback"), wire.rerun("s") + SYNC))
        assert wire.rows(got) == [["here"]] * (2 if end == "rollback" else 1)


@pytest.mark.ours
@pytest.mark.parametrize("again", [False, True])
def test_literals_behind_the_end_of_a_failed_transaction(broker, postgres, again):
    """class 25: its Parse there means what it meant when it was prepared, though the client has another DateStyle by now."""
    with without_place(broker, postgres, "select '01/02/2020'::date") as (a, direct):
        redeclared = wire.parse("s", "select 1") + SYNC if again else b""
        got = same(direct, a, batches(wire.query("set datestyle = 'ISO, DMY'"), wire.query("begin"), wire.query("select 1/0"),
                                      wire.run("rollback") + (redeclared or wire.rerun("s") + SYNC), wire.rerun("s") + SYNC,
                                      wire.query("reset datestyle"), wire.rerun("s") + SYNC))
        assert wire.rows(got) == [["2020-01-02"]] * (2 if again else 3)


@pytest.mark.ours
def test_skipped_parse_of_a_shared_text_in_a_failed_transaction(one, postgres):
    """What the broker puts before such a Parse is skipped with it: the server still has the statement."""
    def script(c):
        prepare(c, "s", "select 'shared'")
        out = c.query("begin") + c.query("select 1/0")
        out += c.ask(wire.run("rollback") + wire.rerun("never") + wire.parse("t", "select 'shared'") + SYNC)
        return out + c.query("rollback") + c.ask(wire.describe("S", "s") + wire.rerun("s") + SYNC)

    got = same(postgres.connect("app"), one.connect(), script)
    assert wire.sqlstates(got) == ["22012", "26000"]
