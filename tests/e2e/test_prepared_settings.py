"""Prepared statements and settings, failure class 25, in transaction mode: what a text means depends on the settings of its Parse,
which are lent to a server that lacks it and never stay there."""

import pytest

from harness import wire
from harness.compare import at_once, batches, same
from test_prepared import SYNC, holds, one, prepare, without_place  # noqa: F401: `one` is a fixture

DAY = "select extract(day from '01/02/2024'::date)::text"


@pytest.mark.ours
def test_literals_follow_datestyle(one):
    """class 25: the same text under MDY and DMY is not the same statement."""
    a, c = one.connect(DateStyle="ISO, MDY"), one.connect(DateStyle="ISO, DMY")
    for client in (a, c):
        prepare(client, "s", DAY)
    for _ in range(4):
        holds(a, "s", "2")
        holds(c, "s", "1")


@pytest.mark.ours
def test_literals_keep_the_datestyle_of_their_parse(broker, postgres):
    """class 25: a later SET does not change what was parsed, on whichever server it is executed."""
    script = batches(wire.query("set datestyle = 'ISO, MDY'"), wire.parse("s", DAY) + SYNC,
                     wire.query("set datestyle = 'ISO, DMY'"), wire.rerun("s") + SYNC,
                     wire.parse("t", DAY) + wire.rerun("t") + SYNC, wire.rerun("s") + SYNC)
    b = broker(default_pool_size=1)
    got = same(postgres.connect("app"), b.connect(), script)
    assert wire.rows(got) == [["2"], ["1"], ["2"]]


@pytest.mark.ours
@pytest.mark.parametrize("setting, text, values", [
    ("timezone", "select extract(hour from '2024-07-01 12:00'::timestamptz at time zone 'UTC')::text",
     {"UTC": "12", "America/New_York": "16"}),
    ("intervalstyle", "select extract(hour from '-1 1:00:00'::interval)::text",
     {"postgres": "1", "sql_standard": "-1"}),
    ("standard_conforming_strings", r"select length('a\\b')::text", {"on": "4", "off": "3"}),
], ids=["timezone", "intervalstyle", "strings"])
def test_literals_follow_other_settings(one, setting, text, values):
    """class 25"""
    clients = {}
    for value in values:
        clients[value] = one.connect()
        clients[value].query(f"set {setting} = '{value}'")
        answer = clients[value].ask(wire.parse("s", text) + SYNC)  # a notice warns of the backslash
        assert wire.tags(answer).lstrip("N") == "1Z"
    for _ in range(3):
        for value, expected in values.items():
            holds(clients[value], "s", expected)


@pytest.mark.ours
def test_search_path_of_the_startup_packet(one, postgres):
    """class 25: the same text, two schemas."""
    postgres.sql("drop schema if exists path_a cascade; drop schema if exists path_b cascade; "
                 "create schema path_a; create schema path_b; create table path_a.t as select 'a' as who; "
                 "create table path_b.t as select 'b' as who; grant all on schema path_a, path_b to public; "
                 "grant all on path_a.t, path_b.t to public", database="e2e")
    a, c = one.connect(search_path="path_a"), one.connect(search_path="path_b")
    for client in (a, c):
        prepare(client, "s", "select who from t")
    for _ in range(3):
        holds(a, "s", "a")
        holds(c, "s", "b")
    postgres.sql("drop schema path_a cascade; drop schema path_b cascade", database="e2e")


@pytest.mark.ours
def test_injected_parse_behind_a_set_of_the_same_batch(broker):
    """class 25: literals are folded at Parse. A server that lacks the statement gets its Parse behind a SET that is not
    answered yet, and it must mean what it meant when it was prepared, for this client and for the next."""
    b = broker(default_pool_size=1, max_prepared_statements=1)
    a, c = b.connect(DateStyle="ISO, DMY"), b.connect(DateStyle="ISO, DMY")
    text = "select '01/02/2024'::date"
    prepare(a, "day", text)
    prepare(c, "other", "select 1")  # takes the server's only place
    got = a.ask(wire.run("set datestyle = 'ISO, MDY'") + wire.rerun("day") + SYNC)
    assert wire.rows(got) == [["2024-02-01"]]
    assert wire.rows(a.query("show datestyle")) == [["ISO, MDY"]]
    prepare(c, "day", text)
    assert wire.rows(c.ask(wire.rerun("day") + SYNC)) == [["2024-02-01"]]


@pytest.mark.ours
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("setting", ["datestyle = 'ISO, DMY'", "timezone = 'Asia/Tokyo'"])
def test_set_local_around_a_lacking_statement(broker, postgres, setting, batch):
    """class 25: what is lent to its Parse ends with the transaction, and so does what the client has set for it."""
    with without_place(broker, postgres, "select '01/02/2020'::date") as (a, direct):
        name, local = setting.split()[0], "set local " + setting
        before = [wire.run(local) + wire.rerun("s") + SYNC] if batch else [wire.query(local), wire.rerun("s") + SYNC]
        show, commit = wire.query("show " + name), wire.query("commit")
        same(direct, a, batches(wire.query("begin"), *before, show, commit, show))
        same(direct, a, batches(wire.query("begin"), wire.query("set " + setting), *before, commit, show))


@pytest.mark.ours
@pytest.mark.parametrize("option, sql", [("transform_null_equals=on", "select (1 = null) is null"),
                                         ("array_nulls=off", "select '{null}'::text[] = array['null']")])
def test_text_shared_under_other_start_settings(one, postgres, option, sql):
    """class 25: what a Parse means depends on them too, so they do not share it."""
    with one.connect(options="-c " + option) as a, one.connect() as c, postgres.connect("app") as direct:
        prepare(a, "s", sql)
        same(direct, c, batches(wire.parse("s", sql) + SYNC, wire.rerun("s") + SYNC))


EUROPEAN, AMERICAN = "datestyle = 'ISO, DMY'", "datestyle = 'ISO, MDY'"
# Each changes the settings in a way of its own; the third and those behind it do not begin with SET.
CHANGES = {
    "set": [wire.query("set " + EUROPEAN)],
    "blank": [wire.query(" /* a comment */ set " + EUROPEAN)],
    "second": [wire.query("select 1; set " + EUROPEAN)],
    "function": [wire.query("select set_config('datestyle', 'ISO, DMY', false)")],
    "rollback": [wire.query("begin"), wire.query("set " + EUROPEAN), wire.query("rollback")],
    "commit": [wire.query("begin"), wire.query("set local " + EUROPEAN), wire.query("commit")],
}


@pytest.mark.ours
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("change", list(CHANGES))
def test_named_parse_behind_a_change_of_an_earlier_batch(broker, postgres, change, known):
    """class 25: sent at once, so what the change has done is not known when the Parse comes; and on another server later on."""
    b = broker(default_pool_size=2)
    with b.connect() as a, b.connect() as c, postgres.connect("app") as direct:
        if known:
            for client in (a, c):
                prepare(client, "known", DAY)
        all_of_it = b"".join(CHANGES[change]) + wire.parse("s", DAY) + SYNC + wire.rerun("s") + SYNC
        same(direct, a, at_once(all_of_it, len(CHANGES[change]) + 2))
        for _ in range(2):
            with b.connect() as blocker:
                blocker.query("begin")
                same(direct, a, batches(wire.rerun("s") + SYNC))


@pytest.mark.ours
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("change", [
    wire.run("set " + EUROPEAN), wire.run(" /* a */ set " + EUROPEAN),
    wire.run("select set_config('datestyle', 'ISO, DMY', false)"),
    wire.run("explain analyze select set_config('datestyle', 'ISO, DMY', false)"),
    wire.run("do $$ begin perform set_config('datestyle', 'ISO, DMY', false); end $$"),
], ids=["set", "blank", "function", "explain", "do"])
def test_named_parse_behind_a_change_of_the_same_batch(broker, postgres, change, known):
    """class 25: likewise, in one batch. EXPLAIN's answer has times, so what is compared comes behind it."""
    b = broker(default_pool_size=2)
    with b.connect() as a, b.connect() as c, postgres.connect("app") as direct:
        if known:
            for client in (a, c):
                prepare(client, "known", DAY)
        for client in (a, direct):
            assert "E" not in wire.tags(client.ask(change + wire.parse("s", DAY) + SYNC))
        for _ in range(3):
            with b.connect() as blocker:
                blocker.query("begin")
                same(direct, a, batches(wire.rerun("s") + SYNC))
        prepare(c, "s", DAY)
        holds(c, "s", "2")


@pytest.mark.ours
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_nobody_shares_what_a_transaction_of_one_batch_has_prepared(broker, postgres, end, known):
    """class 25: SET LOCAL has come and gone when ReadyForQuery comes, so PostgreSQL reports nothing."""
    b = broker(default_pool_size=1)
    with b.connect() as a, b.connect() as c, postgres.connect("app") as direct:
        if known:
            prepare(c, "known", DAY)
        batch = (wire.run("begin") + wire.run("set local " + EUROPEAN) + wire.parse("s", DAY) + wire.rerun("s") + wire.run(end) + SYNC)
        same(direct, a, batches(batch))
        prepare(c, "s", DAY)
        holds(c, "s", "2")
        if known:
            holds(c, "known", "2")


@pytest.mark.ours
@pytest.mark.parametrize("first", ["", "set " + AMERICAN])
@pytest.mark.parametrize("sql", [
    "begin isolation level serializable", "/* a */ start transaction read only", "set transaction isolation level serializable",
    "vacuum (skip_locked) pg_catalog.pg_class"])
def test_lacking_statement_that_stands_first_in_its_transaction(broker, postgres, sql, first):
    """class 25: what is lent to a Parse takes a snapshot, or is a query before it in the same transaction. PostgreSQL reads these
    without any setting, so nothing is lent."""
    with without_place(broker, postgres, sql) as (a, direct):
        for c in (a, direct):
            c.query("set " + EUROPEAN)
        begin = [wire.query("begin")] if sql.startswith("set") else []
        batch = (wire.run(first) if first else b"") + wire.rerun("s") + SYNC
        same(direct, a, batches(*begin, batch, wire.query("show transaction_isolation"), wire.query("rollback")))


@pytest.mark.ours
def test_lent_settings_are_all_of_the_statements(broker, postgres):
    """class 25: also those that its client has not named, where what has been executed in the same batch is not known."""
    sql = "select '{null}'::text[] = array['null']"
    with without_place(broker, postgres, sql) as (a, direct):
        same(direct, a, batches(wire.run("set array_nulls = off") + wire.rerun("s") + wire.run("reset array_nulls") + SYNC))
