"""Stepwise migrations through a broker's transaction port and session port, by a role that is no superuser."""

from harness import system, wire

from migrators import ORDERS, PLACES, SCRIPT, STATE, failed, killed_at, psql, start_psql, value
from results import add, check, fail

CALL = "call berth.backfill({run}, 1, 'orders', 'times = times + 1', 'true', 'id', batch => 10, pause => '{pause}')"
MODES = ("transaction", "session")


class Ported:
    """A database behind a broker of its own, which is registered there."""

    def __init__(self, place, name):
        self.place, self.name, self.database = place, name, place.fresh(name)
        self.broker = place.start_broker(name, {name: f"host={place.postgres.sockets} port={place.postgres.port}"})
        place.register(name, database=name)
        self.sql("grant all on schema public to app; select berth.grant_access('app', 'runner')")
        place.postgres.sql(ORDERS, name, "app")

    def sql(self, text):
        return self.place.sql(text, self.database)

    def value(self, text):
        return self.sql(text)[0][0]

    def url(self, mode):
        return self.broker.url(mode, database=self.database, password="app")

    def connect(self, mode):
        port = self.broker.transaction_port if mode == "transaction" else self.broker.session_port
        return self.broker.connect(port, "app", self.database, "app")

    def expire(self):
        self.sql("update berth.migration_lease set expires_at = now() - interval '1s'")

    def close(self):
        self.place.leave()
        self.broker.stop()
        self.place.brokers.pop(self.name).remove()


def each_mode(scenario):
    """Through both ports, each with a database of its own."""
    def run(place):
        result = (0, 0)
        for mode in MODES:
            ported = Ported(place, f"{scenario.__name__}_{mode}")
            try:
                result = add(result, scenario(ported, mode))
            finally:
                ported.close()
        return result
    run.__name__, run.__doc__ = scenario.__name__, scenario.__doc__
    return run


@each_mode
def ports(ported, mode):
    """A script of all kinds of steps, whole, and killed at every place; the lease alone says that its client is gone."""
    result = (0, 0)
    for number in range(1, PLACES + 1):
        code, output = psql(ported.url(mode), killed_at(number, r"\! kill -9 $PPID"))
        result = add(result, (1, 0) if code == -9 else fail(f"{mode}, killed at {number}: {code} {output}"))
        if number == 1:
            [[via, client]] = ported.sql("select l.via_broker, r.broker_client from berth.migration_lease l "
                                         "join berth.migration_run r using (run_id)")
            code, output = psql(ported.url(mode), SCRIPT)
            result = add(result, check(("it came by a broker", (via, client.startswith(f"{ported.name} client ")), ("t", True)),
                                       ("its lease holds without it", (code, "MG006" in output), (3, True))))
        ported.expire()
    code, output = psql(ported.url(mode), SCRIPT)
    result = add(result, check(("it ends", (code, output.strip()), (0, ""))))
    have = ported.sql(STATE)
    database = ported.place.fresh("straight")
    ported.place.sql(ORDERS, database)
    psql(f"postgresql://postgres@127.0.0.1:{ported.place.postgres.port}/{database}", SCRIPT)
    return add(result, check(("as it does without a broker", have, ported.place.sql(STATE, database)),
                             ("it runs again", psql(ported.url(mode), SCRIPT)[0], 0), ("and changes nothing", ported.sql(STATE), have)))


@each_mode
def killed_behind(ported, mode):
    """The client of a backfill is killed. What its backend has committed is kept, and done once."""
    text = ("\\set ON_ERROR_STOP on\nSELECT run_id FROM berth.migration_start('1', wait => '0s') \\gset\n"
            "SELECT berth.migration_step_begin(:run_id, 1, 'fill') AS go \\gset\n\\if :go\n"
            + CALL.format(run=":run_id", pause="20ms") + ";\n\\endif\nSELECT berth.migration_finish(:run_id);\n")
    process = start_psql(ported.url(mode), text)
    rows_done = "select coalesce(max(rows_done), 0) from berth.migration_step"
    system.eventually(lambda: int(ported.value(rows_done)) >= 50, "some batches are done")
    process.kill()
    process.communicate()
    ported.sql("select pg_terminate_backend(pid, 10000) from pg_stat_activity where query like 'call berth.backfill%'")
    part = int(ported.value("select count(*) from orders where times = 1"))
    code, output = psql(ported.url(mode), text)
    result = check(("the journal says what the table says", ported.value("select rows_done from berth.migration_step"), str(part)),
                   ("it was in the middle", 50 <= part < 1000, True), ("the lease holds", (code, "is running: run" in output), (3, True)))
    ported.expire()
    code, output = psql(ported.url(mode), text.replace("20ms", "0"))
    return add(result, check(("it goes on", (code, output.strip()), (0, "")),
                             ("each row once", ported.sql("select times, count(*) from orders group by 1"), [["1", "1000"]])))


def moving(place):
    """On the transaction port the calls of a run come by several backends, because others take them in between."""
    ported = Ported(place, "moving")
    try:
        client, *others = (ported.connect("transaction") for _ in range(3))
        pids = set()

        def ask(text):
            """Others have the backend that was used last: of the two of the pool the call gets the other one."""
            last = ported.value("select coalesce(max(pid), 0) from berth.migration_run")
            [free] = [other for other in others if wire.rows(other.query("begin; select pg_backend_pid()")) != [[last]]][:1]
            free.query("commit")
            answer = client.query(text)
            for other in others:
                other.query("commit")
            pids.add(ported.value("select max(pid) from berth.migration_run"))
            assert not wire.errors(answer), failed(answer)
            return wire.rows(answer)

        [[run]] = ask("select run_id from berth.migration_start('1')")
        for step in range(1, 7):
            ask(f"select berth.migration_step_begin({run}, {step}, 'fill')")
            if step == 1:
                ask(CALL.format(run=run, pause="0"))
            else:
                ask(f"select berth.migration_step_end({run}, {step})")
        ask(f"select berth.migration_finish({run})")
        return check(("two backends", len(pids), 2),
                     ("one run", ported.sql("select status, attempt from berth.migration_run"), [["done", "1"]]),
                     ("each row once", ported.sql("select distinct times from orders"), [["1"]]))
    finally:
        ported.close()


SCENARIOS = (ports, killed_behind, moving)
