"""The log of DDL: what it writes, that it is never in the way, and that it survives dumps."""

import subprocess

from harness import system, wire

from results import add, check, fail


def ddl(place):
    """What is logged, to which migration it belongs, policies, secrets, privileges."""
    return place.prove("migration_ddl.sql", database=place.fresh("ddl"))


def warnings(answer):
    return [m.fields["M"] for m in answer if m.tag == "N" and m.fields["S"] == "WARNING"]


def unharmed(place):
    """Whatever is wrong with the log, indexes that are built concurrently are valid, and a WARNING says what was not logged."""
    database = place.fresh("unharmed")
    result = (0, 0)
    cases = (  # name, what breaks it, what mends it, the warning
        ("renamed", "alter table berth.ddl_log rename to gone", "alter table berth.gone rename to ddl_log",
         'relation "berth.ddl_log" does not exist'),
        ("refusing", "alter table berth.ddl_log add constraint never check (false) not valid",
         "alter table berth.ddl_log drop constraint never", 'new row for relation "ddl_log" violates check constraint "never"'),
        ("runs gone", "alter table berth.migration_run rename to gone", "alter table berth.gone rename to migration_run",
         'relation "berth.migration_run" does not exist'),
        ("policy gone", "alter table berth.migration_policy rename to gone", "alter table berth.gone rename to migration_policy",
         'relation "berth.migration_policy" does not exist'))
    place.sql("create table t (i int); select berth.enable_ddl_log()", database)
    valid = "select indisvalid and indisready from pg_index where indexrelid = to_regclass('t_i')"
    with place.postgres.connect(database=database) as session:
        for name, breaks, mends, warning in cases:
            place.sql("set client_min_messages = error; set session_replication_role = replica; " + breaks, database)
            answer = session.query("create index concurrently t_i on t (i)")
            built = place.sql(valid, database)
            dropped = session.query("drop index concurrently t_i")
            altered = session.query("alter table t alter i type bigint; alter table t alter i type int")
            gone = place.sql(valid, database)
            place.sql("set session_replication_role = replica; " + mends, database)
            told = f"DDL was not logged: {warning}"
            result = add(result, check(
                (f"{name}: no error", wire.sqlstates(answer) + wire.sqlstates(dropped) + wire.sqlstates(altered), []),
                (f"{name}: a valid index", built, [["t"]]), (f"{name}: none", gone, []),
                (f"{name}: the warning", set(warnings(answer) + warnings(dropped) + warnings(altered)), {told})))

        with place.postgres.connect(database=database) as other:  # the log is locked, and that is waited for
            other.query("begin; lock table berth.ddl_log")
            answer = session.query("create index concurrently t_i on t (i)")
            built, told = place.sql(valid, database), warnings(answer)
            session.query("drop index t_i")
            # A cancel while it waits finds the index built.
            place.sql("set session_replication_role = replica; alter function berth.ddl_done() set lock_timeout = '1h'", database)
            session.send(wire.query("create index concurrently t_i on t (i)"))
            system.eventually(lambda: place.sql(f"select from pg_locks where pid = {session.pid} and not granted "
                                                "and relation = 'berth.ddl_log'::regclass", database), "the logger waits")
            place.sql(f"select pg_cancel_backend({session.pid})", database)
            cancelled = session.until("Z")
            other.query("rollback")
        place.sql("set session_replication_role = replica; alter function berth.ddl_done() set lock_timeout = '1s'", database)
        result = add(result, check(
            ("locked: a valid index", built, [["t"]]),
            ("locked: the warning", told, ["DDL was not logged: canceling statement due to lock timeout"]),
            ("cancelled: no error", wire.sqlstates(cancelled), []),
            ("cancelled: the warning", warnings(cancelled), ["DDL was not logged: canceling statement due to user request"]),
            ("cancelled: a valid index", place.sql(valid, database), [["t"]]),
            ("by default it warns", warnings(session.query("create table by_hand (i int)")),
             ["DDL outside of a migration: CREATE TABLE public.by_hand"]),
            ("of a drop, too", warnings(session.query("drop table by_hand")),
             ["DDL outside of a migration: DROP TABLE public.by_hand"]),
            ("once for one statement", warnings(session.query("alter table t drop i")),
             ["DDL outside of a migration: ALTER TABLE public.t"]),
            ("in a migration it does not", warnings(session.query("begin; select berth.migrate_once('1'); create table m (i int); "
                                                                    "commit")), [])))
    return result


def dumped(place):
    """A database whose DDL is logged is dumped and restored, as text and as an archive; then the extension is dropped."""
    database, result = place.fresh("logged"), (0, 0)
    place.sql("select berth.enable_ddl_log(); create table t (i int); create materialized view m as select count(*) from t; "
              "create table u (i int)", database)
    place.sql("select berth.set_policy('unattributed_ddl', 'error'), berth.set_policy('table_rewrite', 'error')", database)
    connect = ["-h", "127.0.0.1", "-p", str(place.postgres.port), "-U", "postgres"]
    run = lambda *command, text=b"": subprocess.run(command, input=text, capture_output=True, check=True)
    text = run(place.tools / "pg_dump", *connect, database).stdout
    archive = place.directory / "logged.dump"
    run(place.tools / "pg_dump", *connect, "-Fc", "-f", archive, database)
    rows = place.sql("select id, tag, identity, statement from berth.ddl order by id", database)
    for copy in ("copied", "unpacked"):
        place.sql(f"drop database if exists {copy} with (force)", "postgres")
        place.sql(f"create database {copy}", "postgres")
    told = run(place.tools / "psql", *connect, "-q", "-v", "ON_ERROR_STOP=1", "-d", "copied", text=text).stderr
    told += run(place.tools / "pg_restore", *connect, "-e", "-d", "unpacked", archive).stderr
    for copy in ("copied", "unpacked"):
        kept = place.sql("select id, tag, identity, statement from berth.ddl order by id", copy)
        with place.postgres.connect(database=copy) as session:
            refused = session.query("create table more (i int)")
            session.query("select berth.set_policy('unattributed_ddl', 'off')")
            session.query("create table more (i int)")
            more = session.value("select max(id) from berth.ddl where identity = 'public.more'")
            restricted = session.query("drop extension pgberth")
            cascaded = session.query("drop extension pgberth cascade")
            after = session.query("create table free (i int); select count(*) from pg_event_trigger")
            again = session.query("create extension pgberth; select berth.enable_ddl_log(), berth.disable_ddl_log(); "
                                  "drop extension pgberth")
        result = add(result, check(
            (f"{copy}: the rows, and none of the restore's", kept, rows), (f"{copy}: it goes on", wire.sqlstates(refused), ["MG013"]),
            (f"{copy}: with the next number", int(more) > int(rows[-1][0]), True),
            (f"{copy}: DROP EXTENSION says what depends on it", wire.sqlstates(restricted), ["2BP01"]),
            (f"{copy}: CASCADE drops the triggers", wire.sqlstates(cascaded), []),
            (f"{copy}: nothing is left", [wire.sqlstates(after), wire.rows(after)], [[], [["0"]]]),
            (f"{copy}: disabled, nothing is in the way of DROP EXTENSION", wire.sqlstates(again), [])))
    return add(result, (1, 0) if not told else fail(f"the restore says {told.decode()}"))


SCENARIOS = (ddl, unharmed, dumped)
