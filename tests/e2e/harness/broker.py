"""Starts, watches and stops one broker.

The same harness starts PgBouncer (PGBERTH=/usr/sbin/pgbouncer), so that a test can be checked against the program whose
place ours takes. PgBouncer has one port and one mode per process: where a test asks for the port of another mode, a
second process is started with the same settings.

PGBERTH=direct starts nothing and hands out connections to PostgreSQL itself: what a test of one client expects of the
protocol must hold there too. Tests that need the console are skipped then.
"""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Dict, List, Optional

import pytest

from . import wire
from .postgres import TRUSTED, Postgres
from .raw import Closed, Raw, Refused
from .system import eventually, free_port, give_to_service_user, kill, make_directory, spawn, write

REPOSITORY = Path(__file__).resolve().parents[3]
BINARY = Path(os.environ.get("PGBERTH", REPOSITORY / "build" / "pgberth"))
WORKERS = int(os.environ.get("PGBERTH_E2E_WORKERS", "1"))
IS_PGBOUNCER = "pgbouncer" in BINARY.name
IS_DIRECT = str(BINARY) == "direct"

# Keys that PgBouncer does not know; it refuses to start with an unknown key.
OURS_ONLY = {"workers", "transaction_port", "session_port", "transaction_reserve", "pool_idle_timeout", "link",
             "link_user", "link_console", "auth_query_cache_ttl"}
KNOWN_SINCE_1_18 = {"max_prepared_statements", "transaction_timeout", "query_wait_notify", "cancel_wait_timeout",
                    "track_extra_parameters", "max_db_client_connections", "max_user_client_connections",
                    "log_pooler_errors"}

REPORTS = re.compile(r"assertion failed|ASSERT|ERROR: AddressSanitizer|ERROR: LeakSanitizer|"
                     r"WARNING: ThreadSanitizer|runtime error:|stack smashing|terminate called", re.I)


def _pgbouncer_version() -> tuple:
    if not IS_PGBOUNCER:
        return ()
    text = subprocess.run([BINARY, "-V"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return tuple(int(n) for n in re.search(r"(\d+)\.(\d+)", text).groups())


PGBOUNCER_VERSION = _pgbouncer_version()


def unknown_keys() -> set:
    if not IS_PGBOUNCER:
        return set()
    return OURS_ONLY | (KNOWN_SINCE_1_18 if PGBOUNCER_VERSION < (1, 26) else set())


def sanitizer_environment() -> dict:
    """An exit status of their own for sanitizers, so that a report cannot pass as an ordinary end."""
    env = dict(os.environ)
    env["ASAN_OPTIONS"] = "exitcode=99:abort_on_error=0:" + env.get("ASAN_OPTIONS", "")
    env["TSAN_OPTIONS"] = "exitcode=99:" + env.get("TSAN_OPTIONS", "")
    env["UBSAN_OPTIONS"] = "print_stacktrace=1:" + env.get("UBSAN_OPTIONS", "")
    env.pop("NOTIFY_SOCKET", None)
    return env


class Console:
    """A session on the admin console."""

    def __init__(self, connection: Raw):
        self.connection = connection

    def __call__(self, sql: str) -> List[Dict[str, Optional[str]]]:
        answer = self.connection.query(sql)
        assert not wire.errors(answer), [e.fields for e in wire.errors(answer)]
        head = wire.find(answer, "T")
        names = [name for name, _ in head.columns] if head else []
        return [dict(zip(names, row)) for row in wire.rows(answer)]

    def close(self) -> None:
        self.connection.terminate()


class Broker:
    """One running broker (see the module's comment). Made by the fixture `broker`."""

    def __init__(self, postgres: Postgres, binary: Path, settings: dict, databases: Optional[dict] = None,
                 users: Optional[dict] = None, userlist: Optional[dict] = None, extra: str = "",
                 environment: Optional[dict] = None):
        self.postgres = postgres
        self.binary = binary
        self.root: Path = make_directory()
        self.log_path = self.root / "broker.log"
        self.output_path = self.root / "output.log"
        self.pid_path = self.root / "broker.pid"
        self.ini = self.root / "pgberth.ini"
        self.auth_file = self.root / "userlist.txt"
        self.databases = databases if databases is not None else {
            "e2e": f"host={postgres.sockets} port={postgres.port} dbname=e2e",
            "e2e2": f"host={postgres.sockets} port={postgres.port} dbname=e2e2",
        }
        self.users = users or {}
        self.userlist = userlist if userlist is not None else {name: "" for name in (*TRUSTED, "postgres")}
        self.extra = extra
        self.environment = environment or {}
        self.settings = {
            "listen_addr": "127.0.0.1",
            "unix_socket_dir": str(self.root),
            "auth_type": "trust",
            "auth_file": str(self.auth_file),
            "admin_users": "admin",
            "stats_users": "stats",
            "logfile": str(self.log_path),
            "pidfile": str(self.pid_path),
            "pool_mode": "transaction",
            "default_pool_size": 5,
            "max_client_conn": 1000,
            "server_login_retry": 1,
            "workers": WORKERS,
            "link": "off",  # tests count backends; test_link.py turns it on
            **settings,
        }
        self.expected_exit = False
        self.process: Optional[subprocess.Popen] = None
        self.siblings: Dict[str, "Broker"] = {}
        self._console: Optional[Console] = None

    # Files ------------------------------------------------------------------------------------------------------------

    def write_files(self) -> None:
        lines = ["[databases]"] + [f"{k} = {v}" for k, v in self.databases.items()]
        lines += ["[users]"] + [f"{k} = {v}" for k, v in self.users.items()]
        lines += ["[pgbouncer]"]
        lines += [f"{k} = {v}" for k, v in self.settings.items() if v is not None and k not in unknown_keys()]
        write(self.ini, "\n".join(lines) + "\n" + self.extra)
        quoted = lambda text: '"' + text.replace('"', '""') + '"'
        write(self.auth_file, "".join(f"{quoted(k)} {quoted(v)}\n" for k, v in self.userlist.items()))
        for path in (self.ini, self.auth_file):
            path.chmod(0o600)  # else the broker warns

    # Life -------------------------------------------------------------------------------------------------------------

    def start(self) -> "Broker":
        if IS_DIRECT:
            self.settings["listen_port"] = self.settings["transaction_port"] = self.settings["session_port"] = \
                self.postgres.port
            return self
        for _ in range(6):
            ports = {free_port() for _ in range(8)}  # distinct ones
            self.settings["listen_port"] = ports.pop()
            if not IS_PGBOUNCER:
                self.settings.update(transaction_port=ports.pop(), session_port=ports.pop())
            self.write_files()
            self.launch()
            if self.wait_ready():
                return self
            kill(self.process)
        raise AssertionError("no free ports: " + self.all_text()[-2000:])

    def launch(self) -> None:
        self.process = spawn([self.binary, self.ini], self.output_path, env={**sanitizer_environment(), **self.environment})

    def wait_ready(self) -> bool:
        """False if a port was taken by somebody else in between; any other failure to start fails the test."""
        def ready():
            if self.process.poll() is not None:
                return "ended"
            try:
                with self.connect(self.listen_port, "admin", "pgbouncer", self.userlist.get("admin", "")) as connection:
                    connection.terminate()
                return "ready"
            except Refused:
                return "ready"  # it answers; the test has its own idea of who may log in
            except (OSError, Closed):
                return None
        if eventually(ready, f"the broker is ready: {self.ini}", timeout=60) == "ready":
            return True
        assert re.search("in use", self.all_text()), \
            f"the broker ended at start with {self.process.returncode}: {self.all_text()[-3000:]}"
        return False

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return IS_DIRECT or self.process.poll() is None

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def reload(self) -> None:
        """Writes the files anew and has them read."""
        self.write_files()
        self.console("RELOAD")

    def wait_exit(self, timeout: float = 60) -> int:
        self.expected_exit = True
        return self.process.wait(timeout)

    def stop(self) -> None:
        """At once, and checks what must hold at every end: no crash, no report."""
        for sibling in self.siblings.values():
            sibling.stop()
        self.siblings.clear()
        if self.process is None or IS_DIRECT:
            return
        died = not self.alive and not self.expected_exit
        if self.alive:
            self.signal(signal.SIGQUIT if PGBOUNCER_VERSION >= (1, 23) or not IS_PGBOUNCER else signal.SIGTERM)
            try:
                self.process.wait(60)
            finally:
                kill(self.process)
        text = self.all_text()
        assert not died, f"the broker ended by itself with {self.process.returncode}: {text[-3000:]}"
        report = REPORTS.search(text)
        assert not report, text[max(0, report.start() - 500):report.start() + 6000]
        assert self.process.returncode in (0, 1), f"exit status {self.process.returncode}: {text[-3000:]}"

    def remove(self) -> None:
        for sibling in self.siblings.values():
            sibling.remove()
        if self.process is not None:
            kill(self.process)
        shutil.rmtree(self.root, ignore_errors=True)

    # Ports ------------------------------------------------------------------------------------------------------------

    @property
    def listen_port(self) -> int:
        return self.settings["listen_port"]

    @property
    def transaction_port(self) -> int:
        return self._port("transaction")

    @property
    def session_port(self) -> int:
        return self._port("session")

    def _port(self, mode: str) -> int:
        if not IS_PGBOUNCER:
            return self.settings[mode + "_port"]
        if self.settings["pool_mode"] == mode:
            return self.listen_port
        if mode not in self.siblings:
            settings = {**self.settings, "pool_mode": mode}
            for key in ("logfile", "pidfile", "auth_file", "unix_socket_dir"):
                settings.pop(key)
            self.siblings[mode] = Broker(self.postgres, self.binary, {}, self.databases, self.users, self.userlist)
            for key, value in settings.items():
                self.siblings[mode].settings[key] = value
            self.siblings[mode].start()
        return self.siblings[mode].listen_port

    # Talking to it ----------------------------------------------------------------------------------------------------

    def connect(self, port: Optional[int] = None, user: str = "app", database: str = "e2e", password=None,
                **params) -> Raw:
        """A raw client that has logged in; to the transaction port if none is named."""
        connection = Raw(port or self.transaction_port)
        try:
            return connection.login(user, database, password, **params)
        except BaseException:
            connection.close()
            raise

    def session(self, user: str = "app", database: str = "e2e", **params) -> Raw:
        return self.connect(self.session_port, user, database, **params)

    def url(self, mode: str = "transaction", user: str = "app", database: str = "e2e", password: str = "") -> str:
        secret = f":{password}" if password else ""
        return f"postgresql://{user}{secret}@127.0.0.1:{self._port(mode)}/{database}"

    @property
    def console(self) -> Console:
        """One console session that is kept; broker.console("SHOW POOLS") gives rows as dictionaries."""
        if IS_DIRECT:
            pytest.skip("PostgreSQL has no console")
        if self._console is None:
            self._console = self.new_console()
        return self._console

    def new_console(self, user: str = "admin") -> Console:
        return Console(self.connect(self.listen_port, user, "pgbouncer", self.userlist.get(user, "")))

    def pool(self, database: str = "e2e", user: str = "app") -> dict:
        """The row of SHOW POOLS; its numbers as int."""
        for row in self.console("SHOW POOLS"):
            if row["database"] == database and row["user"] == user:
                return {k: int(v) if v is not None and v.lstrip("-").isdigit() else v for k, v in row.items()}
        return {}

    def clients(self, **where) -> list:
        return [r for r in self.console("SHOW CLIENTS") if all(r[k] == v for k, v in where.items())]

    def servers(self, **where) -> list:
        return [r for r in self.console("SHOW SERVERS") if all(r[k] == v for k, v in where.items())]

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def all_text(self) -> str:
        output = self.output_path.read_text(errors="replace") if self.output_path.exists() else ""
        return self.log + "\n" + output


def install_binary(directory: Path) -> Path:
    """A copy where the service user can reach it, whatever the rights on the way to the build directory."""
    if IS_DIRECT:
        return write(directory / "none", "")
    assert BINARY.exists(), f"{BINARY} is not built (PGBERTH names another)"
    target = directory / BINARY.name
    shutil.copy(BINARY, target)
    target.chmod(0o755)
    give_to_service_user(target)
    return target
