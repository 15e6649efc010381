"""Dump and restore of the history: it survives with its sequences and grants; what is running, and leases, do not come along."""

import subprocess

from harness import postgres as clusters
from harness import system, wire

from results import add, check

BIN = system.PG_BIN
ORIGIN = "origin"
# What must be the same in a copy, but for what was running. Times and numbers are part of it.
HISTORY = """
  select 'version', to_jsonb(m)::text from berth.migration m
  union all select 'run', to_jsonb(r)::text from berth.migration_run r where status <> 'running'
  union all select 'step', to_jsonb(s)::text from berth.migration_step s join berth.migration_run r using (run_id)
    where r.status <> 'running'
  union all select 'check', to_jsonb(c)::text from berth.migration_check c
  union all select 'result', to_jsonb(c)::text from berth.migration_check_result c
  union all select 'plan', to_jsonb(p)::text from berth.migration_plan p
  union all select 'policy', to_jsonb(p)::text from berth.migration_policy p
  union all select 'ddl', to_jsonb(d)::text from berth.ddl_log d order by 1, 2"""
# Nothing collides with what was restored: numbers go on behind it.
GOES_ON = """
  do $$ begin
    perform berth.migrate_once('90');
    create table made_later (id int);
    perform berth.expect('select true', 'holds'), berth.plan('91'), berth.add_check('90', 'post', 'late', 'select true');
  end $$"""
WENT_ON = """
  select (select m.seq = max(o.seq) from berth.migration o), m.last_run = (select max(run_id) from berth.migration_run),
         (select count(*) from berth.migration_check_result where run_id = m.last_run),
         (select version from berth.migration_plan order by ord desc limit 1),
         (select count(*) from berth.ddl_log where run_id = m.last_run)
    from berth.migration m where version = '90'"""
GRANTS = """
  select has_function_privilege('app', 'berth.add_check(text, text, text, text, text, text, text)', 'execute'),
         has_table_privilege('app', 'berth.migration_check', 'insert'), has_table_privilege('app3', 'berth.migration_history', 'select'),
         has_function_privilege('app3', 'berth.assert_ready(text, text, text, text)', 'execute'),
         has_function_privilege('app3', 'berth.plan(text, text, text, text, text)', 'execute'),
         has_table_privilege('app3', 'berth.migration_run', 'select')"""


def tool(place, name, *arguments, port=None, stdin=None, strict=True):
    """Runs a program of PostgreSQL; what it writes."""
    done = subprocess.run([BIN / name, "-h", "127.0.0.1", "-p", str(port or place.postgres.port), "-U", "postgres", *arguments],
                          input=stdin, capture_output=True, check=False)
    assert done.returncode == 0 or not strict, done.stderr.decode()
    return done.stdout


def origin(place):
    """A database with a history of every kind, in which a stepwise run goes on."""
    place.fresh(ORIGIN)
    place.sql("select berth.enable_ddl_log()", ORIGIN)
    for statement in (
            "select berth.grant_access('app', 'runner'), berth.grant_access('app3', 'read')",
            "select berth.plan('1', checksum => 'x:1'), berth.plan('2'), berth.plan('5'), berth.set_policy('table_rewrite', 'warn')",
            "do $$ begin perform berth.migrate_once('1', checksum => 'x:1'); create table orders (id int primary key); "
            "perform berth.add_check('1', 'post', 'empty', 'select count(*) = 0 from public.orders'); end $$",
            "do $$ begin perform berth.migrate_once('2', scope => 'tenant'); end $$",
            "do $$ begin perform berth.migrate_undo('2', 'tenant'); end $$",
            "do $$ begin set local role app; perform berth.add_check('2', 'post', 'of app', 'select true'); end $$",
            "select berth.migration_failed('2', '22012', 'division by zero')", "alter table orders add by_hand int"):
        place.sql(statement, ORIGIN)
    running = place.postgres.connect(database=ORIGIN)
    [[run]] = wire.rows(running.query("select run_id from berth.migration_start('5', lease => '1 day', scope => 'tenant')"))
    running.query(f"select berth.migration_step_begin({run}, 1, 'one')")
    running.query(f"select berth.migration_step_end({run}, 1)")
    running.query(f"select berth.migration_step_begin({run}, 2, 'two')")
    return running


def went_on(postgres, name):
    postgres.sql(GOES_ON, name)
    return postgres.sql(WENT_ON, name)


def same(place, name, postgres=None):
    """The history of a copy is that of the origin; it goes on from there."""
    postgres = postgres or place.postgres
    result = check(
        (f"{name}: the history", postgres.sql(HISTORY, name), place.sql(HISTORY, ORIGIN)),
        (f"{name}: nothing is running", postgres.sql("select from berth.migration_run where status = 'running'", name), []),
        (f"{name}: no lease", postgres.sql("select from berth.migration_lease", name), []),
        (f"{name}: grants", postgres.sql(GRANTS, name), [["t", "t", "t", "t", "f", "f"]]),
        (f"{name}: authors", postgres.sql("select name, registered_by from berth.migration_check order by 1", name),
         [["empty", "postgres"], ["of app", "app"]]),
        (f"{name}: status", postgres.sql("select version, state from berth.migration_status()", name),
         [["1", "applied"], ["2", "failed"], ["5", "pending"]]))
    busy = postgres.sql("select version, state from berth.migration_status('tenant')", name)
    start = "select resume from berth.migration_start('5', scope => 'tenant', wait => '0s')"
    return add(result, check((f"{name}: a run that went on is not known", busy, [["2", "pending"]]),
                             (f"{name}: it goes on", went_on(postgres, name), [["t", "t", "2", "91", "1"]]),
                             (f"{name}: and starts anew", postgres.sql(start, name), [["f"]])))


def restore(place):
    """pg_dump into psql and pg_restore, pg_dumpall, and what they do with a database where others' event triggers are."""
    running = origin(place)
    with running:
        for name in ("by_psql", "by_restore", "with_triggers", "tables_only", "by_extension"):
            place.sql(f"drop database if exists {name} with (force)", "postgres")
            place.sql(f"create database {name}", "postgres")
        plain = tool(place, "pg_dump", ORIGIN)
        tool(place, "psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", "by_psql", stdin=plain)
        result = same(place, "by_psql")
        archive = place.directory / "archive"
        tool(place, "pg_dump", "-Fc", "-f", archive, ORIGIN)
        tool(place, "pg_restore", "--exit-on-error", "-j2", "-d", "by_restore", archive)
        result = add(result, same(place, "by_restore"))

        # Event triggers of somebody else log all that the restore does; ours stand at its end, and log nothing of it.
        place.sql("""create table noticed (tag text);
                     create function notice() returns event_trigger language plpgsql set search_path = public as
                       $$ begin insert into noticed values (tg_tag); end $$;
                     create event trigger others on ddl_command_end execute function notice()""", "with_triggers")
        tool(place, "psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", "with_triggers", stdin=plain)
        noticed = place.sql("select count(*) > 0 from noticed where tag = 'CREATE EXTENSION'", "with_triggers")
        result = add(result, add(check(("theirs see it", noticed, [["t"]])), same(place, "with_triggers")))

        # A database that has a log of its own takes nothing in, until the extension is dropped there.
        place.fresh("logging")
        place.sql("select berth.enable_ddl_log(); create table its_own (id int)", "logging")
        tool(place, "psql", "-q", "-d", "logging", stdin=plain, strict=False)
        collided = place.sql(HISTORY, "logging") != place.sql(HISTORY, ORIGIN)
        place.sql("drop extension pgberth cascade; drop extension pgtap; drop table orders", "logging")
        tool(place, "psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", "logging", stdin=plain)
        result = add(result, add(check(("rows of its own collide", collided, True)), same(place, "logging")))

        # Without data there is no history, and nothing is in the way of a new one.
        tool(place, "psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", "tables_only", stdin=tool(place, "pg_dump", "-s", ORIGIN))
        result = add(result, check(
            ("-s: no history", place.sql("select * from berth.migration_history", "tables_only"), []),
            ("-s: no plan", place.sql("select * from berth.migration_status(null)", "tables_only"), []),
            ("-s: grants", place.sql(GRANTS, "tables_only"), [["t", "t", "t", "t", "f", "f"]]),
            ("-s: it begins", went_on(place.postgres, "tables_only"), [["t", "t", "2", "91", "1"]])))

        # The schema alone is neither the extension nor its rows; with -e it is both of them, and nothing else.
        schema = tool(place, "pg_dump", "-n", "berth", ORIGIN)
        history = tool(place, "pg_dump", "-n", "berth", "-e", "pgberth", ORIGIN)
        tool(place, "psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", "by_extension", stdin=history)
        result = add(result, check(
            ("-n berth: no extension, no rows", (b"CREATE EXTENSION" in schema, b"COPY" in schema), (False, False)),
            ("-n berth -e pgberth: the history", place.sql(HISTORY, "by_extension"), place.sql(HISTORY, ORIGIN)),
            ("-n berth -e pgberth: it goes on", went_on(place.postgres, "by_extension"), [["t", "t", "2", "91", "0"]]),
            ("-n berth -e pgberth: nothing else", place.sql("select from pg_class where relname = 'orders'", "by_extension"), [])))
        result = add(result, whole_cluster(place))
    return add(result, copied(place))


def whole_cluster(place):
    """pg_dumpall, into another cluster."""
    others = [name for [name] in place.sql("select datname from pg_database where not datistemplate and datname <> 'origin'", "postgres")]
    dump = tool(place, "pg_dumpall", *(f"--exclude-database={name}" for name in others))
    other = clusters.Postgres()
    try:
        tool(place, "psql", "-q", "-d", "postgres", port=other.port, stdin=dump, strict=False)  # some roles are there already
        here, there = place.sql("select berth.cluster()", ORIGIN), other.sql("select berth.cluster()", ORIGIN)
        return add(same(place, ORIGIN, other), check(("another cluster", here != there, True)))
    finally:
        other.remove()


def copied(place):
    """A copy of files has the running row and its lease: neither is believed, and the next start resumes the run."""
    place.sql("drop database if exists copied with (force)", "postgres")
    place.sql(f"select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '{ORIGIN}'", "postgres")
    place.sql(f"create database copied template {ORIGIN}", "postgres")
    state = "select version, state, problem ~ '^it ran in another cluster' from berth.migration_status('tenant') where version = '5'"
    start = "select resume from berth.migration_start('5', scope => 'tenant', wait => '0s')"
    return check(
        ("the lease is there", place.sql("select count(*) from berth.migration_lease", "copied"), [["1"]]),
        ("it is not believed", place.sql(state, "copied"), [["5", "interrupted", "t"]]),
        ("nor by CI", place.sql("select berth.migration_exit_code('tenant')", "copied"), [["5"]]),
        ("nor by the view", place.sql("select version, interrupted from berth.migration_running", "copied"), [["5", "t"]]),
        ("the next start resumes it", place.sql(start, "copied"), [["t"]]))


SCENARIOS = (restore,)
