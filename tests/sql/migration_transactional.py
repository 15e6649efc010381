"""Migrations in transactional mode: migrate_once, migrate_undo, expect, baseline."""

import threading

from harness import system, wire

from results import add, check

MIGRATORS = 8


def transactional(place):
    """Every argument, error and record of the transactional mode."""
    return place.prove("migration_transactional.sql", database=place.fresh("transactional"))


def race(place):
    """Eight migrators of one version start at once: one applies it, seven see it applied."""
    database = place.fresh("race")
    place.sql("create table applied (by int)", database)
    verdicts, lock = [], threading.Lock()

    def migrate(number):
        with place.postgres.connect(database=database) as session:
            session.query("begin")
            answer = session.query("select berth.migrate_once('1', wait => '30s')")
            [[go]] = wire.rows(answer) or [[[e.sqlstate for e in wire.errors(answer)]]]
            if go == "t":
                session.query(f"create table only_once (i int); insert into applied values ({number})")
            session.query("commit")
            with lock:
                verdicts.append(go)

    threads = [threading.Thread(target=migrate, args=(number,)) for number in range(MIGRATORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return check(("one of eight applies", sorted(verdicts), ["f"] * (MIGRATORS - 1) + ["t"]),
                 ("its body ran once", place.sql("select count(*) from applied", database), [["1"]]),
                 ("one run", place.sql("select status, attempt from berth.migration_run", database), [["done", "1"]]))


def busy(place):
    """A migrator that does not end: others say who it is after their wait; a killed one leaves nothing."""
    database = place.fresh("busy")
    first = place.postgres.connect(database=database, application_name="first")
    first.query("begin; select berth.migrate_once('1')")
    with place.postgres.connect(database=database) as second:
        answer = second.query("begin; select berth.migrate_once('2', wait => '50ms')")
        [error] = wire.errors(answer)
        other = second.query("rollback; begin; select berth.migrate_once('1', scope => 'other', wait => '0s'); rollback")
    place.sql(f"select pg_terminate_backend({first.pid}, 10000)")
    first.close()
    result = check(("it says so", error.sqlstate, "MG006"),
                   ("and who", f"pid {first.pid}, postgres first" in error.fields["M"], True),
                   ("what to do", error.fields["H"], "Wait longer (wait =>), or try again later."),
                   ("another scope is free", wire.errors(other), []),
                   ("nothing is left", place.sql("select from berth.migration_run", database), []))
    with place.postgres.connect(database=database) as third:
        answer = third.query("begin; select berth.migrate_once('1', wait => '0s'); commit")
        return add(result, check(("it can be repeated", wire.rows(answer), [["t"]])))


def orphaned(place):
    """A lease that is out holds as long as its backend lives; who waits notices in the middle of the wait that it died."""
    database = place.fresh("orphaned")
    holder, waiter = (place.postgres.connect(database=database) for _ in range(2))
    place.sql("insert into berth.migration_lease select "
              "'default', gen_random_uuid(), null, 'holder', pid, backend_start, false, '1s', now(), "
              f"now(), now() - interval '1s' from pg_stat_activity where pid = {holder.pid}", database)
    waiter.send(wire.query("begin; select berth.migrate_once('1', wait => '20s'); commit"))
    system.eventually(lambda: place.sql(f"select from pg_stat_activity where pid = {waiter.pid} and wait_event = 'PgSleep'"), "it waits")
    place.sql(f"select pg_terminate_backend({holder.pid}, 10000)")
    answer = waiter.until("Z")
    for session in (holder, waiter):
        session.close()
    return check(("it got in", [wire.sqlstates(answer), wire.rows(answer)], [[], [["t"]]]))


SCENARIOS = (transactional, race, busy, orphaned)
