"""Prepared statements in transaction mode, failure classes 22 to 32: each client has its own names, on every server."""

import itertools
import random
from contextlib import contextmanager

import pytest

from harness import wire
from harness.compare import batches, same
from harness.system import in_threads

SYNC = wire.sync()


def holds(c, name, expected, params=()):
    """The client's statement exists and gives the expected value."""
    assert wire.scalar(c.ask(wire.rerun(name, params) + SYNC)) == expected


def gone(c, name):
    """The client has no such statement: PostgreSQL's 26000, and the session lives on."""
    answer = c.ask(wire.rerun(name) + SYNC)
    assert wire.sqlstates(answer) == ["26000"] and wire.tags(answer) == "EZ", wire.tags(answer)
    assert c.value("select 'alive'") == "alive"


@pytest.fixture
def one(broker):
    return broker(default_pool_size=1)


def prepare(c, name, sql, oids=()):
    assert wire.tags(c.ask(wire.parse(name, sql, oids) + SYNC)) == "1Z"


@contextmanager
def without_place(broker, postgres, sql):
    """A client of the broker whose statement `s` has no place at the only server any more, and one of PostgreSQL that has it."""
    b = broker(default_pool_size=1, max_prepared_statements=1)
    with b.connect() as other, b.connect() as a, postgres.connect("app") as direct:
        for c in (a, direct):
            prepare(c, "s", sql)
        prepare(other, "other", "select 1")  # takes the place
        yield a, direct


# Names ----------------------------------------------------------------------------------------------------------------

@pytest.mark.newer
@pytest.mark.parametrize("pool_size", [1, 2, 3])
def test_named_statements_across_servers(broker, pool_size):
    """class 22, 23, I1: every client uses the same names for texts of its own."""
    b = broker(default_pool_size=pool_size)

    def work(number):
        rng = random.Random(number)
        with b.connect() as c:
            for n in range(5):
                prepare(c, f"s{n}", f"select '{number}/{n}/' || $1::text")
            for turn in range(60):
                n = rng.randrange(5)
                holds(c, f"s{n}", f"{number}/{n}/{turn}", [turn])

    in_threads(12, work)


@pytest.mark.newer
def test_same_name_different_text(one):
    a, c = one.connect(), one.connect()
    prepare(a, "s", "select 'a'")
    prepare(c, "s", "select 'c'")
    for _ in range(5):
        holds(a, "s", "a")
        holds(c, "s", "c")


@pytest.mark.newer
def test_same_text_different_parameter_types(one):
    a, c = one.connect(), one.connect()
    prepare(a, "s", "select pg_typeof($1)::text", [23])
    prepare(c, "s", "select pg_typeof($1)::text", [25])
    for _ in range(3):
        holds(a, "s", "integer", [1])
        holds(c, "s", "text", [1])


@pytest.mark.newer
def test_describe_on_another_server(broker):
    """A statement parsed on one server is described on another: the answer has the same two messages."""
    b = broker(default_pool_size=2)
    a = b.connect()
    sql = "select $1::int as n, 'x'::text as x"
    prepare(a, "s", sql)
    expected = a.ask(wire.describe("S", "s") + SYNC)
    assert wire.tags(expected) == "tTZ"
    with b.connect() as blocker:
        blocker.query("begin")
        for _ in range(4):
            assert a.ask(wire.describe("S", "s") + SYNC) == expected
            blocker.query("commit"), blocker.query("begin")


@pytest.mark.ours
@pytest.mark.parametrize("name", ["x" * 63, "x" * 5000, "é\"'$ \\", "PGBERTH_1", "berth_1", "a\tb"],
                         ids=["63", "5000", "utf8", "P", "b", "tab"])
def test_odd_names(one, name):
    """T1: names of any length and of any bytes, also such as a broker might use itself."""
    a, c = one.connect(), one.connect()
    prepare(a, name, "select 'a'")
    prepare(c, name, "select 'c'")
    holds(a, name, "a")
    holds(c, name, "c")
    assert wire.tags(a.ask(wire.close("S", name) + SYNC)) == "3Z"
    gone(a, name)
    holds(c, name, "c")


@pytest.mark.newer
def test_a_client_with_2000_statements(one):
    a = one.connect()
    a.send(b"".join(wire.parse(f"s{n}", f"select {n}") for n in range(2000)) + SYNC)
    assert wire.tags(a.until("Z")) == "1" * 2000 + "Z"
    with one.connect() as c:
        c.query("select 1")
    for n in (0, 1, 999, 1999):
        holds(a, f"s{n}", str(n))


@pytest.mark.newer
def test_replies_in_order(one, postgres):
    """class 26, I6: synthetic and real replies of one batch come in the order of the requests."""
    batch = (wire.parse("a", "select 1") + wire.parse("b", "select 2") + wire.bind("", "a") + wire.execute() +
             wire.close("S", "a") + wire.parse("a", "select 3") + wire.describe("S", "a") + wire.rerun("b") +
             wire.close("S", "nothing") + wire.rerun("a") + wire.close("S", "a") + wire.close("S", "b") + SYNC)
    got = same(postgres.connect("app"), one.connect(), batches(batch, batch, batch))
    assert wire.tags(got) == "112DC31tT2DC32DC33Z" * 3


@pytest.mark.newer
def test_replies_in_order_around_big_rows(one, postgres):
    """class 26 (3.3.3): a synthetic ParseComplete stands between two big results."""
    big = "select repeat('x', 300000)"
    batch = wire.run(big, name="a") + wire.parse("b", big) + wire.rerun("a") + wire.rerun("b") + \
        wire.close("S", "a") + wire.close("S", "b") + SYNC
    a, c = one.connect(), one.connect()
    assert wire.tags(same(postgres.connect("app"), a, batches(batch, batch))) == "12DC12DC2DC33Z" * 2
    assert wire.tags(c.ask(batch)) == "12DC12DC2DC33Z"


# The unnamed statement ------------------------------------------------------------------------------------------------

@pytest.mark.ours
def test_unnamed_statement_across_a_sync(one):
    """class 29: as lib/pq and pgx use it; another client has run its own unnamed statement on that server meanwhile."""
    a, c = one.connect(), one.connect()
    assert wire.tags(a.ask(wire.parse("", "select 'a' || $1::text") + wire.describe("S") + SYNC)) == "1tTZ"
    for n in range(5):
        assert wire.scalar(c.ask(wire.run("select 'c'") + SYNC)) == "c"
        assert c.value("select 'simple'") == "simple"
        assert wire.scalar(a.ask(wire.bind("", "", [n]) + wire.execute() + SYNC)) == f"a{n}"


@pytest.mark.ours
def test_unnamed_statement_on_another_server(broker):
    b = broker(default_pool_size=2)
    a, blocker = b.connect(), b.connect()
    a.ask(wire.parse("", "select 'mine'") + SYNC)
    for _ in range(4):
        blocker.query("begin")
        assert wire.scalar(a.ask(wire.rerun("") + SYNC)) == "mine"
        blocker.query("commit")


def test_no_unnamed_statement(one, postgres):
    """Bind before any Parse; and a simple Query ends the unnamed statement, as PostgreSQL does it."""
    rebind = wire.rerun("") + SYNC
    got = same(postgres.connect("app"), one.connect(),
               batches(rebind, wire.parse("", "select 1") + SYNC, wire.query("select 2"), rebind, wire.query("select 3")))
    assert wire.sqlstates(got) == ["26000", "26000"]


@pytest.mark.ours
def test_another_clients_unnamed_statement_is_not_mine(one):
    """I1: a fresh client must not execute what somebody else left unnamed on the server."""
    a, c = one.connect(), one.connect()
    a.ask(wire.parse("", "select 'secret of a'") + SYNC)
    assert wire.sqlstates(c.ask(wire.rerun("") + SYNC)) == ["26000"]


# Errors ---------------------------------------------------------------------------------------------------------------

@pytest.mark.ours
def test_redeclared_name(one, postgres):
    """42P05 of PostgreSQL itself; the first statement stays."""
    parse_again = wire.parse("s", "select 'second'") + SYNC
    got = same(postgres.connect("app"), one.connect(),
               batches(wire.parse("s", "select 'first'") + SYNC, parse_again, wire.rerun("s") + SYNC,
                       wire.query("begin"), parse_again, wire.query("rollback"), wire.rerun("s") + SYNC))
    assert wire.sqlstates(got) == ["42P05", "42P05"]
    assert wire.rows(got) == [["first"], ["first"]]


@pytest.mark.ours
def test_redeclared_name_among_names_of_one_text(one, postgres):
    """Two names of the client stand for one statement of the server: the error speaks of the one that was meant."""
    data = wire.parse("s", "select 1") + wire.parse("t", "select 1") + wire.parse("t", "select 57") + SYNC
    got = same(postgres.connect("app"), one.connect(), batches(data, wire.rerun("s") + SYNC))
    assert wire.sqlstates(got) == ["42P05"]


@pytest.mark.ours
def test_redeclared_with_the_same_text(one, postgres):
    parse = wire.parse("s", "select 'same'") + SYNC
    got = same(postgres.connect("app"), one.connect(), batches(parse, parse, wire.rerun("s") + SYNC))
    assert wire.sqlstates(got) == ["42P05"]


@pytest.mark.ours
def test_redeclared_name_rolls_back_its_batch(one):
    """The error happens on the server too, else the earlier Execute of the batch would commit."""
    a = one.connect()
    a.query("drop table if exists redeclared; create table redeclared (n int)")
    prepare(a, "s", "select 1")
    answer = a.ask(wire.run("insert into redeclared values (1)") + wire.parse("s", "select 2") + SYNC)
    assert wire.sqlstates(answer) == ["42P05"]
    assert a.value("select count(*) from redeclared") == "0"
    a.query("drop table redeclared")


@pytest.mark.ours
def test_unknown_name(one, postgres):
    """class 27: 26000 as PostgreSQL writes it, in Bind and in Describe; the session lives on."""
    got = same(postgres.connect("app"), one.connect(),
               batches(wire.rerun("never") + SYNC, wire.describe("S", "never") + SYNC, wire.query("select 1"),
                       wire.query("begin"), wire.rerun("never") + SYNC, wire.query("select 2"), wire.query("rollback"),
                       wire.run("select 1") + wire.rerun("never") + wire.run("select 2") + SYNC))
    assert wire.sqlstates(got) == ["26000", "26000", "26000", "25P02", "26000"]


@pytest.mark.ours
def test_unknown_name_rolls_back_its_batch(one):
    a = one.connect()
    a.query("drop table if exists unknown_name; create table unknown_name (n int)")
    answer = a.ask(wire.run("insert into unknown_name values (1)") + wire.rerun("never") + SYNC)
    assert wire.sqlstates(answer) == ["26000"]
    assert a.value("select count(*) from unknown_name") == "0"
    a.query("drop table unknown_name")


@pytest.mark.ours
def test_close(one):
    a, c = one.connect(), one.connect()
    for client, value in ((a, "a"), (c, "c")):
        prepare(client, "s", f"select '{value}'")
    assert wire.tags(a.ask(wire.close("S", "s") + SYNC)) == "3Z"
    answer = a.ask(wire.rerun("s") + SYNC)
    assert answer[0].tag == "E"
    holds(c, "s", "c")


@pytest.mark.ours
def test_close_then_bind_then_parse(one, postgres):
    got = same(postgres.connect("app"), one.connect(),
               batches(wire.parse("s", "select 1") + SYNC, wire.close("S", "s") + SYNC, wire.close("S", "s") + SYNC,
                       wire.rerun("s") + SYNC, wire.parse("s", "select 2") + wire.rerun("s") + SYNC,
                       wire.close("S", "s") + wire.rerun("s") + SYNC))
    assert wire.sqlstates(got) == ["26000", "26000"] and wire.rows(got) == [["2"]]


@pytest.mark.ours
def test_failed_parse_is_undone(one, postgres):
    """class 24: the name is free, the text is not taken for known."""
    bad = "select * from not_there_yet"
    got = same(postgres.connect("app"), one.connect(),
               batches(wire.parse("s", bad) + SYNC, wire.rerun("s") + SYNC, wire.close("S", "s") + SYNC,
                       wire.parse("s", bad) + SYNC, wire.parse("s", "select 'good'") + wire.rerun("s") + SYNC))
    assert wire.sqlstates(got) == ["42P01", "26000", "42P01"]
    assert wire.rows(got) == [["good"]]


@pytest.mark.ours
def test_failed_parse_does_not_poison_the_text_for_others(one):
    """class 24"""
    a, c = one.connect(), one.connect()
    text = "select 'here' from later_table"
    a.query("drop table if exists later_table")
    assert wire.sqlstates(a.ask(wire.parse("s", text) + SYNC)) == ["42P01"]
    assert wire.sqlstates(c.ask(wire.parse("s", text) + SYNC)) == ["42P01"]
    a.query("create table later_table (); insert into later_table default values")
    for client in (a, c):
        assert wire.scalar(client.ask(wire.run(text, name="s") + SYNC)) == "here"
    a.query("drop table later_table")


@pytest.mark.ours
def test_parse_skipped_after_an_error(one, postgres):
    """class 24, 27: what PostgreSQL skipped up to the Sync is not prepared; what came before the error is."""
    got = same(postgres.connect("app"), one.connect(),
               batches(wire.parse("before", "select 'before'") + wire.parse("bad", "selec") +
                       wire.parse("after", "select 'after'") + wire.close("S", "before") + SYNC,
                       wire.rerun("before") + SYNC, wire.rerun("bad") + SYNC, wire.rerun("after") + SYNC,
                       wire.parse("after", "select 'again'") + wire.rerun("after") + SYNC))
    assert wire.sqlstates(got) == ["42601", "26000", "26000"]
    assert wire.rows(got) == [["before"], ["again"]]


@pytest.mark.ours
def test_parse_in_a_failed_transaction(one, postgres):
    got = same(postgres.connect("app"), one.connect(),
               batches(wire.query("begin"), wire.query("select 1/0"), wire.parse("s", "select 's'") + SYNC,
                       wire.query("rollback"), wire.rerun("s") + SYNC, wire.parse("s", "select 't'") + SYNC,
                       wire.rerun("s") + SYNC))
    assert wire.sqlstates(got) == ["22012", "25P02", "26000"] and wire.rows(got) == [["t"]]


@pytest.mark.newer
def test_statement_survives_a_rollback(one, postgres):
    got = same(postgres.connect("app"), one.connect(),
               batches(wire.query("begin"), wire.parse("s", "select 's'") + SYNC, wire.query("rollback"),
                       wire.rerun("s") + SYNC))
    assert wire.rows(got) == [["s"]]


@pytest.mark.newer
@pytest.mark.parametrize("leave", ["terminate", "close", "abort"])
def test_client_leaves_between_parse_and_sync(broker, leave):
    """class 23: the next client with the same text gets a statement that exists."""
    b = broker(default_pool_size=1)
    for n in range(10):
        text = f"select 'text {n}'"
        a = b.connect()
        a.send(wire.parse("s", text))
        getattr(a, leave)()
        with b.connect() as c:
            assert wire.scalar(c.ask(wire.run(text, name="s") + SYNC)) == f"text {n}"


# What a pipeline does to them -----------------------------------------------------------------------------------------

def pipeline(c, parts, between):
    """Each part on its own, then the last one: several batches in one segment."""
    out = []
    for part in parts[:-1]:
        out += c.ask(part)
        if between:
            between()
    c.send(parts[-1])
    for _ in range(parts[-1].count(SYNC) + parts[-1].count(wire.query("select 'q'"))):
        out += c.until("Z")
    return out


def compare_pipeline(broker, postgres, *parts):
    """On a server that may hold one statement only; another client's statement takes that place before each part."""
    b = broker(default_pool_size=1, max_prepared_statements=1)
    direct, through, other = postgres.connect("app"), b.connect(), b.connect()
    turns = itertools.count()

    def evict():
        other.ask(wire.run("select 'unnamed'") + SYNC)
        prepare(other, f"o{next(turns)}", f"select 'other', {next(turns)}")

    return same(direct, through, lambda c: pipeline(c, parts, evict if c is through else None))


@pytest.mark.ours
@pytest.mark.parametrize("name", ["s", ""])
@pytest.mark.parametrize("what", ["bind", "describe"])
def test_injected_parse_is_skipped_by_an_error(broker, postgres, name, what):
    """class 22, 24: the batch that would have brought the statement to this server fails first; the next batch of the same
    pipeline needs it none the less."""
    use = wire.rerun(name) if what == "bind" else wire.describe("S", name)
    failing = wire.execute("no such portal")
    compare_pipeline(broker, postgres, wire.parse(name, "select 'mine'") + SYNC,
                     failing + use + SYNC + use + SYNC + wire.query("select 'q'") + failing + SYNC + use + use + SYNC)


@pytest.mark.ours
def test_injected_parse_is_skipped_in_a_failed_transaction(broker, postgres):
    """class 24: the same, where a transaction fails and is rolled back within the pipeline."""
    again = wire.rerun("s") + SYNC
    compare_pipeline(broker, postgres, wire.parse("s", "select 'mine'") + SYNC,
                     wire.run("begin") + wire.run("select 1/0") + SYNC + again + wire.run("rollback") + SYNC + again + again)


@pytest.mark.ours
def test_close_between_bind_and_execute(broker, postgres):
    """class 26: a CloseComplete that the broker makes itself stands before the rows of the Execute behind it."""
    for rows in (1, 3, 2000):
        use = wire.bind("p", "s") + wire.close("S", "other") + wire.execute("p") + wire.close("S", "another")
        compare_pipeline(broker, postgres, wire.parse("s", f"select n from generate_series(1, {rows}) n") + SYNC,
                         wire.parse("other", "select 1") + use + wire.describe("S", "s") + SYNC + use + SYNC)


@pytest.mark.ours
def test_error_of_a_pipeline_names_its_statement(broker, postgres):
    """class 26: the name in 42P05 and 26000 is the client's, also when a Close or another Parse came behind it."""
    compare_pipeline(broker, postgres, wire.parse("s1", "select 1") + SYNC,
                     wire.parse("s1", "select 2") + SYNC + wire.close("S", "s1") + SYNC +
                     wire.parse("a", "select 3") + wire.parse("b", "select 4") + wire.parse("b", "select 5") + SYNC +
                     wire.rerun("s1") + SYNC + wire.parse("s1", "select 6") + wire.rerun("s1") + SYNC +
                     wire.rerun("never") + SYNC + wire.parse("never", "select 7") + SYNC)


# Eviction -------------------------------------------------------------------------------------------------------------

@pytest.mark.newer
def test_eviction_in_the_middle_of_a_batch(broker):
    """class 22: five statements in one batch where a server may hold two."""
    b = broker(default_pool_size=1, max_prepared_statements=2)
    a = b.connect()
    for _ in range(3):
        a.send(b"".join(wire.parse(f"s{n}", f"select 'v{n}'") for n in range(5)) +
               b"".join(wire.rerun(f"s{n}") for n in (0, 4, 1, 3, 2, 0)) + SYNC)
        answer = a.until("Z")
        assert wire.rows(answer) == [[f"v{n}"] for n in (0, 4, 1, 3, 2, 0)]
        assert wire.tags(a.ask(b"".join(wire.close("S", f"s{n}") for n in range(5)) + SYNC)) == "33333Z"


@pytest.mark.newer
def test_eviction_keeps_the_server_within_its_limit(broker, postgres):
    """class 32: the server really closes what was evicted."""
    b = broker(default_pool_size=1, max_prepared_statements=2)
    a, c = b.connect(), b.connect()
    for n in range(20):
        prepare(a, f"s{n}", f"select 'a{n}'")
        prepare(c, f"s{n}", f"select 'c{n}'")
    for n in list(range(20)) + [3, 3, 7, 3]:
        holds(a, f"s{n}", f"a{n}")
        holds(c, f"s{n}", f"c{n}")
    assert int(a.value("select count(*) from pg_prepared_statements where name <> ''")) <= 2


@pytest.mark.newer
def test_eviction_under_load(broker):
    """class 22, 4: many clients, many statements, two servers with two entries each; no answer is another's."""
    b = broker(default_pool_size=2, max_prepared_statements=2)

    def work(number):
        rng = random.Random(number)
        with b.connect() as c:
            for n in range(4):
                prepare(c, f"s{n}", f"select '{number}.{n}.' || $1::text")
            for turn in range(40):
                picks = [rng.randrange(4) for _ in range(rng.randrange(1, 6))]
                c.send(b"".join(wire.rerun(f"s{n}", [turn]) for n in picks) + SYNC)
                assert wire.rows(c.until("Z")) == [[f"{number}.{n}.{turn}"] for n in picks]

    in_threads(8, work)


# DEALLOCATE and DISCARD -----------------------------------------------------------------------------------------------

SPELLINGS = ["deallocate s", "DEALLOCATE PREPARE s;", '  deallocate\n"s" ; ', "DeAllocate S"]


@pytest.mark.ours
@pytest.mark.parametrize("sql", SPELLINGS)
@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_deallocate_by_name(one, postgres, sql, extended):
    command = wire.run(sql) + SYNC if extended else wire.query(sql)
    a, c = one.connect(), one.connect()
    prepare(c, "s", "select 'c'")
    got = same(postgres.connect("app"), a,
               batches(wire.parse("s", "select 's'") + SYNC, wire.parse("other", "select 'other'") + SYNC, command,
                       wire.rerun("s") + SYNC, command, wire.rerun("other") + SYNC,
                       wire.parse("s", "select 'new'") + wire.rerun("s") + SYNC))
    assert wire.command_tags(got)[0] == "DEALLOCATE"
    assert wire.sqlstates(got) == ["26000", "26000"]
    assert wire.rows(got) == [["other"], ["new"]]
    holds(c, "s", "c")


@pytest.mark.ours
@pytest.mark.parametrize("sql", ["deallocate all", "DEALLOCATE PREPARE ALL;", "discard all", "DISCARD ALL ;"])
@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_deallocate_all(one, postgres, sql, extended):
    """class 31: acts on the client's statements, and on nobody else's."""
    command = wire.run(sql) + SYNC if extended else wire.query(sql)
    a, c = one.connect(), one.connect()
    prepare(c, "s", "select 'c'")
    got = same(postgres.connect("app"), a,
               batches(wire.parse("s", "select 's'") + SYNC, wire.parse("t", "select 't'") + SYNC, command,
                       wire.rerun("s") + SYNC, wire.rerun("t") + SYNC,
                       wire.parse("s", "select 'new'") + wire.rerun("s") + SYNC))
    assert wire.sqlstates(got) == ["26000", "26000"]
    assert wire.rows(got) == [["new"]]
    holds(c, "s", "c")


@pytest.mark.ours
def test_deallocate_with_an_unknown_name(one, postgres):
    got = same(postgres.connect("app"), one.connect(), batches(wire.query("deallocate nothing"), wire.query("select 1")))
    assert wire.sqlstates(got) == ["26000"]


@pytest.mark.ours
@pytest.mark.parametrize("sql", ["deallocate s", "deallocate all", "discard all"])
def test_deallocate_in_a_failed_transaction(one, postgres, sql):
    """25P02, and the statement stays."""
    got = same(postgres.connect("app"), one.connect(),
               batches(wire.parse("s", "select 's'") + SYNC, wire.query("begin"), wire.query("select 1/0"),
                       wire.query(sql), wire.run(sql) + SYNC, wire.query("rollback"), wire.rerun("s") + SYNC))
    assert wire.sqlstates(got) == ["22012", "25P02", "25P02"] and wire.rows(got) == [["s"]]


@pytest.mark.ours
def test_discard_all_in_a_transaction(one, postgres):
    """25001, and the statement stays."""
    got = same(postgres.connect("app"), one.connect(),
               batches(wire.parse("s", "select 's'") + SYNC, wire.query("begin"), wire.query("discard all"),
                       wire.query("rollback"), wire.rerun("s") + SYNC))
    assert wire.sqlstates(got) == ["25001"] and wire.rows(got) == [["s"]]


@pytest.mark.ours
def test_deallocate_in_a_transaction(one, postgres):
    """It is not transactional: after the ROLLBACK the statement is still gone."""
    got = same(postgres.connect("app"), one.connect(),
               batches(wire.parse("s", "select 's'") + SYNC, wire.query("begin"), wire.query("deallocate s"),
                       wire.query("rollback"), wire.rerun("s") + SYNC))
    assert wire.sqlstates(got) == ["26000"]


@pytest.mark.ours
@pytest.mark.parametrize("sql", ["deallocate all", "deallocate s", "discard all"])
@pytest.mark.parametrize("place", ["alone", "after a query", "before a query", "between batches", "unsynced parse"])
def test_deallocate_inside_a_pipeline(one, postgres, sql, place):
    """class 31: as psycopg 3, pgx and PDO send it, in each place of a pipeline."""
    command, work = wire.run(sql), wire.run("select 'work'")
    batch = {"alone": command, "after a query": work + command, "before a query": command + work,
             "between batches": work + SYNC + command + SYNC + work,
             "unsynced parse": wire.parse("t", "select 't'") + command + wire.rerun("t")}[place]

    def script(c):
        out = c.ask(wire.parse("s", "select 's'") + SYNC)
        c.send(batch + SYNC)
        for _ in range(batch.count(SYNC) + 1):
            out += c.until("Z")
        return out + c.ask(wire.rerun("s") + SYNC) + c.ask(wire.parse("s", "select 'n'") + wire.rerun("s") + SYNC) + \
            c.ask(wire.query("select 'end'"))

    same(postgres.connect("app"), one.connect(), script)


@pytest.mark.newer
def test_session_mode_keeps_postgresqls_own_behaviour(broker, postgres):
    """In session mode statements made with SQL and with the protocol are one and the same."""
    script = batches(wire.query("prepare s as select 's'"), wire.rerun("s") + SYNC, wire.parse("t", "select 't'") + SYNC,
                     wire.query("execute t"), wire.query("deallocate t"), wire.rerun("t") + SYNC,
                     wire.query("discard all"), wire.rerun("s") + SYNC)
    got = same(postgres.connect("app"), broker().session(), script)
    assert wire.rows(got) == [["s"], ["t"]] and wire.sqlstates(got) == ["26000", "26000"]
