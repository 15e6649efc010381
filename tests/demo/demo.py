"""The demo: `make demo` (run), `make demo-up` (up), `make demo-down` (down).

Every step runs the real programs and checks what came out; the first one that is not as it should be ends the demo with
its reason and exit status 1. Whatever happens, `run` leaves no process and no file outside build/ behind.
"""

import contextlib
import csv
import fcntl
import io
import os
import re
import signal
import subprocess
import sys
import time

from migrations import CLIENTS as MIGRATION_CLIENTS
from migrations import Migrations
from place import PG_BIN, ROOT, DemoError, Place, clean_environment

CLIENTS = 500
BACKENDS = 20
POOL_COLUMNS = ("database", "user", "cl_active", "cl_waiting", "sv_active", "sv_idle", "sv_login", "maxwait")


def say(text=""):
    print(text, flush=True)


def heading(text):
    say(f"\n\033[1m== {text}\033[0m" if sys.stdout.isatty() else f"\n== {text}")


def require(condition, text):
    if not condition:
        raise DemoError(text)


def table(rows, right=()):
    """Prints rows (the first is the head) in columns; those whose index is in `right` are flush right."""
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = [str(cell).rjust(width) if i in right else str(cell).ljust(width)
                 for i, (cell, width) in enumerate(zip(row, widths))]
        say("   " + "  ".join(cells).rstrip())
        if number == 0:
            say("   " + "  ".join("-" * width for width in widths))


class Demo:
    """The steps, in the order in which they are shown."""

    def __init__(self, place):
        self.place = place

    # Programs --------------------------------------------------------------------------------------------------------

    def url(self, port, database="app", user="app"):
        return f"postgresql://{user}:{self.place.passwords[user]}@127.0.0.1:{self.place.ports[port]}/{database}"

    def psql(self, url, *commands, options=("-XAtq",)):
        arguments = [f"{PG_BIN}/psql", *options, "-v", "ON_ERROR_STOP=1", "-d", url]
        for command in commands:
            arguments += ["-c", command]
        done = subprocess.run(arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                              env=clean_environment(), check=False)
        require(done.returncode == 0, f"psql ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout.strip()

    def pools(self):
        """SHOW POOLS for the pool of database app, as a dictionary; all zero while there is none."""
        text = self.psql(self.url("transaction", "pgbouncer", "dba"), "SHOW POOLS", options=("-X", "-q", "--csv"))
        for row in csv.DictReader(io.StringIO(text)):
            if (row["database"], row["user"]) == ("app", "app"):
                return row
        return {**dict.fromkeys(POOL_COLUMNS, "0"), "database": "app", "user": "app"}

    def pgbench_start(self, target, *options):
        """Starts pgbench; `target` is a connection string of the broker, or a socket directory of PostgreSQL."""
        environment = clean_environment(PGPASSWORD=self.place.passwords["app"])
        return subprocess.Popen([f"{PG_BIN}/pgbench", "-n", *options, target], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
                                cwd="/", **(self.place.owned() if "host=/" in target else {}))

    def pgbench_result(self, process, expected_clients):
        """Waits for pgbench and checks that no client had an error; (transactions per second, transactions)."""
        try:
            out, err = process.communicate(timeout=90)
        except subprocess.TimeoutExpired:
            process.kill()
            raise DemoError("pgbench did not end within 90 seconds") from None
        trouble = [line for line in err.splitlines() if re.search(r"error|fatal|abort|could not|fail", line, re.I)]
        require(process.returncode == 0 and not trouble,
                f"pgbench ended with {process.returncode}: " + "\n".join(trouble[:5] or err.splitlines()[-5:]))
        count = re.search(r"actually processed: (\d+)", out)
        failed = re.search(r"failed transactions: (\d+)", out)
        clients = re.search(r"number of clients: (\d+)", out)
        tps = re.search(r"tps = ([\d.]+)", out)
        require(all((count, failed, clients, tps)), f"pgbench printed no result:\n{out}")
        require(int(failed[1]) == 0, f"pgbench counted {failed[1]} failed transactions")
        require(int(clients[1]) == expected_clients, f"pgbench ran {clients[1]} clients, not {expected_clients}")
        require(int(count[1]) >= expected_clients, f"pgbench processed only {count[1]} transactions")
        return float(tps[1]), int(count[1])

    def pgbench(self, target, clients, *options):
        return self.pgbench_result(self.pgbench_start(target, "-c", str(clients), *options), clients)

    def straight(self):
        return f"host={self.place.pg_sockets} port=5432 dbname=app user=app"

    # Steps -----------------------------------------------------------------------------------------------------------

    def start(self):
        binary = os.environ.get("PGBERTH", os.path.join(ROOT, "build", "pgberth"))
        heading("A private PostgreSQL, reachable by its Unix socket only")
        self.place.make_directory()
        self.place.start_postgres()
        self.place.create_database()
        say(f"   {self.place.superuser_sql('SELECT version()').split(' on ')[0]} in {self.place.dir}")
        heading("The broker in front of it: transactions on one port, sessions on another")
        self.place.choose_ports(say)
        self.place.start_broker(binary)
        say(f"   pgberth (process {self.place.broker_pid}): transaction port {self.place.ports['transaction']}, "
            f"session port {self.place.ports['session']}, at most {BACKENDS} backends")

    def psql_through_both(self):
        heading("psql through both ports")
        for port in ("transaction", "session"):
            answer = self.psql(self.url(port), "BEGIN", "SELECT 'hello from backend ' || pg_backend_pid()", "COMMIT")
            require(re.fullmatch(r"hello from backend \d+", answer), f"unexpected answer: {answer}")
            say(f"   {port:<12} {answer}")
        kept = self.psql(self.url("session"), "SET work_mem = '5678kB'", "SHOW work_mem")
        require(kept == "5678kB", f"the session port lost a setting: {kept}")
        fresh = self.psql(self.url("session"), "SHOW work_mem")
        require(fresh == "4MB", f"a setting of one session came to another: {fresh}")
        say("   A setting lives as long as its session, and the next session does not see it.")

    def load_through_both(self):
        heading("pgbench -S through both ports, 8 clients, three protocols")
        started = self.pgbench_start(self.url("session"), "-i", "-q", "-s", "5")
        _, err = started.communicate(timeout=60)
        require(started.returncode == 0, f"pgbench -i ended with {started.returncode}: {err}")
        rows = self.psql(self.url("session"), "SELECT count(*) FROM pgbench_accounts")
        require(rows == "500000", f"pgbench -i left {rows} rows")
        results = [("protocol", "transaction port", "session port")]
        for protocol in ("simple", "extended", "prepared"):
            speeds = [self.pgbench(self.url(port), 8, "-S", "-M", protocol, "-j", "2", "-T", "2")[0]
                      for port in ("transaction", "session")]
            results.append((protocol, *(f"{speed:,.0f}/s" for speed in speeds)))
        table(results, right=(1, 2))

    def storm(self):
        heading(f"{CLIENTS} clients on {BACKENDS} backends")
        rows = [("", *POOL_COLUMNS)]
        before = self.pools()
        rows.append(("before", *(before[name] for name in POOL_COLUMNS)))
        # On a machine with other work SHOW POOLS may not get its turn within the first few seconds.
        for seconds in ("8", "30"):
            process = self.pgbench_start(self.url("transaction"), "-S", "-M", "prepared", "-c", str(CLIENTS), "-j", "4",
                                         "-T", seconds)
            try:
                during, backends = self.watch_storm(process)
            except BaseException:
                process.kill()
                process.communicate()
                raise
            speed, count = self.pgbench_result(process, CLIENTS)
            seen = int(during["cl_active"]) + int(during["cl_waiting"])
            if seen >= CLIENTS:
                break
        after = self.pools()
        deadline = time.monotonic() + 5
        while int(after["cl_active"]) + int(after["cl_waiting"]) > 0 and time.monotonic() < deadline:
            time.sleep(0.1)
            after = self.pools()
        rows += [("during", *(during[name] for name in POOL_COLUMNS)), ("after", *(after[name] for name in POOL_COLUMNS))]
        table(rows, right=range(3, len(POOL_COLUMNS) + 1))
        require(seen >= CLIENTS, f"SHOW POOLS showed {seen} clients at once, not {CLIENTS}")
        require(0 < backends <= BACKENDS, f"PostgreSQL saw {backends} backends, the limit is {BACKENDS}")
        require(after["cl_active"] == after["cl_waiting"] == after["sv_active"] == "0", "something is left after the load")
        say(f"   {CLIENTS} clients connected, {count:,} transactions, {speed:,.0f}/s, no error; "
            f"PostgreSQL never saw more than {backends} backends.")

    def in_sql(self):
        """The extension's views, asked by a DBA through the broker while others work."""
        heading("The same inside Postgres, under load: berth.activity and berth.advice")
        process = self.pgbench_start(self.url("transaction"), "-S", "-M", "prepared", "-c", "100", "-T", "6")
        try:
            held = self.hold_transaction()
            try:
                time.sleep(2)
                url = self.url("transaction", user="dba")
                brokers = self.psql(url, "SELECT count(*) FROM berth.brokers WHERE reachable")
                require(brokers == "1", f"berth.brokers shows {brokers} reachable brokers, not 1")
                for sql, least in (
                        ("SELECT pid, pool_user AS \"user\", client_id, origin_addr AS addr, origin_port AS port,"
                         " origin_application AS application, state, transaction_age::interval(0) AS age"
                         " FROM berth.activity WHERE client_id IS NOT NULL AND pid <> pg_backend_pid()"
                         " ORDER BY xact_start NULLS LAST LIMIT 4", 1),
                        ("SELECT kind, count, p50, p95, p99 FROM berth.latency WHERE usename = 'app' ORDER BY kind", 3),
                        ("SELECT severity, finding, evidence FROM berth.advice", 1)):
                    rows = list(csv.reader(io.StringIO(self.psql(url, sql, options=("-X", "-q", "--csv")))))
                    require(len(rows) > least, f"no rows: {sql}")
                    table(rows)
                    say()
            finally:
                held.communicate("ROLLBACK;\n", timeout=20)
        finally:
            process.communicate(timeout=60)

    def migrations(self):
        heading(f"Ten migrations while {MIGRATION_CLIENTS} clients work, through the transaction port")
        Migrations(self, say, table).run()

    def hold_transaction(self):
        """A psql that sits in a transaction, and LISTENs where that does not last: the one that a DBA would look for."""
        held = subprocess.Popen([f"{PG_BIN}/psql", "-XAtq", self.url("transaction") + "?application_name=forgotten"],
                                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=clean_environment())
        held.stdin.write("LISTEN news; BEGIN; SELECT 1;\n")
        held.stdin.flush()
        return held

    def watch_storm(self, process):
        """(SHOW POOLS at the moment with most clients, the most backends that PostgreSQL saw) until pgbench ends."""
        peak, backends = self.pools(), 0
        while process.poll() is None:
            now = self.pools()
            if sum(int(now[name]) for name in ("cl_active", "cl_waiting")) >= \
                    sum(int(peak[name]) for name in ("cl_active", "cl_waiting")):
                peak = now
            backends = max(backends, int(self.place.superuser_sql(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'")))
            time.sleep(0.3)
        return peak, backends

    def without_broker(self):
        process = self.pgbench_start(self.straight(), "-S", "-c", str(CLIENTS), "-j", "4", "-T", "2")
        _, err = process.communicate(timeout=60)
        refusal = re.search(r"FATAL:  (sorry, too many clients already|remaining connection slots are reserved.*)", err)
        require(process.returncode != 0 and refusal,
                f"{CLIENTS} clients without the broker should be too many for PostgreSQL, but pgbench said:\n{err[-500:]}")
        say(f"   The same {CLIENTS} clients straight to PostgreSQL (max_connections = 100) end with: {refusal[1]}")

    def connect_per_query(self):
        heading("A new connection for every query (pgbench -C -S, 8 clients)")
        options = ("-C", "-S", "-j", "2", "-T", "4")
        straight, _ = self.pgbench(self.straight(), 8, *options)
        brokered, _ = self.pgbench(self.url("transaction"), 8, *options)
        table([("", "queries"), ("straight to PostgreSQL (Unix socket)", f"{straight:,.0f}/s"),
               ("through the broker (TCP)", f"{brokered:,.0f}/s")], right=(1,))
        say(f"   Through the broker: {brokered / straight:.1f} times as many. Both log in by SCRAM-SHA-256, "
            "most of which is the client's own work.")

    def urls(self):
        say(f"   DATABASE_POOLER_URL={self.url('transaction')}")
        say(f"   DATABASE_SESSION_URL={self.url('session')}")

    def stop(self):
        heading("Stopping")
        used = self.place.stop_broker()
        require(used == signal.SIGINT, f"the broker had to be stopped by {used and used.name}")
        status = self.place.broker.wait()
        require(status == 0, f"the broker ended with {status}:\n{self.place.log_tail('pgberth.log')}")
        self.place.stop_postgres()
        say("   The broker ended with status 0, PostgreSQL is down, the private cluster is removed.")


@contextlib.contextmanager
def only_one(place):
    """Holds the lock of a place, so that what is found in it is a leftover and not another demo at work."""
    os.makedirs(place.base, exist_ok=True)
    with open(os.path.join(place.base, place.name + ".lock"), "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError("another one is at work in this clone right now") from None
        yield


def clear(place):
    """Stops and removes what an earlier demo left in this place."""
    if place.load():
        if place.dir and os.path.isdir(place.dir):
            place.stop_broker()
            place.stop_postgres()
            place.remove()
        else:
            os.unlink(place.note)


def run():
    place = Place("run")
    demo = Demo(place)
    with only_one(place):
        clear(place)
        started = time.monotonic()
        try:
            demo.start()
            demo.psql_through_both()
            demo.load_through_both()
            demo.storm()
            demo.in_sql()
            demo.migrations()
            demo.without_broker()
            demo.connect_per_query()
            heading("For an application's environment (here they end with the demo; `make demo-up` keeps them)")
            demo.urls()
            demo.stop()
        except BaseException:
            give_up(place)
            raise
        place.remove()
    say(f"\nThe demo passed in {time.monotonic() - started:.0f} seconds. Next: make demo-up, make check, README.md.")


def give_up(place):
    """After a failure or a signal: keeps the logs, stops everything."""
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, signal.SIG_IGN)
    if place.dir is None:
        return
    kept = place.keep_logs()
    place.stop_broker()
    with contextlib.suppress(DemoError):
        place.stop_postgres()
    place.remove()
    say(f"\nEverything is stopped; the logs are in {os.path.relpath(kept, ROOT)}.")


def up():
    place = Place("up")
    demo = Demo(place)
    with only_one(place):
        if place.load() and place.dir and place.broker_runs():
            say("It runs already:")
        else:
            clear(place)
            try:
                demo.start()
            except BaseException:
                give_up(place)
                raise
            heading("It runs. For an application's environment:")
    demo.urls()
    console = demo.url("transaction", "pgbouncer", "dba")
    say(f"\n   Try:      psql {demo.url('transaction')}")
    say(f"   Console:  psql {console} -c 'SHOW POOLS'")
    say(f"   Files:    {place.dir} (pgberth.ini, userlist.txt, pgberth.log, postgres.log)")
    say("   Stop it:  make demo-down")


def down():
    place = Place("up")
    if not os.path.exists(place.note):
        say("demo: nothing runs")
        return
    with only_one(place):
        clear(place)
    say("demo: stopped, and its files are removed")


def interrupted(number, _frame):
    raise DemoError(f"interrupted by {signal.Signals(number).name}")


def main():
    actions = {"run": run, "up": up, "down": down}
    if len(sys.argv) != 2 or sys.argv[1] not in actions:
        sys.exit("usage: demo.py run | up | down")
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, interrupted)
    try:
        actions[sys.argv[1]]()
    except DemoError as error:
        sys.exit(f"\ndemo: failed: {error}")
    except subprocess.TimeoutExpired as error:
        sys.exit(f"\ndemo: failed: {error.cmd[0]} did not end within {error.timeout:.0f} seconds")


if __name__ == "__main__":
    main()
