"""berth.backfill() between real sessions: killed, in the way of others, and with others in its way."""

import signal

from harness import system, wire

from migrators import failed, forsake, psql, start_psql, url_of, value
from results import add, check

ROWS = 300
TABLE = (f"create table t (k int primary key, v int, times int default 0); insert into t select g from generate_series(1, {ROWS}) g")
CALL = "call berth.backfill({run}, 1, 't', 'v = k, times = times + 1', 'true', 'k', batch => {batch}, pause => '{pause}'{more})"
SCRIPT = r"""
\set ON_ERROR_STOP on
SELECT run_id FROM berth.migration_start('1', wait => '0s') \gset
SELECT berth.migration_step_begin(:run_id, 1, 'fill') AS go \gset
\if :go
CALL berth.backfill(:run_id, 1, 't', 'v = k, times = times + 1', 'true', 'k', batch => 10, pause => :'pause');
\endif
SELECT berth.migration_finish(:run_id);
"""


def backfill(place):
    """Arguments, keys, batches, the second pass, replicas that lag, errors."""
    return place.prove("migration_backfill.sql", database=place.fresh("backfill"))


def begin(place, database, session, batch=10, pause="0", more=""):
    """Starts a run on this session and sends its backfill, which is not waited for; the number of the run."""
    [[run]] = wire.rows(session.query("select run_id from berth.migration_start('1')"))
    session.query(f"select berth.migration_step_begin({run}, 1, 'fill')")
    session.send(wire.query(CALL.format(run=run, batch=batch, pause=pause, more=more)))
    return run


def done(place, database):
    return int(value(place, database, "select coalesce(max(rows_done), 0) from berth.migration_step"))


def killed_in_backfill(place):
    """Clients and backends are killed at several places of it. Its condition never becomes false, so that a row that were done
    again would show it: each one is done once."""
    database = place.fresh("filling")
    place.sql(TABLE, database)
    url, result = url_of(place, database), (0, 0)
    working = ("select pid from pg_stat_activity where query like 'CALL berth.backfill%' and state = 'active' "
               "and datname = current_database()")
    for target in (10, 90, 150):
        process = start_psql(url, SCRIPT, pause="150ms")  # long enough to be met at work on a machine that is busy
        system.eventually(lambda: done(place, database) >= target, "some batches are done")
        process.kill()
        process.communicate()
        [[backend]] = place.sql(working, database)
        if target == 90:  # a backend of a client that is dead works on, and nobody takes its place
            code, output = psql(url, SCRIPT, pause="0")
            told = (code, "is running: run" in output, f"pid {backend}," in output)
            result = add(result, check(("the dead client's backend works on", told, (3, True, True))))
        place.sql(f"select pg_terminate_backend({backend}, 10000)", database)
        result = add(result, check(("the journal says what the table says", str(done(place, database)),
                                    value(place, database, "select count(v) from t"))))
        forsake(place, database)
    code, output = psql(url, SCRIPT, pause="0")
    return add(result, check(
        ("it is resumed", (code, output), (0, output)),
        ("each row once", place.sql("select distinct times, v = k from t", database), [["1", "t"]]),
        ("all of them", place.sql("select status, rows_done, rows_total, cursor_value from berth.migration_step "
                                  "order by run_id desc limit 1", database), [["done", str(ROWS), str(ROWS), str(ROWS)]]),
        ("four attempts", place.sql("select count(*), max(attempt) from berth.migration_run", database), [["4", "4"]])))


def contended(place):
    """A row that others hold: tried again for a while, then 55P03 with what is done kept; a deadlock; other errors at once."""
    database = place.fresh("contended")
    place.sql(TABLE, database)
    holder, filler = (place.postgres.connect(database=database) for _ in range(2))
    holder.query("begin; update t set times = times where k = 25")
    run = begin(place, database, filler, more=", attempt_timeout => '1ms'")
    [error] = wire.errors(filler.until("Z"))
    result = check(("a lock that stays", error.sqlstate, "55P03"),
                   ("how far it came", error.fields["D"], "What is done is committed, up to key 20; attempt 10."),
                   ("and what to do", error.fields["H"], "Run the script again: it goes on where it stopped."),
                   ("is kept", place.sql("select status, sqlstate, rows_done, cursor_value from berth.migration_step", database),
                    [["failed", "55P03", "20", "20"]]))

    # It waits for the row, in attempts of which each gives up its locks.
    place.sql("update berth.migration_lease set ttl = '1s', via_broker = true", database)
    filler.query(f"select berth.migration_step_begin({run}, 1, 'fill')")
    filler.send(wire.query(CALL.format(run=run, batch=10, pause="0", more=", attempt_timeout => '30s'")))
    waits = f"from pg_stat_activity where pid = {filler.pid} and wait_event_type = 'Lock'"
    system.eventually(lambda: place.sql(f"select {waits}", database), "it waits")
    # Its lease is used at this moment, so nobody takes it even if its time is over.
    over = "select from berth.migration_lease l where expires_at < clock_timestamp() and not berth.lease_is_live(l)"
    system.eventually(lambda: place.sql(over, database), "its time is over")
    with place.postgres.connect(database=database) as other:
        [(code, message)] = failed(other.query("select berth.migration_lock(wait => '50ms')"))
    result = add(result, check(("its lease is in use", (code, f"is running: run {run}, " in message), ("MG006", True))))
    holder.query("commit")
    result = add(result, check(("the lock is free", failed(filler.until("Z")), []),
                               ("each row once", place.sql("select distinct times from t", database), [["1"]])))

    # A deadlock: its batch has row 11 and waits for 15; the holder of 15 wants 11. Whose check comes first gives in.
    place.sql("update t set times = 0", database)
    filler.query("set deadlock_timeout = '3s'")
    holder.query("set deadlock_timeout = '20s'; begin; update t set times = times where k = 15")
    filler.query(f"select berth.migration_step_begin({run}, 2, 'again')")
    filler.send(wire.query(CALL.format(run=run, batch=10, pause="0", more=", attempt_timeout => '1min'").replace(", 1, 't'", ", 2, 't'")))
    system.eventually(lambda: place.sql(f"select {waits}", database), "it waits again")
    holder.send(wire.query("update t set times = times where k = 11"))
    result = add(result, check(("the holder goes on", failed(holder.until("Z")), [])))
    holder.query("commit")
    result = add(result, check(("it is tried again", failed(filler.until("Z")), []),
                               ("each row once, after a deadlock", place.sql("select distinct times from t", database), [["1"]])))
    deadlocks = f"select from pg_stat_database where datname = '{database}' and deadlocks = 1"
    system.eventually(lambda: place.sql(deadlocks), "there was a deadlock")
    return result


def doubled(place):
    """A client that lost its connection calls again while its first call goes on: one of the two goes on, no row is done twice."""
    database = place.fresh("doubled")
    place.sql(TABLE, database)
    first, second = (place.postgres.connect(database=database) for _ in range(2))
    run = begin(place, database, first, pause="20ms")
    system.eventually(lambda: done(place, database) >= 10, "the first batch is done")
    second.send(wire.query(CALL.format(run=run, batch=10, pause="20ms", more="")))
    errors = failed(first.until("Z")) + failed(second.until("Z"))
    return check(("one of them is refused", errors, [("55006", f"step 1 of run {run} is done by another call")]),
                 ("each row once", place.sql("select times, count(*) from t group by 1", database), [["1", str(ROWS)]]),
                 ("the step is done", place.sql("select status, rows_done from berth.migration_step", database), [["done", str(ROWS)]]))


def paused(place):
    """In a pause there is no transaction: others build indexes concurrently. Who takes the run then stops it."""
    database = place.fresh("paused")
    place.sql(TABLE, database)
    filler, other = (place.postgres.connect(database=database) for _ in range(2))
    run = begin(place, database, filler, pause="1h")
    system.eventually(lambda: done(place, database) == 10, "the first batch is done")
    result = check(("an index", failed(other.query("create index concurrently on t (v)")), []),
                   ("vacuum", failed(other.query("vacuum t")), []),
                   ("it goes on", value(place, database, "select status from berth.migration_step"), "running"))
    renewed_at = lambda: value(place, database, "select renewed_at from berth.migration_lease")
    renewed = renewed_at()
    system.eventually(lambda: renewed_at() != renewed, "the lease is renewed in a pause")

    def taken():
        place.sql("update berth.migration_lease set expires_at = now() - interval '1s', via_broker = true", database)
        return wire.rows(other.query("select run_id from berth.migration_start('1', wait => '0s')"))
    [[taker]] = system.eventually(taken, "the run is taken")
    return add(result, check(("the former one stops", failed(filler.until("Z")), [("MG007", f"lease of run {run} was lost")]),
                             ("its rows are taken over", place.sql("select rows_done, cursor_value from berth.migration_step "
                                                                   f"where run_id = {taker}", database), [["10", "10"]])))


def lagging(place):
    """A replica that applies late: the backfill waits, and says MG021 in the end."""
    database = place.fresh("lagging")
    place.sql(TABLE, database)
    data, port = place.directory / "late", system.free_port()
    connect = ["-h", place.postgres.sockets, "-p", place.postgres.port, "-U", "postgres"]
    system.run_checked([system.PG_BIN / "pg_basebackup", *connect, "-D", data, "-R", "-X", "stream", "-c", "fast", "--no-sync"])
    server = system.spawn([system.PG_BIN / "postgres", "-D", data, "-p", str(port), "-k", str(place.directory), "-c",
                           "recovery_min_apply_delay=2s", "-c", "wal_receiver_status_interval=1s"], place.directory / "late.log")
    try:
        system.eventually(lambda: place.sql("select from pg_stat_replication where state = 'streaming'"), "the replica streams", timeout=60)
        place.sql("create table noise (i int)", database)
        lags = "insert into noise values (1); select from pg_stat_replication where replay_lag > '1s'"
        system.eventually(lambda: place.sql(lags, database), "it lags", timeout=60)
        with place.postgres.connect(database=database) as filler:
            begin(place, database, filler, more=", max_lag => '1ms', lag_wait => '0'")
            [(code, message)] = failed(filler.until("Z"))
            return check(("MG021", (code, message.startswith("backfill stopped: replica lag 00:00:0")), ("MG021", True)),
                         ("a reader sees it, too", place.sql("select berth.replay_lag() > '1s'", database, "postgres"), [["t"]]))
    finally:
        server.send_signal(signal.SIGQUIT)
        server.wait(30)


SCENARIOS = (backfill, killed_in_backfill, contended, doubled, paused, lagging)
