"""Repair of migrations: migration_resolve, the plan, export and import."""

import re

from harness import system, wire

from results import check


def resolve(place):
    """Each outcome, what it leaves and refuses; what HINTs say is pasted; export and import."""
    return place.prove("migration_resolve.sql", database=place.fresh("resolve"))


def pasted(answer):
    """The error's code, and the statement that its HINT spells out."""
    [error] = wire.errors(answer)
    return error.sqlstate, re.search(r"SELECT [a-z_.]+\(.*?\)(?=[,. ])", error.fields["H"] + " ")[0]


def alive(place):
    """A run whose client lives is not resolved; what the HINTs say ends it, and then it is."""
    database = place.fresh("alive")
    gone = lambda session: system.eventually(
        lambda: place.sql(f"select from pg_stat_activity where pid = {session.pid}", database) == [], "its backend is gone")
    start = "select run_id, resume from berth.migration_start('1', wait => '0s', lease => '1 day')"
    ask, first, second = (place.postgres.connect(database=database, application_name=name) for name in ("ask", "first", "second"))
    with ask, first, second:
        [[run, resume]] = wire.rows(first.query(start))
        for call in ("begin({}, 1, 'first')", "end({}, 1)", "begin({}, 2, 'second')"):
            first.query("select berth.migration_step_" + call.format(run))
        held, remedy = pasted(ask.query(f"select berth.migration_resolve({run}, 'retry', 'why')"))
        ended = wire.rows(ask.query(remedy))
        gone(first)
        # Its lease has not expired: the next one has to wait for it, unless somebody says that it is dead.
        busy, says = pasted(ask.query(start))
        retried = ask.query(says)
        [[again, resumed]] = wire.rows(second.query(start))
        steps = place.sql(f"select step_no, status from berth.migration_step where run_id = {again} order by 1", database)
        # Through a broker the life of a backend tells nothing: only the time does.
        second.terminate()
        gone(second)
        place.sql("update berth.migration_lease set via_broker = true, expires_at = clock_timestamp() + '4s'", database)
        brokered, sleep = pasted(ask.query(f"select berth.migration_resolve({again}, 'reverted', 'why')"))
        ask.query(sleep)
        done = ask.query(f"select berth.migration_resolve({again}, 'reverted', 'why')")
    return check(
        ("it begins", resume, "f"), ("it lives", held, "MG006"),
        ("so end it", (remedy, ended), (f"SELECT pg_terminate_backend({first.pid}, 5000)", [["t"]])),
        ("others have to wait", (busy, says), ("MG006", f"SELECT berth.migration_resolve({run}, 'retry', 'why')")),
        ("it is said to be dead", wire.errors(retried), []),
        ("the next one resumes it", (resumed, steps), ("t", [["1", "done"], ["2", "pending"]])),
        ("through a broker", (brokered, sleep[:23]), ("MG006", "SELECT pg_sleep_until('")),
        ("its time ends it", wire.errors(done), []),
        ("all is closed", place.sql("select distinct status from berth.migration_run", database), [["resolved"]]),
        ("it is pending", place.sql("select state from berth.migration_status()", database), [["pending"]]))


SCENARIOS = (resolve, alive)
