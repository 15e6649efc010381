"""Locks between real sessions: lock_tables, locked_exec, blockers, drain."""

import json
import re

from harness import system, wire
from harness.raw import Closed

from results import add, check

MODES = ("ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE", "SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE",
         "ACCESS EXCLUSIVE")
READS = 20


def locks(place):
    """Arguments, settings, record, errors and privileges, as one session sees them."""
    return place.prove("migration_locks.sql", database=place.fresh("locks"))


class Sessions:
    """Sessions in one database that all end with the scenario."""

    def __init__(self, place, name):
        self.place, self.database, self.open = place, place.fresh(name), []

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        for session in self.open:
            session.close()

    def connect(self, name="session", user="postgres", *statements):
        session = self.place.postgres.connect(user=user, database=self.database, application_name=name)
        self.open.append(session)
        for statement in statements:
            answer = session.query(statement)
            assert not wire.errors(answer), [e.fields for e in wire.errors(answer)]
        return session

    def sql(self, text):
        return self.place.sql(text, self.database)

    def start(self, session, text):
        """Sends a statement and does not wait for its end."""
        session.send(wire.query(text))

    def eventually(self, text, what):
        """Waits until a query gives a row."""
        return system.eventually(lambda: self.sql(text), what)

    def waits(self, session, what="a session waits for a lock"):
        self.eventually(f"select from pg_locks where pid = {session.pid} and not granted", what)

    def pauses(self, session):
        self.eventually(f"select from pg_stat_activity where pid = {session.pid} and wait_event = 'PgSleep'", "it pauses")


def running(session):
    """Whether the statement that was started has no end yet."""
    return session.quiet(0.001)


def readers(place):
    """A migrator that cannot have its lock keeps nobody out: readers that came behind it get through, while it goes on trying."""
    with Sessions(place, "readers") as s:
        s.sql("create table busy (i int)")
        holder = s.connect("holder", "postgres", "begin", "select from busy")
        reader = s.connect("reader")
        plain = s.connect("plain", "postgres", "begin")
        s.start(plain, "lock table busy")
        s.waits(plain)
        s.start(reader, "select count(*) from busy")
        s.waits(reader, "a reader waits behind LOCK TABLE")
        place.sql(f"select pg_cancel_backend({plain.pid})")
        reader.until("Z")
        plain.until("Z")
        plain.query("rollback")

        migrator = s.connect("migrator", "postgres", "begin; set local lock_timeout = '7s'", "select berth.migrate_once('1')")
        s.start(migrator, "select * from berth.lock_tables_with('{busy}', attempt_timeout => '300ms', max_wait => '1h', backoff => '0')")
        queued = read = 0
        while queued < 2 or read < READS:  # some of them really came while the migrator was in the queue
            if queued < 2:
                s.waits(migrator, "the migrator is in the queue")
            s.start(reader, "select count(*) from busy")
            queued += s.sql(f"select count(*) from pg_locks where pid = {reader.pid} and not granted") != [["0"]]
            assert not wire.errors(reader.until("Z"))
            read += 1
        still = running(migrator)
        holder.query("commit")
        answer = migrator.until("Z")
        [[attempts, _, held, blockers]] = wire.rows(answer)
        [blocker] = [b for b in json.loads(blockers) if b["pid"] == holder.pid]
        settings = wire.rows(migrator.query("show lock_timeout"))
        migrator.query("commit")
        [[kept, waited]] = s.sql("select lock_attempts, lock_wait > '0' from berth.migration_run")
        return check(("the migrator still tries", still, True), ("it was refused and tried again", int(attempts) > 1, True),
                     ("who was in the way", [blocker[k] for k in ("kind", "application_name", "usename", "lockmode")],
                      ["holder", "holder", "postgres", "AccessShareLock"]),
                     # It may have been looked at just behind its commit.
                     ("what it did", (blocker["state"], blocker["query"]) in (("idle in transaction", "select from busy"),
                                                                             ("active", "commit"), ("idle", "commit")), True),
                     ("nobody holds traffic", held, None), ("its lock_timeout is its own again", settings, [["7s"]]),
                     ("attempts are kept with the run", kept, attempts), ("and the wait", waited, "t"))


def warned(place):
    """hold => true says that no broker can do it yet, and locks all the same."""
    with Sessions(place, "warned") as s:
        s.sql("create table t (i int)")
        answer = s.connect().query("begin; select attempts from berth.lock_tables_with('{t}', hold => true)")
        quiet = s.connect().query("begin; select berth.lock_tables_with('{t}', hold => null, max_wait => '0')")
        told = lambda messages: [(m.fields["S"], m.fields["M"]) for m in messages if m.tag == "N"]
        return check(("a warning", told(answer), [("WARNING", "no broker can hold traffic yet")]), ("the lock", wire.rows(answer), [["1"]]),
                     ("none without it", told(quiet), []), ("MG010", wire.sqlstates(quiet), ["MG010"]))


def conflicts(place):
    """lock_conflicts() says of each pair of modes what PostgreSQL does."""
    with Sessions(place, "conflicts") as s:
        s.sql("create table t (i int)")
        said = {(row[0], row[1]): row[2] == "t" for row in s.sql(
            "select h, w, replace(initcap(h), ' ', '') || 'Lock' = any (berth.lock_conflicts(w)) "
            "from unnest(berth.lock_modes()) h, unnest(berth.lock_modes()) w")}
        holder, wanting, done = s.connect(), s.connect(), {}
        for held in MODES:
            holder.query(f"begin; lock table t in {held} mode")
            for wanted in MODES:
                answer = wanting.query(f"begin; lock table t in {wanted} mode nowait")
                done[held, wanted] = "55P03" in wire.sqlstates(answer)
                wanting.query("rollback")
            holder.query("rollback")
        return check(("64 pairs", len(done), 64), ("the table of conflicts", said, done))


def order(place):
    """Two migrators name the same tables in two orders; a third one is in a deadlock and gets out of it when the other gives up."""
    with Sessions(place, "ordered") as s:
        s.sql("create table a (i int); create table b (i int)")
        first, second = s.connect("first", "postgres", "begin"), s.connect("second", "postgres", "begin")
        answers = []
        for session, tables in ((first, "'a', 'b'"), (second, "'b', 'a'")) * 2:
            s.start(session, f"select attempts from berth.lock_tables({tables}); commit; begin")
        for session in (first, second, first, second):
            answers.append(wire.sqlstates(session.until("Z")))
        first.query("rollback")
        second.query("rollback")
        wanted = s.sql("select berth.lock_statement('{b,a,b}', 'exclusive') = berth.lock_statement('{a,b}', 'EXCLUSIVE')")

        # The attempts are so long that only the deadlock ends one.
        other = s.connect("other", "postgres", "begin", "lock table b")
        migrator = s.connect("migrator", "postgres", "set deadlock_timeout = '20ms'", "begin", "select berth.lock_tables('a')")
        s.start(other, "lock table a")
        s.waits(other)
        s.start(migrator, "select attempts from "
                          "berth.lock_tables_with('{b}', attempt_timeout => '1h', max_wait => '1h', backoff => '300ms')")
        s.pauses(migrator)
        place.sql(f"select pg_cancel_backend({other.pid})")
        other.until("Z")
        other.query("rollback")
        answer = migrator.until("Z")
        return check(("both went through, again and again", answers, [[]] * 4), ("one statement, one order", wanted, [["t"]]),
                     ("a deadlock was survived", wire.sqlstates(answer) or int(wire.rows(answer)[0][0]) > 1, True))


def queue(place):
    """Holders, the queue, partitions, views, own rows: what blockers() shows to whom."""
    with Sessions(place, "queued") as s:
        s.sql("create table parted (i int) partition by range (i); create table part partition of parted for values from (0) to (9); "
              "create view seen as select i from parted; create role watcher in role app2; "
              "select berth.grant_access('watcher', 'read'); grant all on parted, part to app, app2")
        s.connect("reader", "app", "begin", "select from part")
        waiting = s.connect("waiting", "app2", "begin")
        s.start(waiting, "lock table part in access exclusive mode")
        s.waits(waiting)
        seen = "select kind, application_name, usename, lockmode, state, query, xact_age > '0' from berth.blockers('{%s}') order by kind"
        holder = ["holder", "reader", "app", "AccessShareLock", "idle in transaction", "select from part", "t"]
        queued = ["queued", "waiting", "app2", "AccessExclusiveLock", "active", "lock table part in access exclusive mode", "t"]
        through_view = s.sql(seen % "seen")
        watcher = s.connect("watcher", "postgres", "set role watcher")
        masked = wire.rows(watcher.query(seen % "parted"))
        s.sql("drop owned by watcher; drop role watcher")
        return check(("holder and queue, through view, parent and partition", through_view, [holder, queued]),
                     ("of the others without statement and state", masked, [holder[:4] + [None, None, "t"], queued]))


def own_transactions(place):
    """locked_exec holds nothing between its attempts, sees what was committed meanwhile, and is refused where it cannot commit."""
    with Sessions(place, "own_transactions") as s:
        s.sql("create table t (i int); create table log (i int); "
              "create function calls() returns void language plpgsql as $$ begin call berth.locked_exec('select 1', '{t}'); end $$")
        holder = s.connect("holder", "postgres", "begin", "insert into t values (1)")
        migrator = s.connect("migrator", "postgres", "set lock_timeout = '3s'")
        s.start(migrator, "call berth.locked_exec('insert into log select count(*) from t', '{t}', '20ms', 1000, '2s')")
        s.pauses(migrator)
        held = s.sql(f"select relation::regclass from pg_locks where pid = {migrator.pid} and relation = any ('{{t,log}}'::regclass[])")
        xid = s.sql(f"select backend_xid from pg_stat_activity where pid = {migrator.pid}")
        holder.query("commit")
        answer = migrator.until("Z")
        setting = migrator.value("show lock_timeout")
        function = wire.only_error(s.connect().query("select calls()"))
        block = wire.only_error(s.connect().query("begin; call berth.locked_exec('select 1', '{t}')"))
        texts = wire.only_error(s.connect().query("select 1; call berth.locked_exec('select 1', '{t}')"))
        return check(("nothing is held", held, []), ("no transaction id either", xid, [[None]]),
                     ("it ends well", wire.sqlstates(answer), []),
                     ("with a fresh snapshot", s.sql("select i from log"), [["1"]]), ("the setting is back", setting, "3s"),
                     ("not from a function", function.sqlstate, "2D000"), ("not in a block", block.sqlstate, "MG009"),
                     ("not among other statements", texts.sqlstate, "MG009"))


def behind(place):
    """A broker's client is named, where it holds a lock by a backend of the broker; the broker's link is spared by drain."""
    place.register("front")
    link = place.links["front"]
    link.query("begin; select from account")
    client = place.client("front", application_name="holding")
    client.query("begin; select from account")
    port = client.sock.getsockname()[1]
    postgres = place.postgres.connect(database="e2e")
    known = wire.rows(postgres.query("select broker_client from berth.blockers('{account}') where usename = 'app'"))
    postgres.query("begin")
    failed = wire.only_error(postgres.query("select berth.lock_tables_with('{account}', attempt_timeout => '5ms', max_wait => '0')"))
    postgres.query("rollback")
    told = [b["broker_client"] for b in json.loads(failed.fields["D"]) if b["usename"] == "app"]
    postgres.query("create role watcher; select berth.grant_access('watcher', 'read'); set role watcher")
    masked = wire.rows(postgres.query("select pid is not null, broker_client from berth.blockers('{account}') where usename = 'app'"))
    postgres.query("reset role; drop owned by watcher; drop role watcher")
    drained = wire.rows(postgres.query("select usename, verdict, done, reason, broker_client from "
                                       "berth.drain('{account}', action => 'terminate', grace => '100ms') order by usename"))
    postgres.close()
    try:
        ended = wire.sqlstates(client.query("select 1")) != []
    except Closed:
        ended = True
    alive = wire.rows(link.query("select 1"))
    link.query("rollback")
    name = re.compile(rf"front client \d+ 127\.0\.0\.1:{port} holding$")
    return check(("the client behind the backend", [bool(name.match(row[0])) for row in known], [True]),
                 ("also in the error", [bool(name.match(text)) for text in told], [True]), ("but not to everybody", masked, [["t", None]]),
                 ("drain names it, too", bool(name.match(drained[0][4])), True),
                 ("and ends it, but not the link", [row[:4] for row in drained],
                  [["app", "terminate", "t", None], ["postgres", "spared", None, "the link of a broker"]]),
                 ("the client is told", ended, True), ("the link lives", alive, [["1"]]))


def drained(place):
    """Report, cancel, terminate: who is ended, by whom, and that it is written down."""
    with Sessions(place, "drained") as s:
        s.sql("create table t (i int); grant all on t to app, app2, app3; select berth.grant_access('app3', 'admin')")
        idle = s.connect("idle", "app", "begin", "select from t")
        busy = s.connect("busy", "app2", "begin")
        s.start(busy, "select pg_sleep(1000) from (select count(*) from t) c")
        s.pauses(busy)
        root = s.connect("root", "postgres", "begin", "select from t")
        other = s.connect("other", "postgres", "begin")
        s.start(other, "lock table t")
        s.waits(other)
        operator = s.connect("operator", "app3")
        ask = "select application_name, verdict, done, reason from berth.drain('{t}'%s) order by application_name"
        spared = "a superuser's, which only superusers end"
        report = wire.rows(operator.query(ask % ""))
        alive = s.sql(f"select count(*) from pg_stat_activity where pid in ({idle.pid}, {busy.pid}, {root.pid}, {other.pid})")
        young = wire.rows(operator.query(ask % ", '1h', 'terminate'"))
        masked = wire.rows(operator.query("select state, query from berth.drain('{t}')"))
        cancel = wire.rows(operator.query(ask % ", action => 'cancel', grace => '100ms'"))
        cancelled = wire.sqlstates(busy.until("Z"))
        busy.query("rollback")
        begin = "begin; do 'begin perform berth.migrate_once(''1''); end'; "
        terminate = wire.rows(operator.query(begin + ask % ", '0', 'terminate', '100ms'" + "; commit"))
        gone = s.sql(f"select count(*) from pg_stat_activity where pid = {idle.pid}")
        kept = json.loads(s.sql("select info -> 'drained' from berth.migration_run")[0][0])
        superuser = s.sql(ask % ", action => 'terminate', grace => '100ms'")
        logged = f"berth.drain by app3: terminate of pid {idle.pid} (app), gone" in place.postgres.log.read_text()
        granted = wire.sqlstates(other.until("Z"))
        s.sql("drop owned by app3")
        return check(("a report", report, [["busy", "report", None, None], ["idle", "report", None, None],
                                           ["root", "report", None, spared]]),
                     ("ends nobody", alive, [["4"]]), ("the young are left out", young, []),
                     ("others' statements are not shown", masked, [[None, None]] * 3),
                     ("cancel ends statements, but not idle transactions", cancel,
                      [["busy", "cancel", "t", None], ["idle", "cancel", "f", None], ["root", "spared", None, spared]]),
                     ("who was cancelled is told", cancelled, ["57014"]),
                     ("terminate does", terminate, [["idle", "terminate", "t", None], ["root", "spared", None, spared]]),
                     ("the session is gone", gone, [["0"]]), ("it is in the log", logged, True),
                     ("and with the run", [(k["pid"], k["usename"], k["verdict"], k["done"]) for k in kept],
                      [(idle.pid, "app", "terminate", True)]),
                     ("a superuser ends a superuser", superuser, [["root", "terminate", "t", None]]),
                     ("the queue is left alone, and goes on", granted, []))


def autovacuum(place):
    """Autovacuum is in the way of short attempts: it is named, it can be cancelled, but not when it prevents wraparound."""
    with Sessions(place, "vacuumed") as s:
        slow = "autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1"
        s.sql(f"create table t (i int, filler text) with ({slow}, autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0)")
        s.sql("insert into t select i, repeat('x', 1000) from generate_series(1, 5000) i")
        s.sql("delete from t where i % 2 = 0")
        worker = "select pid from pg_stat_activity where datname = 'vacuumed' and query like 'autovacuum: VACUUM%public.t%'"
        ask = "select kind, usename, pid is not null from berth.blockers('{t}')"
        drain = "select kind, verdict, done, reason from berth.drain('{t}', action => 'terminate', grace => '5s')"
        try:
            for setting in ("autovacuum = on", "autovacuum_naptime = '1s'"):
                place.sql(f"alter system set {setting}", "postgres")
            place.sql("select pg_reload_conf()", "postgres")
            s.eventually(worker, "autovacuum works at it")
            plain, ended = s.sql(ask), s.sql(drain)
            s.sql("begin; alter table t set (autovacuum_freeze_max_age = 100000); create temp table burnt (i int); do $$ begin "
                  "for i in 1 .. 100100 loop begin insert into burnt values (i); exception when division_by_zero then null; end; end loop; "
                  "end $$; commit")
            s.eventually(worker.replace("public.t%", "public.t (to prevent wraparound)%"), "it prevents wraparound")
            wraparound, spared = s.sql(ask), s.sql(drain)
            still = s.sql(worker)
        finally:
            place.sql("alter system reset all", "postgres")
            place.sql("select pg_reload_conf()", "postgres")
            place.sql("select pg_terminate_backend(pid, 10000) from pg_stat_activity where backend_type = 'autovacuum worker'", "postgres")
        return check(("autovacuum", plain, [["autovacuum", None, "t"]]), ("is cancelled", ended, [["autovacuum", "cancel", "t", None]]),
                     ("the other kind", wraparound, [["autovacuum to prevent wraparound", None, "t"]]),
                     ("is spared", spared, [["autovacuum to prevent wraparound", "spared", None, "it must come to its end"]]),
                     ("and works on", len(still), 1))


SCENARIOS = (locks, readers, warned, conflicts, order, queue, own_transactions, behind, drained, autovacuum)
