"""The bench's ground: a private PostgreSQL on a Unix socket, in a directory that is thrown away at the end.

As root everything runs as user postgres, because neither PostgreSQL nor any of the brokers runs as root. The
directory lies in /tmp, because user postgres may not enter a clone under /root, and a socket's path must be short.
"""

import glob
import os
import pwd
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
USER = DATABASE = "bench"
SERVER_PORT = 5432  # only a part of the socket's name
MAX_CONNECTIONS = 400
FILES = 65536  # 10,000 clients, and a broker's end of each

SETTINGS = {
    "listen_addresses": "''", "port": SERVER_PORT, "max_connections": MAX_CONNECTIONS, "fsync": "off",
    "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "256MB", "autovacuum": "off",
    "max_wal_size": "2GB", "checkpoint_timeout": "1h", "jit": "off", "logging_collector": "off",
}


class BenchError(Exception):
    """The bench cannot go on. The text is for the user."""


def pg_bin():
    """The directory with initdb and pgbench of the newest PostgreSQL installed."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda p: int(p.split("/")[4]))
    if not found:
        raise BenchError("no PostgreSQL server is installed: make deps")
    return os.path.dirname(found[-1])


def clean_environment():
    """The environment without what would redirect libpq; no TLS is even asked for."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C.UTF-8", "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}


def raise_file_limit():
    """Raises the soft limit of open files, which all processes of the bench inherit; returns what it is now."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = min(FILES, hard) if hard != resource.RLIM_INFINITY else FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def free_port(taken):
    """A port of 127.0.0.1 below the range of outgoing ones, so that no client takes it between two restarts."""
    for port in range(26400, 32000):
        if port in taken:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        taken.add(port)
        return port
    raise BenchError("no free port")


class Cluster:
    """The directory, the PostgreSQL in it, and the rights under which the processes of the bench run."""

    def __init__(self, scale):
        self.bin = pg_bin()
        self.scale = scale
        self.ports = set()
        self.postmaster = None
        self.identity = {}
        self.dir = tempfile.mkdtemp(prefix="pgberth-bench-", dir="/tmp")
        os.chmod(self.dir, 0o755)
        if os.geteuid() == 0:
            postgres = pwd.getpwnam("postgres")
            self.identity = {"user": postgres.pw_uid, "group": postgres.pw_gid, "extra_groups": []}
            os.chown(self.dir, postgres.pw_uid, postgres.pw_gid)
        self.sockets = self.subdirectory("pg")

    def free_port(self):
        return free_port(self.ports)

    def subdirectory(self, name):
        path = os.path.join(self.dir, name)
        os.makedirs(path, exist_ok=True)
        if self.identity:
            os.chown(path, self.identity["user"], self.identity["group"])
        return path

    def popen(self, command, log):
        """Starts a process under the bench's rights; what it prints goes to the file `log` of the directory."""
        with open(os.path.join(self.dir, log), "ab") as out:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.dir,
                                    env=clean_environment(), **self.identity)

    def start(self):
        data = os.path.join(self.dir, "data")
        self.run_as([f"{self.bin}/initdb", "-D", data, "-U", USER, "-A", "trust", "-E", "UTF8", "--no-sync"])
        with open(os.path.join(data, "postgresql.auto.conf"), "a", encoding="utf-8") as conf:
            conf.write("".join(f"{name} = {value}\n" for name, value in SETTINGS.items()))
            conf.write(f"unix_socket_directories = '{self.sockets}'\n")
        self.postmaster = self.popen([f"{self.bin}/postgres", "-D", data], "postgres.log")
        self.wait_until_answers(self.sockets, SERVER_PORT, "postgres", self.postmaster)
        here = ["-h", self.sockets, "-U", USER]
        self.run_as([f"{self.bin}/createdb", *here, DATABASE])
        self.run_as([f"{self.bin}/pgbench", *here, "-i", "-q", "-s", str(self.scale), DATABASE])

    def run_as(self, command):
        done = subprocess.run(command, cwd=self.dir, env=clean_environment(), capture_output=True, text=True,
                              check=False, **self.identity)
        if done.returncode != 0:
            raise BenchError(f"{' '.join(command)}:\n{done.stderr}")
        return done.stdout

    def wait_until_answers(self, host, port, database, process, seconds=30):
        """Waits for the first answered query; the process that should answer must live."""
        deadline = time.monotonic() + seconds
        command = [f"{self.bin}/psql", "-h", host, "-p", str(port), "-U", USER, "-Atqc", "SELECT 1", database]
        while True:
            if process.poll() is not None:
                raise BenchError(f"exit status {process.returncode} at start")
            probe = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False,
                                   timeout=seconds)
            if probe.returncode == 0:
                return
            if time.monotonic() > deadline:
                raise BenchError(f"no answer after {seconds} s: {probe.stderr.strip()}")
            time.sleep(0.1)

    def stop(self, keep):
        """Ends PostgreSQL and removes the directory, unless its logs are wanted."""
        if self.postmaster is not None and self.postmaster.poll() is None:
            self.postmaster.send_signal(signal.SIGINT)
            try:
                self.postmaster.wait(20)
            except subprocess.TimeoutExpired:
                self.postmaster.send_signal(signal.SIGQUIT)
                self.postmaster.wait(20)
        if not keep:
            shutil.rmtree(self.dir, ignore_errors=True)
