"""Other tools' histories: what each tool sends is replayed on an adopted table, and the journal must follow."""

import re
import subprocess
import threading
from pathlib import Path

from harness import system, wire

from results import add, check

RECORDED = Path(__file__).resolve().parent / "recorded"
BLOCK = re.compile(r"^-- (?:\[(\d+)\] ?(\w*)|(adopt|failed))\n(.*?)(?=^-- (?:\[|adopt|failed)|\Z)", re.M | re.S)


def replay(place, tool, database, scope="default", on_failed=None):
    """Sends what the tool sent, each of its sessions on a connection of its own. Returns what did not go as recorded."""
    place.sql(f"grant create on database {database} to app; grant all on schema public to app", database)
    place.sql("select berth.grant_access('app', 'runner'), berth.enable_ddl_log()", database)
    sessions, wrong = {}, []
    text = (RECORDED / f"{tool}.sql").read_text(encoding="utf-8")
    for number, sqlstate, mark, statement in BLOCK.findall(text):
        if mark == "adopt":
            sessions.clear()
            wrong += [] if place.sql(f"select berth.adopt('{tool}', scope => '{scope}')", database) else ["adopt"]
        elif mark == "failed":
            for session in sessions.values():
                session.close()
            system.eventually(lambda: place.sql("select from pg_stat_activity where usename = 'app' and "
                                                f"datname = '{database}'") == [], "the tool's sessions are gone")
            sessions.clear()
            wrong += on_failed() if on_failed else []
        else:
            if number not in sessions:
                name = "psql" if tool == "sqitch" and re.match(r"(BEGIN;|CREATE|DROP|ALTER|SELECT berth|DO)", statement) else ""
                sessions[number] = place.postgres.connect("app", database, application_name=name)
            answer = sessions[number].query(statement)
            errors = [error.sqlstate for error in wire.errors(answer)]
            warned = [m.fields["M"] for m in answer if m.tag == "N" and m.fields["S"] == "WARNING" and "record" in m.fields["M"]]
            if errors != ([sqlstate] if sqlstate else []) or warned:
                wrong.append((statement, errors, warned))
    for session in sessions.values():
        session.close()
    return wrong


def history(place, database):
    return place.sql("select version, kind, state from berth.migration where scope = 'default' order by seq", database)


def runs(place, database):
    return [" ".join(filter(None, row)) for row in place.sql(
        "select version, direction, mode, status, outcome from berth.migration_run where scope = 'default' order by run_id", database)]


def stray_ddl(place, database):
    """DDL of the tool after the adoption that belongs to no run."""
    return place.sql("select identity from berth.ddl_log where run_id is null and usename = 'app' and not in_extension and at > "
                     "(select min(finished_at) from berth.migration_run where direction = 'baseline')", database)


def replayed(place, tool, names, failed=()):
    """A tool that tells of a migration when it is over: the first one was taken over, three were applied, the last undone."""
    database = place.fresh("adopted")
    wrong = replay(place, tool, database)
    first, second, third, fourth = names
    return check(
        (f"{tool}: as it was recorded", wrong, []),
        (f"{tool}: its versions", history(place, database), [[name, "versioned", "applied"] for name in names[:3]]
         + [[fourth, "versioned", "reverted"]]),
        (f"{tool}: its runs", runs(place, database), [
            f"{first} baseline tx done", *(f"{name} apply tx done" for name in (second, third, fourth)), *failed,
            f"{fourth} revert tx done"]),
        (f"{tool}: its name", place.sql("select distinct tool from berth.migration_run where scope = 'default'", database), [[tool]]),
        (f"{tool}: its DDL", stray_ddl(place, database), []),
        (f"{tool}: of the second", place.sql("select l.tag, l.identity from berth.ddl_log l join berth.migration_run r using (run_id) "
                                             f"where r.version = '{second}' and l.event = 'ddl_command_end'", database),
         [["ALTER TABLE", "public.users"]]),
        (f"{tool}: migrate_once in a script", place.sql("select version, state from berth.migration where scope = 'scripts'", database),
         [["orders", "applied"]]))


def adopt_dbmate(place):
    return replayed(place, "dbmate", [f"2026010100000{number}" for number in range(1, 5)])


def adopt_node_pg_migrate(place):
    return replayed(place, "node-pg-migrate", [f"170000000000{number}_{name}" for number, name in
                                               enumerate(("users", "users_name", "users_id", "orders"), 1)])


def adopt_sqitch(place):
    result = replayed(place, "sqitch", [f"shop:{name}" for name in ("users", "users_name", "users_id", "orders")],
                      ["shop:broken apply tx failed"])
    return add(result, check(
        ("sqitch: requires", place.sql("select requires, description from berth.migration where version = 'shop:users_name'", "adopted"),
         [["{shop:users}", "users_name"]]),
        ("sqitch: the failure is seen", place.sql("select state from berth.migration_status() where version = 'shop:broken'", "adopted"),
         [["failed"]])))


def adopt_liquibase(place):
    result = replayed(place, "liquibase", [f"changelog.sql::{number}::tester" for number in range(1, 5)])
    return add(result, check(
        ("liquibase: checksums", place.sql("select count(*) from berth.migration where checksum like 'liquibase:8:%' "
                                           "and checksum_algo = 'liquibase'", "adopted"), [["4"]])))


def adopt_golang_migrate(place):
    """It tells of a migration before and after: a run that begins, one that stays dirty, a forced version, the way down."""
    database = place.fresh("adopted")
    states = lambda: place.sql("select version, state from berth.migration_status() order by version", database)

    def on_failed():
        _, wrong = check(
            ("dirty is interrupted, once nobody is at it", states(), [["1", "applied"], ["2", "applied"], ["3", "interrupted"]]),
            ("and says what to do", place.sql("select problem from berth.migration_status() where version = '3'", database),
             [['its client went away; its table stays dirty: put right what it left, then "migrate force"']]),
            ("and stops others", [e.sqlstate for e in wire.errors(other.query("begin; select berth.migrate_once('4'); rollback"))],
             ["MG008"]))
        return ["failed"] * wrong

    with place.postgres.connect(database=database) as other:
        other.query("select 1")
        wrong = replay(place, "golang-migrate", database, on_failed=on_failed)
        other.query("rollback")
    return check(
        ("golang-migrate: as written", wrong, []),
        ("golang-migrate: its versions", history(place, database), [["1", "baseline", "applied"], ["2", "versioned", "reverted"]]),
        ("golang-migrate: its runs", runs(place, database), [
            "1 baseline tx done", "2 apply step done", "3 apply step resolved reverted", "2 revert step done"]),
        ("golang-migrate: its DDL", place.sql("select r.version, r.direction, l.tag from berth.ddl_log l join berth.migration_run r "
                                              "using (run_id) where l.event = 'ddl_command_end' order by l.id", database),
         [["2", "apply", "ALTER TABLE"], ["2", "revert", "ALTER TABLE"]]),
        ("golang-migrate: no lease is left", place.sql("select from berth.migration_lease", database), []))


def adopt_flyway(place):
    database = place.fresh("adopted")

    def on_failed():
        _, wrong = check(("the failure is seen", place.sql("select state, problem from berth.migration_status() where version = '3'",
                                                           database),
                          [["failed", "failed flyway recorded a failure; its log has the error; "
                            'put right what it left, then "flyway repair"']]))
        return ["failed"] * wrong

    wrong = replay(place, "flyway", database, on_failed=on_failed)
    return check(
        ("flyway: as written", wrong, []),
        ("flyway: its versions", place.sql("select version, kind, state, description, checksum from berth.migration order by seq",
                                           database), [
            ["1", "baseline", "applied", "<< Flyway Baseline >>", None], ["2", "versioned", "applied", "users", "flyway:1234"],
            ["R__names.sql", "repeatable", "applied", "names", "flyway:18"], ["3", "versioned", "reverted", "index", "flyway:100"]]),
        ("flyway: its runs", runs(place, database), [
            "1 baseline tx done", "2 apply tx done", "R__names.sql apply tx done", "R__names.sql apply tx done",
            "3 apply step resolved reverted", "3 apply tx done", "3 revert tx done"]),
        ("flyway: its DDL", stray_ddl(place, database), []),
        ("flyway: its time", place.sql("select duration >= '12 ms' and source_ref = 'V2__users.sql' from berth.migration_run "
                                       "where version = '2'", database), [["t"]]))


def adopt(place):
    """Arguments, errors, privileges, and what each kind of row does."""
    return place.prove("migration_adopt.sql", database=place.fresh("adopt"))


def adopt_lived(place):
    """A run of golang-migrate is running as long as its session lives; a second migrator is told of it."""
    database = place.fresh("adopted")
    place.sql("create table schema_migrations (version bigint primary key, dirty boolean not null); select berth.adopt('golang-migrate')",
              database)
    state = lambda: place.sql("select state from berth.migration_status() where version = '1'", database)
    with place.postgres.connect(database=database, application_name="migrate") as tool:
        tool.query("begin; truncate schema_migrations; insert into schema_migrations values (1, true); commit")
        running = state()
        with place.postgres.connect(database=database) as other:
            answer = other.query("begin; select berth.migrate_once('2', wait => '0s')")
        [error] = wire.errors(answer)
    place.sql(f"select pg_terminate_backend({tool.pid}, 10000)")
    return check(("it runs", running, [["running"]]), ("others are told", error.sqlstate, "MG006"),
                 ("by name", "golang-migrate" in error.fields["M"], True), ("it is interrupted", state(), [["interrupted"]]))


def adopt_race(place):
    """Four dbmates of the same version at once: one wins, and what it wrote is what the journal says."""
    database = place.fresh("adopted")
    place.sql("create table schema_migrations (version varchar primary key); select berth.adopt('dbmate')", database)
    outcomes, lock = [], threading.Lock()

    def migrate():
        with place.postgres.connect(database=database) as session:
            answer = session.query("insert into schema_migrations values ('1')")
            with lock:
                outcomes.append([error.sqlstate for error in wire.errors(answer)])

    threads = [threading.Thread(target=migrate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return check(("one inserts", sorted(outcomes), [[], ["23505"], ["23505"], ["23505"]]),
                 ("one run", runs(place, database), ["1 apply tx done"]))


def adopt_restored(place):
    """A dump of adopted tables: the history comes along once, the triggers work, also when the data is restored alone."""
    database = place.fresh("adopted")
    place.sql("create table schema_migrations (version varchar primary key); insert into schema_migrations values ('1'); "
              "select berth.adopt('dbmate'); insert into schema_migrations values ('2')", database)
    place.sql("create schema go; create table go.schema_migrations (version bigint primary key, dirty boolean not null); "
              "select berth.adopt('golang-migrate', 'go.schema_migrations', 'go'); insert into go.schema_migrations values (7, false)",
              database)
    connect = ["-h", "127.0.0.1", "-p", str(place.postgres.port), "-U", "postgres"]
    dumped = lambda *options: subprocess.run([system.PG_BIN / "pg_dump", *connect, *options, database], stdin=subprocess.DEVNULL,
                                             capture_output=True, check=True).stdout

    def restore(name, *dumps):
        place.sql(f"drop database if exists {name} with (force)", "postgres")
        place.sql(f"create database {name}", "postgres")
        for dump in dumps:
            subprocess.run([system.PG_BIN / "psql", *connect, "-q", "-v", "ON_ERROR_STOP=1", "-d", name], input=dump, check=True,
                           stdout=subprocess.DEVNULL)
        return place.sql("select scope, version, state, last_run from berth.migration order by seq", name)

    want = place.sql("select scope, version, state, last_run from berth.migration order by seq", database)
    whole, parts = restore("copy", dumped()), restore("copy2", dumped("-s"), dumped("-a"))
    place.sql("insert into schema_migrations values ('3'); truncate go.schema_migrations; "
              "insert into go.schema_migrations values (8, true)", "copy")
    return check(
        ("what there was", [row[:3] for row in want], [["default", "1", "applied"], ["default", "2", "applied"], ["go", "7", "applied"]]),
        ("restored", whole, want), ("its data alone", parts, want),
        ("no run is added", place.sql("select count(*) from berth.migration_run", "copy2"), [["3"]]),
        ("the triggers go on", place.sql("select scope, version, direction, status from berth.migration_run where run_id > 3 "
                                         "order by run_id", "copy"),
         [["default", "3", "apply", "done"], ["go", "8", "apply", "running"]]),
        ("and are known", place.sql("select berth.adopt('dbmate') ~ 'already.*nothing'", "copy"), [["t"]]))


SCENARIOS = (adopt, adopt_dbmate, adopt_node_pg_migrate, adopt_sqitch, adopt_liquibase, adopt_golang_migrate, adopt_flyway, adopt_lived,
             adopt_race, adopt_restored)
