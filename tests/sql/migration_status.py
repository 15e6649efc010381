"""Status of migrations: what is applied, pending, running, and whether an application may start."""

from pathlib import Path

from harness import system, wire

from results import add, check
from status_dice import compare

MANY = 10000


def status(place):
    """Each state and problem, the exit code, assert_ready, the plan, the views, and who may ask."""
    return place.prove("migration_status.sql", database=place.fresh("status"))


def processor_ms(pid):
    """How long a process has been on a processor: what a busy machine lets it wait for does not count."""
    return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) / 1e6


def many(place):
    """Ten thousand versions, planned and applied."""
    database = place.fresh("many")
    place.sql(f"""insert into berth.migration_run (scope, version, direction, mode, status, attempt, started_at, finished_at, usename,
                                                   role_name, pid, cluster)
                    select 'default', to_char(g, 'FM00000'), 'apply', 'tx', 'done', 1, now(), now(), 'x', 'x', 1, berth.cluster()
                      from generate_series(1, {MANY}) g;
                  insert into berth.migration (scope, version, kind, checksum, checksum_algo, state, applied_at, applied_by, last_run)
                    select scope, version, 'versioned', 'x:' || run_id, 'x', 'applied', now(), 'x', run_id from berth.migration_run;
                  insert into berth.migration_plan (version, checksum) select version, checksum from berth.migration;
                  analyze""", database)
    with place.postgres.connect(database=database) as session:
        for statement in ("select count(*) from berth.migration_status()", "select berth.migration_exit_code()",
                          "select berth.assert_ready('10000', '10000', app => '1')"):
            times = []
            for _ in range(5):
                started = processor_ms(session.pid)
                session.query(statement)
                times.append(processor_ms(session.pid) - started)
            print(f"  {MANY} versions: {min(times):5.1f} ms of a processor  {statement}")
    return place.prove("migration_many.sql", database=database)


def running(place):
    """What goes on: a transaction by its lock, a concurrent index build by its comment; who is in the way, behind a broker too."""
    database = place.fresh("running")
    broker = place.start_broker("running", {database: f"host={place.postgres.sockets} port={place.postgres.port}"})
    place.register("running", database=database)
    place.sql("create table orders (id int); insert into orders values (1); grant all on orders to app;"
              "select berth.grant_access('app3', 'read')", database)
    [[run]] = place.sql("""insert into berth.migration_run (scope, version, direction, mode, status, attempt, started_at, usename,
                                                            role_name, pid, cluster)
                             values ('steps', '7', 'apply', 'step', 'running', 1, now(), 'postgres', 'postgres', 0, berth.cluster())
                             returning run_id""", database)
    place.sql(f"""insert into berth.migration_step (run_id, step_no, label, kind, status) values ({run}, 1, 'index', 'index', 'running');
                  insert into berth.migration_lease values ('steps', gen_random_uuid(), {run}, 'x', 0, now(), true, '1s', now(), now(),
                                                            now() - interval '1min')""", database)
    dead = place.sql("select interrupted, pid, step_label from berth.migration_running", database)
    builder, migrator = (place.postgres.connect(database=database, application_name=name) for name in ("builder", "migrator"))
    with broker.connect(broker.transaction_port, "app", database, "app") as holder, builder, migrator:
        [[blocking]] = wire.rows(holder.query("begin; update orders set id = 2; select pg_backend_pid()"))
        builder.send(wire.query(f"create index concurrently i /* berth run {run} step 1 */ on orders (id)"))
        system.eventually(lambda: place.sql(f"select from pg_locks where pid = {builder.pid} and not granted", database), "it waits")
        seen = place.sql("""select interrupted, pid, step_no, command, phase, current_locker_pid, blocked_by, wait_event_type,
                                   blockers ~ '^pid \\d+ app.*, idle in transaction for .*, running client \\d+'
                              from berth.migration_running""", database)
        index = place.sql("select index_name, building_pid, remedy from berth.invalid_index", database)
        masked = place.sql("set role app3; select pid, query from berth.migration_running", database)[-1:]
        code = place.sql("select berth.migration_exit_code('steps') & 2", database)
        migrator.query("begin; select berth.migrate_once('1')")
        locked = place.sql(f"""select run_id, scope, version, mode, pid, state, interrupted
                                 from berth.migration_running where pid = {migrator.pid}""", database)
        busy = place.sql("select berth.migration_exit_code() & 2, berth.migration_exit_code('other') & 2", database)
        migrator.query("rollback")
        holder.query("commit")
        builder.until("Z")
    building = ["f", str(builder.pid), "1", "CREATE INDEX CONCURRENTLY", "waiting for writers before build", blocking]
    return check(
        ("nobody is at it", dead, [["t", "0", "index"]]),
        ("a backend that says whose it is", seen, [[*building, "{%s}" % blocking, "Lock", "t"]]),
        ("its index", index, [["i", str(builder.pid), "wait: it is being built"]]),
        ("a reader sees no text", masked, [[str(builder.pid), "<insufficient privilege>"]]),
        ("it is running", code, [["2"]]),
        ("a transaction", locked, [[None, "default", None, "tx", str(migrator.pid), "idle in transaction", "f"]]),
        ("is running, too", busy, [["2", "0"]]))


def strays(place):
    """A log of DDL that belongs to no migration, of many objects, as a program makes it that adds a partition now and then: each is not
    looked for in all of the log. (That took minutes.) One table of a migration is among them, and a function with a very long name."""
    database = place.fresh("strays")
    place.sql("do $$ begin perform berth.migrate_once('1'); end $$", database)
    place.sql("""insert into berth.ddl_log (at, pid, usename, run_id, event, tag, object_type, identity)
                   select now(), 1, 'x', case when g % 50 = 0 then 1 end, 'ddl_command_end', 'CREATE TABLE', 'table',
                          case g when 100000 then 'public.' || (select string_agg(md5(i::text), '') from generate_series(1, 200) i)
                                 else 'public.part_' || g % 20000 end
                     from generate_series(1, 100000) g;
                 insert into berth.ddl_log (at, pid, usename, event, tag, object_type, identity)
                   select '2026-01-01', 1, 'x', 'ddl_command_end', 'ALTER TABLE', 'table', 'public.part_50'""", database)
    with place.postgres.connect(database=database) as session:
        answer = session.query("set timezone = 'UTC'; select problem from berth.migration_status()")
        want = "public.part_50 was changed outside of migrations at 2026-01-01 00:00:00+00 by x"
        return check(("it is found", wire.rows(answer), [[want]]))


def dice(place):
    """Random histories: what the function says is what the same rules say when each version is judged by itself."""
    database = place.fresh("dice")
    return check(*((f"history {seed}", compare(place, database, seed), None) for seed in range(1, 13)))


SCENARIOS = (status, many, strays, dice, running)
