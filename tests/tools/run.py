"""Migration tools against a private PostgreSQL with the extension, directly and through both ports of a broker.

    tests/tools/run.py [--record] [TOOL ...]

Each tool applies scripts, has its table adopted (berth.adopt), applies more, shows its status, fails and undoes; then the
journal must say the same. On the transaction port other clients keep the servers busy, so that consecutive transactions of the
tool meet different ones: a tool that leaves something behind in a session is found out. What is known not to work, with its
reason, is in KNOWN and is not counted; anything else that does not is a failure. --record writes the statements that the tools send to
tests/sql/recorded, where tests/sql/migration_adopt.py replays them. The last line is "N passed, N failed".
"""

import os
import re
import shutil
import sys
import threading
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "tests" / "e2e"), str(ROOT / "tests")]

from private_tree import private_tree  # noqa: E402

from harness import system  # noqa: E402

TREE = system.make_directory()
os.umask(0o022)
system.PG_BIN = private_tree(TREE)

from harness import broker as brokers  # noqa: E402
from harness import postgres as clusters  # noqa: E402
from harness.raw import Closed  # noqa: E402

from recorded import Recorder  # noqa: E402
from tools import SCRIPTS, TOOLS  # noqa: E402

BUSY = 6  # other clients of the transaction port
KNOWN = {
    ("node-pg-migrate", "transaction"): "a session advisory lock: it is taken on one server and given back on another",
    ("sqitch", "transaction"): "SET search_path in its session: the next transaction may run on a server without it",
}


class Noise:
    """Clients that keep the servers of one pool busy, so that no client meets the same server twice in a row."""

    def __init__(self, broker, database):
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.keep, args=(broker, database)) for _ in range(BUSY)]
        for thread in self.threads:
            thread.start()

    def keep(self, broker, database):
        try:
            with broker.connect(database=database) as client:
                while not self.ended.is_set():
                    client.query("select pg_sleep(0.001)")
        except (Closed, OSError):
            pass

    def end(self):
        self.ended.set()
        for thread in self.threads:
            thread.join()


class Trial:
    """One tool through one port, in a database of its own."""

    def __init__(self, place, tool, port_name):
        self.place, self.port_name = place, port_name
        self.database = re.sub(r"\W+", "_", f"{tool}_{port_name}")
        place.sql(f"create database {self.database}", "postgres")
        place.sql("create extension pgberth; select berth.enable_ddl_log(); grant all on schema public to app", self.database)
        place.sql(f"grant create on database {self.database} to app; select berth.grant_access('app', 'runner')", self.database)
        directory = system.make_directory()
        self.tool = TOOLS[tool](directory, place.ports[port_name], self.database)
        self.wrong = []

    def expect(self, what, done, ok):
        if (done.returncode == 0) != ok:
            lines = [line.strip() for line in done.stdout.splitlines() if re.search("error", line, re.I)]
            self.wrong.append(f"{what}: {(lines or done.stdout.strip().splitlines() or ['no output'])[0][:160]}")

    def asks(self, what, query, want):
        have = self.place.sql(query, self.database)
        if have != want:
            self.wrong.append(f"{what}: {have} instead of {want}")

    def run(self, recorder=None):
        tool = self.tool
        noise = Noise(self.place.broker, self.database) if self.port_name == "transaction" else None
        try:
            tool.add(1)
            self.expect("first script", tool.up(), True)
            if self.wrong:
                return self.wrong
            if recorder:
                recorder.mark("adopt")
            self.asks("taken over", f"select berth.adopt('{tool.name}') ~ 'one row was taken over'", [["t"]])
            for number in range(2, 5):
                tool.add(number)
            self.expect("scripts", tool.up(), True)
            self.expect("status", tool.status(), True)
            tool.add(5)
            self.expect("script that fails", tool.up(), False)
            self.expect("undo", tool.down(), True)
        finally:
            if noise:
                noise.end()
            shutil.rmtree(tool.directory, ignore_errors=True)
        self.asks("journal", "select version, state from berth.migration where scope = 'default' order by seq",
                  [[tool.version_of(number), "reverted" if number == 4 else "applied"] for number in range(1, 5)])
        self.asks("tables", "select to_regclass('users') is not null, to_regclass('users_id') is not null, to_regclass('orders') is null",
                  [["t", "t", "t"]])
        if self.port_name == "transaction":
            return self.wrong  # DDL outside of the transaction of the tool's own row cannot be told from others' DDL there
        self.asks("DDL without a run", "select identity from berth.ddl_log where run_id is null and not in_extension and usename = 'app' "
                  "and at > (select min(finished_at) from berth.migration_run)", [])
        return self.wrong


class Place:
    """PostgreSQL, the extension, a broker."""

    def __init__(self):
        self.directory = system.make_directory()
        binary = brokers.install_binary(self.directory)
        self.postgres = clusters.Postgres()
        self.broker = brokers.Broker(self.postgres, binary, {"default_pool_size": 4},
                                     databases={"*": f"host={self.postgres.sockets} port={self.postgres.port}"}).start()
        self.ports = {"direct": self.postgres.port, "session": self.broker.session_port, "transaction": self.broker.transaction_port}

    def sql(self, text, database):
        return self.postgres.sql(text, database)

    def remove(self):
        self.broker.stop()
        self.broker.remove()
        self.postgres.remove()
        shutil.rmtree(self.directory, ignore_errors=True)


def main():
    record = "--record" in sys.argv[1:]
    wanted = [name for name in sys.argv[1:] if name != "--record"] or list(TOOLS)
    place, passed, failed = Place(), 0, 0
    try:
        for name in wanted:
            version = TOOLS[name].version()
            for port_name in ("direct", "session", "transaction"):
                recorder = Recorder(place.postgres) if record and port_name == "direct" else None
                wrong = Trial(place, name, port_name).run(recorder)
                if recorder:
                    recorder.write(ROOT / "tests" / "sql" / "recorded" / f"{TOOLS[name].name}.sql", f"{TOOLS[name].name} {version}")
                known = KNOWN.get((name, port_name))
                verdict = "works"
                if wrong:
                    verdict = f"does not work, as is known ({known}): {wrong[0]}" if known else "FAILS: " + "; ".join(wrong)
                if not known:
                    failed, passed = failed + bool(wrong), passed + (not wrong)
                print(f"{name} {version:<8} {port_name:<12} {verdict}", flush=True)
    finally:
        place.remove()
        shutil.rmtree(TREE, ignore_errors=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
