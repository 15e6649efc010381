#!/usr/bin/python3
"""What migration tracking costs, and what it spares those who work meanwhile.

    tests/bench/migrations.py [--clients 100] [--rounds 3]

1. CPU of PostgreSQL for one migrate_once() of a version that is applied, with its BEGIN and COMMIT, beside that of an empty
   transaction; and for migration_status() with 10,000 rows.
2. The ten examples are applied through the broker while pgbench works on the same table and a report reads it in long
   transactions. The longest query that a client saw: without a migration, with one, and with one whose lock_tables() were taken
   out. Rounds are interleaved.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time

import measure
from cluster import DATABASE, ROOT, SERVER_PORT, USER, BenchError, Cluster, clean_environment, raise_file_limit
from subjects import IniBroker

sys.path.insert(0, os.path.join(ROOT, "tests"))
from private_tree import private_tree  # noqa: E402

EXAMPLES = os.path.join(ROOT, "examples", "migrations")
ROWS = 10000
CALLS = 2000
REPORT_SECONDS = 2.0
LOCK_CALL = re.compile(r"^SELECT \* FROM berth\.lock_tables\(.*\n", re.M)


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pgberth", default=os.path.join(ROOT, "build", "pgberth"), help="the broker's program")
    return parser.parse_args(arguments)


class Ground:
    """A private PostgreSQL with the extension, and a broker in front of it."""

    def __init__(self, options):
        self.options = options
        self.cluster = Cluster(1)
        self.cluster.bin = str(private_tree(os.path.join(self.cluster.dir, "tree")))
        self.broker = None

    def start(self):
        self.cluster.start()
        self.sql("CREATE EXTENSION pgberth")
        self.broker = IniBroker("pgberth", self.cluster, self.options.pgberth)
        self.broker.start()

    def psql(self, *arguments, host=None, **environment):
        where = ["-h", host or self.cluster.sockets, "-p", str(self.broker.port if host else SERVER_PORT), "-U", USER]
        return subprocess.run([f"{self.cluster.bin}/psql", "-XAtq", "-v", "ON_ERROR_STOP=1", *where, *arguments, DATABASE],
                              capture_output=True, text=True, check=True, cwd=EXAMPLES,
                              env={**clean_environment(), **environment}).stdout.strip()

    def sql(self, text):
        return self.psql("-c", text)

    def stop(self):
        if self.broker is not None:
            self.broker.stop()
        self.cluster.stop(keep=False)


# What a call costs -----------------------------------------------------------------------------------------------------


def cpu_of(ground, script, calls):
    """Microseconds of the backend's CPU for each call of a line of SQL, sent `calls` times by one psql."""
    with subprocess.Popen([f"{ground.cluster.bin}/psql", "-XAtq", "-h", ground.cluster.sockets, "-p", str(SERVER_PORT), "-U", USER,
                           DATABASE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean_environment()) as session:
        def ask(text, answers):
            session.stdin.write(text)
            session.stdin.flush()
            return [session.stdout.readline().strip() for _ in range(answers)]

        [pid] = ask("SELECT pg_backend_pid();\n", 1)
        ask(script * 10 + "SELECT 'warm';\n", 1 + 10 * script.count("SELECT"))
        before = measure.ticks_of(int(pid))
        ask(script * calls + "SELECT 'done';\n", 1 + calls * script.count("SELECT"))
        used = measure.ticks_of(int(pid)) - before
        session.stdin.close()
    return used / os.sysconf("SC_CLK_TCK") / calls * 1e6


def costs(ground):
    ground.sql("BEGIN; SELECT berth.migrate_once('1', checksum => berth.checksum('body')); COMMIT")
    empty = cpu_of(ground, "BEGIN; SELECT 1; COMMIT;\n", CALLS)
    once = cpu_of(ground, "BEGIN; SELECT berth.migrate_once('1', checksum => berth.checksum('body')); COMMIT;\n", CALLS)
    ground.sql("DELETE FROM berth.migration; DELETE FROM berth.migration_run")
    ground.sql(f"""
      INSERT INTO berth.migration_run (scope, version, direction, mode, status, attempt, started_at, finished_at, usename,
                                       role_name, pid, cluster)
        SELECT 'default', i::text, 'apply', 'tx', 'done', 1, now(), now(), '{USER}', '{USER}', 1, berth.cluster()
          FROM generate_series(1, {ROWS}) i;
      INSERT INTO berth.migration (scope, version, kind, state, applied_at, applied_by, last_run)
        SELECT scope, version, 'versioned', 'applied', finished_at, usename, run_id FROM berth.migration_run;
      INSERT INTO berth.migration_plan (scope, version) SELECT scope, version FROM berth.migration;
      ANALYZE berth.migration, berth.migration_run, berth.migration_plan""")
    status = cpu_of(ground, "SELECT count(*) FROM berth.migration_status();\n", 50)
    rows = ground.sql("SELECT count(*) FROM berth.migration_status()")
    if rows != str(ROWS):
        raise BenchError(f"migration_status() has {rows} rows")
    ground.sql("DELETE FROM berth.migration; DELETE FROM berth.migration_run; DELETE FROM berth.migration_plan")
    print("\n| CPU of PostgreSQL | |\n|---|---|")
    print(f"| BEGIN; SELECT 1; COMMIT | {empty:.0f} us |")
    print(f"| BEGIN; SELECT migrate_once(...) of an applied version; COMMIT | {once:.0f} us, {once / 1000:.2f} of the 1 ms allowed |")
    print(f"| migration_status() with {ROWS:,} rows | {status / 1000:.1f} ms, {status / 20000:.2f} of the 20 ms allowed |", flush=True)


# What the clients feel --------------------------------------------------------------------------------------------------


class Report(threading.Thread):
    """Reads the table in transactions of some seconds, one after the other, as reports and dumps do."""

    def __init__(self, ground):
        super().__init__(daemon=True)
        self.ground = ground
        self.over = threading.Event()

    def run(self):
        while not self.over.is_set():
            self.ground.psql("-c", f"BEGIN; SELECT count(*) FROM orders WHERE id < 10; SELECT pg_sleep({REPORT_SECONDS}); COMMIT")
            self.over.wait(0.5)


def load(ground, directory):
    """pgbench by the broker until its end is asked for; each transaction is logged with its latency."""
    command = [f"{ground.cluster.bin}/pgbench", "-n", "-h", "127.0.0.1", "-p", str(ground.broker.port), "-U", USER, "-f",
               os.path.join(EXAMPLES, "load.sql"), "-c", str(ground.options.clients), "-T", "600", "--log", "--log-prefix",
               os.path.join(directory, "latency"), DATABASE]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=directory,
                            env=clean_environment(), **ground.cluster.identity)


def latencies(directory):
    found = []
    for name in os.listdir(directory):
        if name.startswith("latency"):
            with open(os.path.join(directory, name), encoding="ascii") as log:
                for line in log:
                    field = line.split()
                    if len(field) > 5 and field[2] != "failed":
                        found.append(int(field[2]) / 1000)
    if not found:
        raise BenchError("pgbench has logged no transaction")
    return found


def scripts(ground, with_locks):
    """The examples in a directory of their own, with their calls of lock_tables() or without."""
    directory = ground.cluster.subdirectory("with" if with_locks else "without")
    for name in os.listdir(EXAMPLES):
        target = os.path.join(directory, name)
        shutil.copy(os.path.join(EXAMPLES, name), target)
        if name[0].isdigit() and not with_locks:
            with open(target, encoding="utf-8") as script:
                text = LOCK_CALL.sub("", script.read())
            with open(target, "w", encoding="utf-8") as script:
                script.write(text)
    return directory


def one_round(ground, number, kind):
    """(longest query in ms, p99 in ms, transactions, seconds of the migrations) of one phase."""
    ground.sql("DROP TABLE IF EXISTS orders, customers, outbox CASCADE; DROP TYPE IF EXISTS order_status; "
               "DROP FUNCTION IF EXISTS orders_total_both; DELETE FROM berth.migration; DELETE FROM berth.migration_run; "
               "DELETE FROM berth.migration_check; DELETE FROM berth.migration_lease")
    ground.psql("-f", "setup.sql")
    ground.sql("VACUUM ANALYZE orders")
    directory = ground.cluster.subdirectory(f"round-{number}-{kind}")
    report = Report(ground)
    report.start()
    pgbench = load(ground, directory)
    try:
        time.sleep(1)
        began = time.monotonic()
        if kind == "nothing":
            time.sleep(10)
        else:
            url = f"postgresql://{USER}@127.0.0.1:{ground.broker.port}/{DATABASE}"
            done = subprocess.run([os.path.join(scripts(ground, kind == "lock_tables"), "migrate.sh")], capture_output=True, text=True,
                                  check=False, env={**clean_environment(), "DATABASE_POOLER_URL": url,
                                                    "PATH": ground.cluster.bin + ":" + os.environ["PATH"]})
            if done.returncode:
                raise BenchError(f"migrate.sh: {done.stdout}{done.stderr}")
        took = time.monotonic() - began
        time.sleep(1)
        if pgbench.poll() is not None:
            raise BenchError(f"pgbench ended: {pgbench.stderr.read()}")
    finally:
        pgbench.terminate()
        errors = pgbench.stderr.read()
        pgbench.wait()
        report.over.set()
        report.join()
    if "ERROR" in errors or "abort" in errors:
        raise BenchError(f"a client had an error: {errors[-500:]}")
    times = sorted(latencies(directory))
    shutil.rmtree(directory)
    return times[-1], times[len(times) * 99 // 100], len(times), took


def under_load(ground):
    kinds = ("nothing", "lock_tables", "without")
    results = {kind: [] for kind in kinds}
    for number in range(ground.options.rounds):
        for kind in kinds:
            results[kind].append(one_round(ground, number, kind))
            print(f"  round {number + 1} {kind}: longest {results[kind][-1][0]:.0f} ms", file=sys.stderr, flush=True)
    print(f"\n{ground.options.clients} clients, ten examples, a report of {REPORT_SECONDS:.0f} s again and again; medians of "
          f"{ground.options.rounds} rounds\n\n| | longest transaction, ms | p99, ms | transactions/s | migrations, s |\n"
          "|---|---|---|---|---|")
    for kind in kinds:
        longest, p99, count, took = (statistics.median(column) for column in zip(*results[kind]))
        name = {"nothing": "no migration", "lock_tables": "as they are", "without": "without lock_tables()"}[kind]
        print(f"| {name} | {longest:.0f} | {p99:.1f} | {count / (took + 2):,.0f} | {took if kind != 'nothing' else 0:.1f} |", flush=True)


def main():
    options = parse(sys.argv[1:])
    raise_file_limit()
    ground = Ground(options)
    try:
        ground.start()
        costs(ground)
        under_load(ground)
    except BenchError as error:
        sys.exit(f"bench: {error}")
    finally:
        ground.stop()


if __name__ == "__main__":
    main()
