"""The same script of messages to the broker and to PostgreSQL gives the same bytes (I6).

The pool has ONE server, and a hostile second client of the same pool runs between the script's Syncs: it changes every
setting that follows a client, prepares the same names with other texts, leaves errors and half batches behind. Whenever
the script's transaction is over, the hostile client has its turn, so the script meets a server that was just abused.
Only process ids and cancel keys are masked.
"""

import random
import zlib

import pytest

from harness import wire
from harness.compare import comparable
from harness.raw import Closed
from harness.system import random_seed

STARTUP = {"DateStyle": "ISO, MDY", "TimeZone": "UTC", "application_name": "differential"}
P, B, D, E, C, Q, S, H = (wire.parse, wire.bind, wire.describe, wire.execute, wire.close, wire.query, wire.sync(),
                          wire.flush())
RUN, AGAIN = wire.run, wire.rerun


class Hostile:
    """Another client of the same pool that uses the server between two batches of the script."""

    DEEDS = [
        Q("set datestyle = 'German, DMY'") + Q("set timezone = 'Asia/Tokyo'"),
        Q("set application_name = 'hostile'") + Q("set intervalstyle = 'sql_standard'"),
        P("s", "select 'hostile s'") + P("t", "select 'hostile t', $1::int") + S,
        RUN("select 'hostile unnamed'") + S,
        RUN("select 1/0") + RUN("select 2") + S,
        Q("begin") + Q("select 1/0") + Q("rollback"),
        Q("begin") + RUN("set local datestyle = 'SQL'") + S + Q("commit"),
        P("broken", "selec") + S,
        C("S", "s") + C("S", "t") + C("S", "s1") + S,
        Q("select repeat('h', 100000)"),
        P("s1", "select 'hostile s1'") + B("", "s1") + E() + P("s2", "select 'hostile s2'") + S,
        Q("copy (select n from generate_series(1, 100) n) to stdout"),
        Q("deallocate all"),
        Q("set standard_conforming_strings = off"),
        Q("set client_encoding = 'LATIN1'"),
        S + S,
    ]

    def __init__(self, b, seed):
        self.b = b
        self.rng = random.Random(seed)
        self.connection = b.connect(DateStyle="SQL, DMY")

    def act(self):
        for deed in self.rng.sample(self.DEEDS, 2):
            self.connection.send(deed)
            for _ in range(_ready_count(deed)):
                self.connection.until("Z")
        if self.rng.random() < 0.2:
            self.connection.send(P("left", "select 'half a batch'"))
            self.connection.abort()
            self.connection = self.b.connect(DateStyle="SQL, DMY")


def _ready_count(deed):
    """How many ReadyForQuery a deed brings: its Query and Sync messages (no COPY IN among them)."""
    count, at = 0, 0
    while at < len(deed):
        count += deed[at:at + 1] in (b"Q", b"S")
        at += 1 + int.from_bytes(deed[at + 1:at + 5], "big")
    return count


def play(connection, script, between=None):
    """Sends each part and reads what the script says: an int (that many ReadyForQuery) or a string of tags; None where
    nobody knows how many there are: the part ends with an empty Query."""
    out = []
    for data, expect in script:
        connection.send(data)
        if isinstance(expect, int):
            for _ in range(expect):
                out += connection.until("Z")
        elif expect is None:
            out += connection.until("I") + connection.until("Z")
        else:
            out += [connection.recv() for _ in expect]
        idle = out and out[-1].tag == "Z" and out[-1].body == b"I"
        if between and idle and not _unsynced(data):
            between()
    return out


def _unsynced(data):
    """True if the last message of a part is neither a Query nor a Sync nor the end of a COPY."""
    last, at = b"", 0
    while at < len(data):
        last = data[at:at + 1]
        at += 1 + int.from_bytes(data[at + 1:at + 5], "big")
    return last not in (b"Q", b"S", b"c", b"f", b"F")


def compare(broker, postgres, script, **settings):
    b = broker(default_pool_size=1, **settings)
    direct, through = postgres.connect("app", **STARTUP), b.connect(**STARTUP)
    seed = random_seed()
    hostile = Hostile(b, seed)
    hostile.act()
    expected = comparable(play(direct, script))
    direct.terminate()
    try:
        got = comparable(play(through, script, hostile.act))
    except Closed as closed:
        raise AssertionError(f"the broker closed: {closed.messages[-3:]}") from None
    for number, (want, have) in enumerate(zip(expected, got)):
        assert want == have, f"message {number}: PostgreSQL {want!r:.500}, broker {have!r:.500}; " \
                             f"all: {wire.tags(expected)} {wire.tags(got)}"
    assert wire.tags(expected) == wire.tags(got)
    return got


SETUP = (Q("drop table if exists diff; create table diff (n int primary key, word text)"), 1)
SCRIPTS = {
    "simple": [(Q("select 1, 'text', null"), 1), (Q(""), 1), (Q("select 1; select 2; selec 3"), 1), (Q("select 1/0"), 1),
               (Q("select now() - now(), '2024-02-01'::date, interval '1 day 2 hours'"), 1), (Q("show datestyle"), 1),
               (Q("show timezone") + Q("show application_name") + Q("show intervalstyle"), 3)],
    "transactions": [(Q("begin"), 1), (Q("select 1"), 1), (Q("savepoint a"), 1), (Q("select 1/0"), 1), (Q("select 2"), 1),
                     (Q("rollback to a"), 1), (Q("select 3"), 1), (Q("commit"), 1), (Q("commit"), 1), (Q("rollback"), 1),
                     (Q("begin; select 1; commit; begin"), 1), (Q("end"), 1)],
    "extended": [(RUN("select $1::int + 1", [41]) + S, 1), (P("", "select $1") + D("S") + S, 1),
                 (B("", "", ["x"]) + D("P") + E() + S, 1), (P("s", "select 's', $1::text") + S, 1),
                 (AGAIN("s", ["y"]) + S, 1), (D("S", "s") + S, 1), (AGAIN("s", [None]) + AGAIN("s", ["z"]) + S, 1),
                 (C("S", "s") + S, 1), (AGAIN("s", ["y"]) + S, 1), (C("S", "never") + C("P", "never") + S, 1)],
    "named across": [(P("s1", "select 1") + P("s2", "select 2, $1::int") + S, 1)] +
                    [(AGAIN("s2", [n]) + AGAIN("s1") + S, 1) for n in range(5)] +
                    [(D("S", "s1") + D("S", "s2") + S, 1), (C("S", "s1") + P("s1", "select 'new 1'") + AGAIN("s1") + S, 1),
                     (AGAIN("s2", [9]) + S, 1)],
    "errors in the middle": [
        (RUN("select 1") + RUN("select 1/0") + RUN("select 2") + S, 1),
        (P("e", "selec") + P("f", "select 'f'") + AGAIN("f") + S, 1), (AGAIN("f") + S, 1), (AGAIN("e") + S, 1),
        (P("g", "select 'g'") + AGAIN("unknown") + P("h", "select 'h'") + S, 1), (AGAIN("g") + S, 1), (AGAIN("h") + S, 1),
        (P("g", "select 'again'") + S, 1), (AGAIN("g") + S, 1),
        (RUN("select 1") + S + RUN("select 1/0") + S + RUN("select 3") + S, 3),
        (B("", "g", ["too", "many"]) + S, 1), (AGAIN("g") + S, 1), (E("no portal") + S, 1), (D("P", "none") + S, 1),
        (Q("begin") + RUN("select 1/0") + S + AGAIN("g") + S + Q("rollback") + AGAIN("g") + S, 5)],
    "batch rolls back": [SETUP, (RUN("insert into diff values (1, 'a')") + RUN("insert into diff values (1, 'b')") + S, 1),
                         (Q("select count(*) from diff"), 1),
                         (RUN("insert into diff values (2, 'a')") + AGAIN("unknown") + S, 1),
                         (Q("select count(*) from diff"), 1),
                         (P("k", "select 1") + RUN("insert into diff values (3, 'a')") + P("k", "select 2") + S, 1),
                         (Q("select count(*) from diff"), 1), (AGAIN("k") + S, 1), (Q("drop table diff"), 1)],
    "flush": [(RUN("select 1") + H, "12DC"), (RUN("select 2") + H, "12DC"), (S, 1), (P("", "selec") + H, "E"),
              (RUN("skipped") + H + Q("select 'skipped too'") + S, 1), (Q("select 'after'"), 1)],
    "query behind an open batch": [
        (RUN("select 1") + Q("select 2"), 1), (P("s", "select 's'") + P("t", "select 't'") + P("", "select 'unnamed'") + S, 1),
        (P("", "selec") + Q("select 'skipped'") + S, 1), (P("u", "selec") + Q("deallocate all") + S, 1),
        (AGAIN("s") + AGAIN("t") + S, 1), (P("", "select 'unnamed'") + S, 1), (P("u", "selec") + Q("deallocate s") + S, 1),
        (AGAIN("s") + S, 1), (B() + E() + S, 1), (P("u", "selec") + Q("reset all") + S, 1), (Q("select 'after'"), 1),
        (P("u", "select 'u'") + Q("reset all"), 1), (Q("show datestyle"), 1), (AGAIN("u") + S, 1)],
    "behind a SET": [
        (Q("set datestyle = 'SQL, DMY'") + P("t", "select '01/02/2024'::date") + P("", "select '01/02/2024'::date") + S, 2),
        (AGAIN("t") + S, 1), (AGAIN("t") + S, 1), (RUN("set datestyle = 'ISO, MDY'") + S + P("u", "select '01/02/2024'::date") + S, 2),
        (AGAIN("u") + AGAIN("t") + S, 1), (Q("set datestyle = 'SQL, DMY'") + Q("reset datestyle") +
                                           P("v", "select '01/02/2024'::date") + S, 3), (AGAIN("v") + S, 1),
        (Q("begin"), 1), (P("w", "begin") + Q("reset all") + D("P") + S, 2), (Q("rollback"), 1), (Q("show datestyle"), 1)],
    "portals": [(P("", "select n from generate_series(1, 7) n") + B() + E("", 3) + H, "12DDDs"), (E("", 3) + H, "DDDs"),
                (E("", 3) + S, 1), (E("", 3) + S, 1), (Q("begin"), 1),
                (P("p", "select n from generate_series(1, 7) n") + B("x", "p") + E("x", 2) + S, 1), (E("x", 2) + S, 1),
                (C("P", "x") + E("x", 2) + S, 1), (Q("rollback"), 1), (AGAIN("p") + S, 1), (C("S", "p") + S, 1)],
    "copy": [SETUP, (Q("copy diff from stdin"), "G"), (wire.copy_data(b"1\tone\n2\ttwo\n") + wire.copy_done(), 1),
             (Q("copy diff to stdout"), 1), (Q("copy diff from stdin"), "G"), (wire.copy_data(b"3\n") + wire.copy_done(), 1),
             (Q("copy diff from stdin"), "G"), (wire.copy_fail("no"), 1),
             (RUN("copy diff from stdin") + S, "12G"), (wire.copy_data(b"4\tfour\n") + wire.copy_done() + S, 1),
             (RUN("copy diff from stdin") + S, "12G"), (wire.copy_data(b"x\n") + wire.copy_done() + S, 1),
             (RUN("copy diff from stdin") + S, "12G"), (wire.copy_fail("again") + S, 1),
             (Q("copy diff from stdin") + wire.copy_data(b"5\tfive\n") + wire.copy_done() + Q("select n + 0, word || '' from diff"), 2),
             (Q("begin; copy diff from stdin; select 'behind'"), "CG"), (wire.copy_data(b"6\tsix\n") + wire.copy_done(), 1),
             (Q("rollback"), 1), (RUN("copy diff to stdout") + S, 1), (Q("drop table diff"), 1)],
    "functions": [(wire.function_call(177, [b"\0\0\0\1", b"\0\0\0\2"]), 1), (wire.function_call(12345678, []), 1),
                  (Q("begin") + wire.function_call(177, [b"\0\0\0\1", b"\0\0\0\2"]) + wire.function_call(154, [b"\0\0\0\1"]) +
                   Q("rollback"), 4)],
    "settings": [(Q("set datestyle = 'SQL, DMY'"), 1), (Q("select '2024-02-01'::date"), 1), (Q("set timezone = 'Asia/Tokyo'"), 1),
                 (Q("select '2024-02-01 00:00 UTC'::timestamptz"), 1), (Q("begin"), 1), (Q("set datestyle = 'German'"), 1),
                 (Q("rollback"), 1), (Q("show datestyle"), 1), (Q("begin; set local timezone = 'UTC'"), 1), (Q("commit"), 1),
                 (Q("show timezone"), 1), (Q("reset all"), 1), (Q("show datestyle") + Q("show timezone"), 2),
                 (RUN("set intervalstyle = 'iso_8601'") + RUN("select interval '1 day'") + S, 1),
                 (Q("select interval '2 days'"), 1), (Q("set datestyle = 'nonsense'"), 1), (Q("discard all"), 1),
                 (Q("show intervalstyle") + Q("show application_name"), 2)],
    "deallocate": [(P("s", "select 's'") + P("t", "select 't'") + S, 1), (Q("deallocate s"), 1), (AGAIN("s") + S, 1),
                   (AGAIN("t") + S, 1), (RUN("deallocate all") + S, 1), (AGAIN("t") + S, 1), (Q("deallocate s"), 1),
                   (P("s", "select 's2'") + AGAIN("s") + RUN("deallocate s") + RUN("select 1") + S, 1), (AGAIN("s") + S, 1),
                   (P("s", "select 's3'") + S, 1), (Q("begin"), 1), (Q("discard all"), 1), (Q("rollback"), 1),
                   (AGAIN("s") + S, 1), (Q("discard all"), 1), (AGAIN("s") + S, 1)],
    "notices": [(Q("do $$ begin raise notice 'one'; raise warning 'two'; raise exception 'three'; end $$"), 1),
                (Q("drop table if exists never_there"), 1), (Q("rollback"), 1),
                (RUN("do $$ begin raise info 'four'; end $$") + S, 1)],
    "literals": [(P("d", "select '01/02/2024'::date, extract(day from '01/02/2024'::date)") + S, 1), (AGAIN("d") + S, 1),
                 (Q("set datestyle = 'ISO, DMY'"), 1), (AGAIN("d") + S, 1),
                 (P("e", "select '01/02/2024'::date, extract(day from '01/02/2024'::date)") + AGAIN("e") + S, 1),
                 (AGAIN("d") + AGAIN("e") + S, 1), (Q("select '01/02/2024'::date"), 1)],
    "long pipeline": [(b"".join([P(f"n{n % 7}", f"select {n}, $1::text") + AGAIN(f"n{n % 7}", ["x" * n]) +
                                 C("S", f"n{n % 7}") for n in range(200)]) + S, 1),
                      (b"".join(RUN("select $1::int", [n]) + S for n in range(100)), 100),
                      (b"".join(Q(f"select {n}") if n % 3 else RUN("select 1/0") + S for n in range(100)), 100)],
    "sizes": [(Q("select repeat('x', 1000000)"), 1), (RUN("select $1::text", ["y" * 1000000]) + S, 1),
              (P("big", "select '" + "z" * 100000 + "'") + S, 1), (AGAIN("big") + AGAIN("big") + S, 1),
              (Q("select n, repeat('w', n) from generate_series(1, 2000) n"), 1)],
}


@pytest.mark.ours
@pytest.mark.parametrize("name", SCRIPTS)
def test_script(broker, postgres, name):
    compare(broker, postgres, SCRIPTS[name])


@pytest.mark.ours
@pytest.mark.parametrize("name", ["named across", "errors in the middle", "extended", "deallocate", "literals"])
def test_script_with_two_statements_per_server(broker, postgres, name):
    """class 22: everything is evicted all the time."""
    compare(broker, postgres, SCRIPTS[name], max_prepared_statements=2)


def random_script(seed):
    """Batches of random messages over a few names; always ended by a Sync or a Query, so that every part has an end.
    A Query may also stand inside a batch, where it is skipped if the batch has failed: an empty one ends such a part.
    Executed is only what was bound: the unnamed portal that a failed Query (DEALLOCATE of nothing, DISCARD ALL) leaves in a
    transaction crashes PostgreSQL 15, too.
    """
    rng = random.Random(seed)
    names = ["", "s", "t", "s1"]

    def message():
        name = rng.choice(names)
        return rng.choice([
            lambda: P(name, rng.choice(["select 1", "select 's', 2", "selec", "select 1/0", "select n from generate_series(1, 4) n",
                                        "show datestyle", "set datestyle = 'SQL, MDY'", "begin", "commit", "rollback",
                                        "savepoint x", "select '01/02/2024'::date"])),
            lambda: B("", name), lambda: B("p", name), lambda: B("", name) + E("", 2), lambda: B("", name) + E("", 2) + E(),
            lambda: E("p"), lambda: E("p", 1),
            lambda: D("S", name), lambda: D("P"), lambda: C("S", name), lambda: C("P", "p"), lambda: AGAIN(name),
            lambda: AGAIN(name), lambda: RUN(f"select {rng.randrange(100)}", name=name), lambda: H])()

    def inside():
        return Q(rng.choice(["select 7", "select 1/0", "begin", "commit", "rollback", "set datestyle = 'SQL, DMY'", "deallocate all",
                             "deallocate s", "deallocate t", "reset all", "reset datestyle", "discard all", "select 1; select 2"]))

    script = []
    for _ in range(rng.randrange(5, 25)):
        if rng.random() < 0.2:
            data = b"".join(inside() if rng.random() < 0.25 else message() for _ in range(rng.randrange(3, 12)))
            script.append((data + S + Q(""), None))
        elif rng.random() < 0.25:
            script.append((Q(rng.choice(["select 1", "begin", "commit", "rollback", "select 1/0", "", "deallocate all",
                                         "set timezone = 'Asia/Tokyo'", "reset all", "discard all", "deallocate s"])), 1))
        else:
            batches = rng.choice([1, 1, 1, 2, 3])
            data = b"".join(b"".join(message() for _ in range(rng.randrange(1, 8))) + S for _ in range(batches))
            script.append((data, batches))
    script.append((Q("rollback"), 1))
    return script


def unavoidable(want, have):
    """In an aborted transaction PostgreSQL still describes a statement without a result, and still sees that a name is in
    use. Where this server lacks the statement, the Parse that the broker puts before it is refused with 25P02 instead."""
    return have.tag == "E" and have.sqlstate == "25P02" and (want.tag == "t" or want.tag == "E" and want.sqlstate == "42P05")


@pytest.mark.ours
@pytest.mark.limit(150)
@pytest.mark.parametrize("round_", range(4))
def test_random_scripts(broker, postgres, round_):
    """Randomly made batches; the seed is printed and, with PGBERTH_E2E_SEED, replayed."""
    base = random_seed()
    b = broker(default_pool_size=1, max_prepared_statements=3 if round_ % 2 else 200)
    hostile = Hostile(b, base)
    for number in range(25):
        seed = zlib.crc32(f"{base}.{round_}.{number}".encode())
        script = random_script(seed)
        with postgres.connect("app", **STARTUP) as direct:
            expected = comparable(play(direct, script))
        with b.connect(**STARTUP) as through:
            got = comparable(play(through, script, hostile.act))
        for at, (want, have) in enumerate(zip(expected, got)):
            if unavoidable(want, have):
                break
            assert want == have, f"script {number}, message {at}: PostgreSQL {want!r:.300}, broker {have!r:.300}; " \
                                 f"{wire.tags(expected)} {wire.tags(got)}"
        else:
            assert wire.tags(expected) == wire.tags(got), f"script {number}"


@pytest.mark.ours
def test_greeting(broker, postgres):
    """The login's own messages, but for the broker's parameters and the order of the rest."""
    b = broker()
    direct, through = postgres.connect("app", **STARTUP), b.connect(**STARTUP)
    ours = {k: v for k, v in through.parameters.items() if not k.startswith("pgbouncer.")}
    assert ours == direct.parameters
    assert wire.tags(through.greeting).strip("S").replace("S", "") == wire.tags(direct.greeting).replace("S", "")
