"""The demo's migrations: ten of them under load, killed in the middle and resumed."""

import csv
import io
import os
import signal
import subprocess
import threading
import time

from place import PG_BIN, ROOT, DemoError, clean_environment

EXAMPLES = os.path.join(ROOT, "examples", "migrations")
ROWS = 200000
CLIENTS = 100
FIRST, LAST = "0194", "0203"
KILLED = "0197"
SLICE = 5  # seconds of one run of pgbench; as many as the migrations last
RATE = 1000  # transactions per second: an application at work, not a machine without a rest


class Load(threading.Thread):
    """An application at work: pgbench again and again, until the migrations are through."""

    def __init__(self, demo):
        super().__init__(daemon=True)
        self.demo, self.over = demo, threading.Event()
        self.transactions, self.trouble = 0, None

    def run(self):
        try:
            while not self.over.is_set():
                self.transactions += self.demo.pgbench(self.demo.url("transaction"), CLIENTS, "-f", os.path.join(EXAMPLES, "load.sql"),
                                                       "-T", str(SLICE), "-R", str(RATE))[1]
        except Exception as error:  # told by finish(), in the thread that shows it
            self.trouble = error

    def finish(self):
        self.over.set()
        self.join(90)
        if self.trouble:
            raise self.trouble
        return self.transactions


class Migrations:
    """The steps of the demo that migrate, over the demo's own programs."""

    def __init__(self, demo, say, table):
        self.demo, self.say, self.table = demo, say, table

    def rows(self, sql):
        """Head and rows of a query."""
        text = self.demo.psql(self.demo.url("transaction"), sql, options=("-X", "-q", "--csv"))
        return list(csv.reader(io.StringIO(text)))

    def script(self, name, *options):
        self.demo.psql(self.demo.url("session"), options=("-XAtq", *options, "-f", os.path.join(EXAMPLES, name)))

    def migrate(self, first, last):
        """Starts the loop over psql for some of the versions, in a session of its own so that it can be killed as a whole."""
        environment = clean_environment(DATABASE_POOLER_URL=self.demo.url("transaction"), PATH=f"{PG_BIN}:{os.environ['PATH']}")
        return subprocess.Popen([os.path.join(EXAMPLES, "migrate.sh"), first, last], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True)

    def wait_for(self, process):
        try:
            out, _ = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise DemoError("the migrations did not end within 120 seconds") from None
        if process.returncode != 0:
            raise DemoError(f"migrate.sh ended with {process.returncode}:\n{out}")
        return out.split("\n")

    def kill_in_the_middle(self, process):
        """kill -9 of the shell and its psql when the backfill is under way; how many rows it had filled."""
        sql = f"SELECT coalesce(max(rows_done), 0) FROM berth.migration_running WHERE version = '{KILLED}'"
        deadline = time.monotonic() + 90
        while (done := int(self.rows(sql)[1][0])) < ROWS // 10:
            if process.poll() is not None or time.monotonic() > deadline:
                os.killpg(process.pid, signal.SIGKILL)
                raise DemoError(f"the backfill of {KILLED} was not seen at work: {process.communicate()[0]}")
            time.sleep(0.05)
        running = self.rows("SELECT version, step_no, step_label, rows_done, rows_total, percent, pid, state, wait_event"
                            " FROM berth.migration_running")
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return done, running

    def wait_for_the_lease(self):
        deadline = time.monotonic() + 60
        while self.rows(f"SELECT state FROM berth.migration_status() WHERE version = '{KILLED}'")[1] != ["interrupted"]:
            if time.monotonic() > deadline:
                raise DemoError("the killed run is not shown as interrupted")
            time.sleep(0.2)

    def run(self):
        demo = self.demo
        self.script("setup.sql", "-v", f"rows={ROWS}")
        load = Load(demo)
        load.start()
        try:
            done, running = self.kill_in_the_middle(self.migrate(FIRST, LAST))
            self.say(f"   The run was killed (kill -9) while it filled a column, after {done:,} of {ROWS:,} rows. berth.migration_running:")
            self.table(running)
            self.wait_for_the_lease()
            self.say("\n   Its lease ends after five seconds. berth.migration_status() then:")
            self.table(self.rows("SELECT version, state, problem FROM berth.migration_status()"))
            out = self.wait_for(self.migrate(FIRST, LAST))
        finally:
            transactions = load.finish()
        self.say("\n   The same command again:")
        for line in out:
            self.say(f"   {line}")
        self.verify()
        self.say(f"\n   {CLIENTS} clients went on meanwhile: {transactions:,} transactions, no error.")

    def verify(self):
        failed = self.rows("SELECT name, got FROM berth.migration_verify() WHERE NOT ok")
        if len(failed) > 1:
            raise DemoError(f"a migration does not hold: {failed[1:]}")
        demo = self.demo
        code = demo.psql(demo.url("transaction"), f"SELECT berth.migration_exit_code(); SELECT berth.assert_ready('{LAST}')")
        if code.strip() != "0":
            raise DemoError(f"berth.migration_exit_code() is {code}")
        left = demo.psql(demo.url("transaction"), "SELECT count(*) FROM orders WHERE note IS NULL")
        if left != "0":
            raise DemoError(f"{left} rows have no note")
        history = self.rows("SELECT version, mode, status, attempt, duration::interval(3), reason, description"
                            " FROM berth.migration_history ORDER BY run_id")
        if len(history) != 12:
            raise DemoError(f"the history has {len(history) - 1} runs, not the ten and the one that was killed")
        self.say("   Every check holds, berth.migration_exit_code() is 0. berth.migration_history:")
        self.table(history)
