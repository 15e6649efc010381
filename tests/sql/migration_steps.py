"""Migrations in stepwise mode: runs, steps, leases, statements for \\gexec; clients that die, race and lose their run."""

import threading

from harness import system, wire

from migrators import ORDERS, PLACES, SCRIPT, STATE, failed, forsake, killed_at, psql, start_psql, url_of, value
from results import add, check, fail

MIGRATORS = 8
KILLERS = {"kill -9": (r"\! kill -9 $PPID", -9), "terminate": ("SELECT pg_terminate_backend(pg_backend_pid());", 2)}


def steps(place):
    """Every argument, error and record of the stepwise mode."""
    return place.prove("migration_steps.sql", database=place.fresh("steps"))


def killed_at_steps(place):
    """A script that is killed at every place, one after the other, comes to the same end as one that is not."""
    database = place.fresh("unharmed")
    place.sql(ORDERS, database)
    result = check(("it runs", psql(url_of(place, database), SCRIPT)[0], 0))
    want = place.sql(STATE, database)
    result = add(result, check(("it runs again", psql(url_of(place, database), SCRIPT)[0], 0),
                               ("and changes nothing", place.sql(STATE, database), want)))
    for name, (killer, status) in KILLERS.items():
        database = place.fresh("harmed")
        place.sql(ORDERS, database)
        for number in range(1, PLACES + 1):
            code, output = psql(url_of(place, database), killed_at(number, killer))
            result = add(result, (1, 0) if code == status else fail(f"{name} at {number}: {code} {output}"))
            forsake(place, database)
        result = add(result, check((f"{name}: it ends", psql(url_of(place, database), SCRIPT)[0], 0),
                                   (f"{name}: in the same way", place.sql(STATE, database), want)))
    return result


def killed_in_index(place):
    """The client of a concurrent build is killed: its backend builds on and is not disturbed; killed itself, it leaves an invalid
    index, which is built anew."""
    database = place.fresh("building")
    place.sql(ORDERS, database)
    holder = place.postgres.connect(database=database)
    building = "select pid from pg_stat_activity where query like '/* berth run % CREATE INDEX%' and wait_event_type = 'Lock'"
    # What the build waits for: a transaction that has written to the table.
    script = SCRIPT.replace("SELECT * FROM berth.index_sql", "\\! kill -9 $PPID\nSELECT * FROM berth.index_sql", 1)
    psql(url_of(place, database), script)
    forsake(place, database)
    holder.query("begin; update orders set times = times where id = 1")
    process = start_psql(url_of(place, database), SCRIPT)
    [[builder]] = system.eventually(lambda: place.sql(building, database), "the build waits")
    process.kill()
    process.communicate()
    place.sql("update berth.migration_lease set expires_at = now() - interval '1s', via_broker = true", database)
    with place.postgres.connect(database=database) as other:
        busy = other.query("select berth.migration_start('0001', wait => '0s')")
        result = check(("a backend that builds keeps the lease", failed(busy)[0][0], "MG006"),
                       ("and its index", failed(other.query("select berth.index_sql('orders', 'orders_note_idx', '(note)')")),
                        [("55006", f"index orders_note_idx is being built by pid {builder}")]))
    place.sql(f"select pg_terminate_backend({builder}, 10000)", database)
    valid = "select indisvalid from pg_index where indexrelid = 'orders_note_idx'::regclass"
    result = add(result, check(("an invalid index is left", place.sql(valid, database), [["f"]])))
    holder.query("rollback")
    holder.close()
    code, output = psql(url_of(place, database), SCRIPT)
    return add(result, check(("the script goes on", (code, output), (0, output)),
                             ("the index is valid", place.sql(valid, database), [["t"]]),
                             ("the runs", place.sql("select status, outcome, failed_step from berth.migration_run order by 1", database),
                              [["done", None, None], ["resolved", "retry", "2"], ["resolved", "retry", "2"]])))


def starters(place):
    """Eight starters at once: one gets the run, the others are told who has it."""
    database = place.fresh("starters")
    answers, lock = [], threading.Lock()
    ready = threading.Barrier(MIGRATORS)

    def start():
        with place.postgres.connect(database=database) as session:
            ready.wait()
            answer = session.query("select run_id from berth.migration_start('1', wait => '0s')")
            with lock:
                answers.append([e.sqlstate for e in wire.errors(answer)] or wire.rows(answer)[0])
            ready.wait()

    threads = [threading.Thread(target=start) for _ in range(MIGRATORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return check(("one of eight", sorted(answers), [["1"]] + [["MG006"]] * (MIGRATORS - 1)),
                 ("one run", place.sql("select count(*) from berth.migration_run", database), [["1"]]))


def taken_over(place):
    """A lease behind a broker that has ended is taken by another starter; the former one's calls are refused from then on."""
    database = place.fresh("taken")
    place.sql("create table t (k int primary key, v int)", database)
    first, second = (place.postgres.connect(database=database, application_name=name) for name in ("first", "second"))
    [[run, token]] = wire.rows(first.query("select run_id, token from berth.migration_start('1')"))
    place.sql("update berth.migration_lease set expires_at = now() - interval '1s'", database)
    busy = second.query("select berth.migration_start('1', wait => '0s')")
    result = check(("a client that lives keeps its lease", failed(busy)[0][0], "MG006"),
                   ("it is named", "postgres first" in failed(busy)[0][1], True))
    # Renewed by a second connection, it counts as one behind a pooler: the life of a backend tells nothing.
    place.sql(f"select berth.migration_step_begin({run}, 1, 'by a third')", database)
    seen = "select l.via_broker, l.pid = r.pid from berth.migration_lease l join berth.migration_run r using (run_id)"
    result = add(result, check(("a call by another backend", place.sql(seen, database), [["t", "t"]])))
    place.sql("update berth.migration_lease set expires_at = now() - interval '1s'", database)
    [[taken, resume]] = wire.rows(second.query("select run_id, resume from berth.migration_start('1', wait => '0s')"))
    lost = [("MG007", f"lease of run {run} was lost")]
    return add(result, check(
        ("another one resumes it", (taken != run, resume), (True, "t")),
        *((call, failed(first.query("select berth." + call)), lost) for call in (
            f"migration_step_begin({run}, 2, 'x')", f"migration_step_end({run}, 1)", f"migration_step_fail({run}, 1, 'a', 'b')",
            f"migration_finish({run})", f"migration_fail({run}, 'a', 'b')", f"index_sql('t', 'i', '(v)', run => {run})")),
        ("heartbeat", failed(first.query(f"select berth.migration_heartbeat('{token}')")), [("MG007", f"lease {token} was lost")]),
        ("backfill", failed(first.query(f"call berth.backfill({run}, 1, 't', 'v = 1', 'true', 'k')")), lost),
        ("the new one goes on", failed(second.query(f"select berth.migration_step_begin({taken}, 1, 'by a third')")), [])))


def waiting(place):
    """A starter that waits gets the run when the other one ends."""
    database = place.fresh("waiting")
    first, second = (place.postgres.connect(database=database) for _ in range(2))
    [[run]] = wire.rows(first.query("select run_id from berth.migration_start('1')"))
    second.send(wire.query("select run_id from berth.migration_start('1', wait => '1min')"))
    waits = f"select from pg_stat_activity where pid = {second.pid} and wait_event = 'PgSleep'"
    system.eventually(lambda: place.sql(waits, database), "it waits")
    result = check(("who waits is not in the way", failed(first.query(f"select berth.migration_finish({run})")), []),
                   ("it sees the version applied", wire.rows(second.until("Z")), [["0"]]))
    # A lease that is over: what is at work in a transaction is not disturbed by who comes back late.
    [[run]] = wire.rows(first.query("select run_id from berth.migration_start('2')"))
    place.sql("update berth.migration_lease set expires_at = now() - interval '1s', via_broker = true", database)
    second.query("begin; select berth.migrate_once('2')")
    [(code, message)] = failed(first.query(f"select berth.migration_step_begin({run}, 1, 'late')"))
    result = add(result, check(("who comes back late", (code, f"pid {second.pid}" in message), ("MG006", True))))
    second.query("commit")
    [(code, _)] = failed(first.query(f"select berth.migration_step_begin({run}, 1, 'late')"))
    result = add(result, check(("and finds its run replaced", code, "MG007")))
    # A build of an index waits for the snapshots of others, and so for whoever waits for its run: that one gives up.
    [[run]] = wire.rows(first.query("select run_id from berth.migration_start('3')"))
    first.query("create table built (id int)")
    second.send(wire.query("do $$ begin perform berth.migrate_once('4', wait => '10min'); end $$"))
    system.eventually(lambda: place.sql(waits, database), "it waits")
    built = failed(first.query("create index concurrently built_id on built (id)"))
    [error] = wire.errors(second.until("Z"))
    why = "Try again later: the build of an index waits for this transaction to end."
    return add(result, check(("it is built", built, []), ("who waited gave up", error.sqlstate, "MG006"),
                             ("and is told why", error.fields["H"], why)))


SCENARIOS = (steps, killed_at_steps, killed_in_index, starters, taken_over, waiting)
