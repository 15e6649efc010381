"""A private PostgreSQL: its own directory, its own port, on loopback and a Unix socket."""

import shutil
import signal
import threading
from pathlib import Path

from . import scram, wire
from .raw import Closed, Raw, Refused
from .system import PG_BIN, eventually, free_port, kill, make_directory, run_checked, spawn, write

# Roles by the method that pg_hba.conf demands of them; the password of X is Xpw.
TRUSTED = ("app", "app2", "app3", "admin", "stats")
LONG_NAME = "u" * 63
PASSWORDS = {"md5er": "md5", "scrammer": "scram-sha-256", "plainer": "password", "onlyscram": "scram-sha-256"}

SETTINGS = """
listen_addresses = '127.0.0.1'
max_connections = {max_connections}
max_prepared_transactions = 10
shared_buffers = 64MB
fsync = off
full_page_writes = off
synchronous_commit = off
autovacuum = off
jit = off
max_wal_size = 256MB
logging_collector = off
log_line_prefix = '%m [%p] %u@%d '
timezone = 'UTC'
lc_messages = 'C'
"""


class Postgres:
    """One cluster. `stop` and `start` may be called any number of times; the port stays."""

    def __init__(self, max_connections: int = 200):
        self.root: Path = make_directory()
        self.data = self.root / "data"
        self.sockets = self.root
        self.log = self.root / "postgres.log"
        self.port = free_port()
        self.process = None
        run_checked([PG_BIN / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
                     "--locale=C", "--no-sync", "--no-instructions"])
        with open(self.data / "postgresql.conf", "a") as conf:
            conf.write(SETTINGS.format(max_connections=max_connections))
            conf.write(f"port = {self.port}\nunix_socket_directories = '{self.sockets}'\n")
        write(self.data / "pg_hba.conf", self._hba())
        self.start()
        self._populate()

    @staticmethod
    def _hba() -> str:
        lines = []
        for kind in ("local all {0} {1}", "host all {0} 127.0.0.1/32 {1}"):
            for role in ("postgres", *TRUSTED, LONG_NAME):
                lines.append(kind.format(role, "trust"))
            for role, method in PASSWORDS.items():
                lines.append(kind.format(role, method))
        lines.append("local replication all trust\nhost replication all 127.0.0.1/32 trust")
        return "\n".join(lines) + "\n"

    def _populate(self) -> None:
        self.sql("create database e2e")
        self.sql("create database e2e2")
        for role in (*TRUSTED, LONG_NAME):
            self.sql(f'create role "{role}" login')
        for role, method in PASSWORDS.items():
            kind = "md5" if method == "md5" else "scram-sha-256"
            secret = scram.md5(role, role + "pw") if kind == "md5" else scram.secret(role + "pw")
            self.sql(f"create role {role} login password '{secret}'")
        for database in ("e2e", "e2e2"):
            self.sql("grant all on schema public to public", database=database)

    def start(self) -> None:
        self.process = spawn([PG_BIN / "postgres", "-D", self.data], self.log)
        eventually(self._answers, "PostgreSQL accepts connections", timeout=60)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-2000:]
        try:
            with Raw(self.port, timeout=10) as connection:
                connection.login("postgres", "postgres")
                return True
        except (OSError, Refused, Closed):
            return False

    def stop(self, how: int = signal.SIGINT) -> None:
        """SIGINT is PostgreSQL's fast shutdown, SIGQUIT its immediate one."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(60)

    def remove(self) -> None:
        self.stop(signal.SIGQUIT)
        kill(self.process)
        shutil.rmtree(self.root, ignore_errors=True)

    # What tests ask of it ---------------------------------------------------------------------------------------------

    def connect(self, user: str = "postgres", database: str = "e2e", password=None, **params) -> Raw:
        return Raw(self.port).login(user, database, password, **params)

    def sql(self, text: str, database: str = "postgres", user: str = "postgres") -> list:
        """Runs SQL on a connection of its own; the rows of the answer as lists of text."""
        with self.connect(user, database) as connection:
            answer = connection.query(text)
            connection.send(wire.terminate())
        assert not wire.errors(answer), [e.fields for e in wire.errors(answer)]
        return wire.rows(answer)

    def value(self, text: str, database: str = "postgres"):
        return self.sql(text, database)[0][0]

    def backends(self, database: str = "e2e", where: str = "true") -> list:
        """Process ids of the client backends of a database, save the one that asks."""
        found = self.sql("select pid from pg_stat_activity where backend_type = 'client backend' and "
                         f"datname = '{database}' and pid <> pg_backend_pid() and ({where}) order by pid")
        return [int(row[0]) for row in found]

    def end_backends(self) -> None:
        """After a test: a query that its broker left running (pg_sleep notices no closed connection) is not the next's."""
        if self.process.poll() is None:
            self.sql("select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and "
                     "pid <> pg_backend_pid() and datname like 'e2e%'")

    def open_transactions(self) -> list:
        return self.sql("select pid, state, query from pg_stat_activity where state like 'idle in transaction%'")


class Control:
    """A connection to PostgreSQL itself that one test keeps open for many questions."""

    def __init__(self, postgres: Postgres):
        self.connection = postgres.connect(database="postgres")
        self.lock = threading.Lock()

    def sql(self, text: str) -> list:
        with self.lock:
            answer = self.connection.query(text)
        assert not wire.errors(answer), [e.fields for e in wire.errors(answer)]
        return wire.rows(answer)

    def close(self) -> None:
        self.connection.terminate()
