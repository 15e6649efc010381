"""A private PostgreSQL and a pgberth in front of it, in one directory that can be thrown away.

Used by tests/demo/demo.py. PostgreSQL listens on a Unix socket only. Nothing here touches a cluster of the system, a
socket of somebody else or a port that is taken. As root, both processes run as user postgres, because neither of them
runs as root; the directory then lies where that user may go.
"""

import errno
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from private_tree import private_tree  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PG_BIN = "/usr/lib/postgresql/15/bin"
SOCKET_PATH_MAX = 107  # what struct sockaddr_un holds; the longest name below a socket directory has 17 bytes

CONFIG = """\
; Written by the demo. etc/pgberth.ini is the file to start from; all settings: docs/config.md.
[databases]
app = host={pg_sockets} port=5432 dbname=app

[pgberth]
listen_addr = 127.0.0.1
transaction_port = {transaction_port}
session_port = {session_port}
listen_port = {listen_port}
unix_socket_dir = {broker_sockets}

auth_type = scram-sha-256
auth_file = {dir}/userlist.txt
admin_users = dba
; Where the extension is, the broker registers itself: then berth.activity, berth.advice and the other views answer.
link_user = broker

default_pool_size = 20
min_pool_size = 20
max_client_conn = 2000
log_connections = 0
log_disconnections = 0
"""


class DemoError(Exception):
    """A step that did not do what it should. The text is for the user."""


def clean_environment(**extra):
    """The caller's environment without what would redirect libpq."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C.UTF-8", **extra}


def next_free_port(wanted, taken):
    """The first port from `wanted` on that nobody listens on and that is not in `taken`."""
    for port in range(wanted, wanted + 200):
        if port in taken:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                probe.listen(1)
                return port
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
    raise DemoError(f"no free port between {wanted} and {wanted + 199}")


class Place:
    """One instance of the demo, `name` being `run` or `up`: its directory, its cluster and its broker."""

    def __init__(self, name):
        self.name = name
        self.base = os.path.join(ROOT, "build", "demo")
        self.link = os.path.join(self.base, name)
        self.note = os.path.join(self.base, name + ".json")
        self.user = "postgres" if os.geteuid() == 0 else None
        self.dir = None
        self.broker = None
        self.broker_pid = 0
        self.ports = {}
        self.passwords = {}

    # Processes -------------------------------------------------------------------------------------------------------

    def owned(self):
        """Arguments of subprocess that start a program as the user who owns the place."""
        if self.user is None:
            return {}
        return {"user": self.user, "group": self.user, "extra_groups": []}

    def run(self, command, **options):
        """Runs a program of the place's owner; its output when it succeeds, a DemoError when it does not."""
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, env=clean_environment(), cwd="/", **self.owned(), **options)
        if done.returncode != 0:
            raise DemoError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def superuser_sql(self, sql, database="postgres"):
        return self.run([f"{PG_BIN}/psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", self.pg_sockets, "-U", "postgres",
                         "-d", database, "-c", sql])

    # Directories -----------------------------------------------------------------------------------------------------

    @property
    def pg_sockets(self):
        return os.path.join(self.dir, "pg")

    @property
    def broker_sockets(self):
        return os.path.join(self.dir, "berth")

    def fits(self, directory):
        """Whether sockets below `directory` have short enough names, and the owner may go there."""
        if len(os.path.join(directory, "berth", ".s.PGSQL.65535")) >= SOCKET_PATH_MAX:
            return False
        if self.user is None:
            return True
        return subprocess.run(["test", "-x", os.path.dirname(directory)], **self.owned()).returncode == 0

    def make_directory(self):
        """Creates the place: build/demo/NAME if it will do, else a directory in /var/tmp with a link to it."""
        os.makedirs(self.base, exist_ok=True)
        if self.fits(self.link):
            self.dir = self.link
            os.mkdir(self.dir)
        else:
            self.dir = tempfile.mkdtemp(prefix="pgberth-demo-", dir="/var/tmp")
            os.symlink(self.dir, self.link)
        self.save()
        os.chmod(self.dir, 0o755)
        for directory, mode in ((self.pg_sockets, 0o700), (self.broker_sockets, 0o755)):
            os.mkdir(directory)
            os.chmod(directory, mode)
        if self.user is not None:
            owner = pwd.getpwnam(self.user)
            for directory in (self.dir, self.pg_sockets, self.broker_sockets):
                os.chown(directory, owner.pw_uid, owner.pw_gid)

    # The note on disk, from which another process stops what this one started ---------------------------------------

    def save(self):
        with open(self.note + ".new", "w", encoding="utf-8", opener=private) as file:
            json.dump({"dir": self.dir, "broker_pid": self.broker_pid, "ports": self.ports,
                       "passwords": self.passwords}, file)
        os.replace(self.note + ".new", self.note)

    def load(self):
        """Reads what an earlier process left. False: nothing."""
        try:
            with open(self.note, encoding="utf-8") as file:
                left = json.load(file)
        except FileNotFoundError:
            return False
        self.dir, self.broker_pid = left["dir"], left["broker_pid"]
        self.ports, self.passwords = left["ports"], left["passwords"]
        return True

    # PostgreSQL ------------------------------------------------------------------------------------------------------

    @property
    def programs(self):
        """Those of a PostgreSQL that has the extension, in a tree of its own."""
        return os.path.join(self.dir, "tree") + PG_BIN

    def start_postgres(self):
        private_tree(os.path.join(self.dir, "tree"))
        data = os.path.join(self.dir, "data")
        self.run([f"{self.programs}/initdb", "-D", data, "-U", "postgres", "-A", "reject", "-E", "UTF8", "--locale=C.UTF-8",
                  "--no-sync", "--no-instructions"])
        system_user = self.user or pwd.getpwuid(os.geteuid()).pw_name
        self.write("data/pg_hba.conf", "local all postgres peer map=demo\nlocal all all scram-sha-256\n")
        self.write("data/pg_ident.conf", f"demo {system_user} postgres\n")
        self.write("data/postgresql.auto.conf",
                   "listen_addresses = ''\n"
                   f"unix_socket_directories = '{self.pg_sockets}'\n"
                   "port = 5432\nmax_connections = 100\n"
                   "fsync = off\n"  # it is thrown away afterwards
                   "logging_collector = off\n")
        self.run([f"{self.programs}/pg_ctl", "-D", data, "-l", os.path.join(self.dir, "postgres.log"), "-w", "-s", "start"])

    def create_database(self):
        """The database `app`, its owner, and the console's administrator; their secrets go to the broker's auth_file."""
        self.passwords = {name: secrets.token_hex(8) for name in ("app", "dba", "broker")}
        for name, password in self.passwords.items():
            self.superuser_sql(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        self.superuser_sql("CREATE DATABASE app OWNER app")
        userlist = self.superuser_sql("SELECT format('\"%s\" \"%s\"', rolname, rolpassword) FROM pg_authid"
                                      " WHERE rolname IN ('app', 'dba')")
        # The link logs in by libpq, which wants the password itself.
        self.write("userlist.txt", userlist + f'"broker" "{self.passwords["broker"]}"\n')
        self.superuser_sql("CREATE EXTENSION pgberth; SELECT berth.grant_access('broker', 'broker');"
                           "SELECT berth.grant_access('app', 'runner');"
                           "GRANT pg_monitor TO dba", "app")

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="utf-8", opener=private) as file:
            file.write(text)
        if self.user is not None:
            owner = pwd.getpwnam(self.user)
            os.chown(path, owner.pw_uid, owner.pw_gid)

    # The broker ------------------------------------------------------------------------------------------------------

    def choose_ports(self, say):
        for name, wanted in (("transaction", 6543), ("session", 5432), ("listen", 6432)):
            port = next_free_port(wanted, self.ports.values())
            if port != wanted and name != "listen":
                say(f"Port {wanted} is taken; the {name} port is {port} instead.")
            self.ports[name] = port

    def start_broker(self, binary):
        self.write("pgberth.ini", CONFIG.format(
            dir=self.dir, pg_sockets=self.pg_sockets, broker_sockets=self.broker_sockets,
            transaction_port=self.ports["transaction"], session_port=self.ports["session"],
            listen_port=self.ports["listen"]))
        program = os.path.join(self.dir, "pgberth")
        shutil.copyfile(binary, program)  # the owner of the place might not be able to go to the clone
        os.chmod(program, 0o755)
        with open(os.path.join(self.dir, "pgberth.log"), "ab") as log:
            self.broker = subprocess.Popen([program, os.path.join(self.dir, "pgberth.ini")], stdin=subprocess.DEVNULL,
                                           stdout=log, stderr=log, cwd="/", start_new_session=True,
                                           env=clean_environment(), **self.owned())
        self.broker_pid = self.broker.pid
        self.save()
        for name, port in self.ports.items():
            self.wait_for_port(name, port)

    def wait_for_port(self, name, port):
        deadline = time.monotonic() + 15
        while True:
            if self.broker.poll() is not None:
                raise DemoError(f"the broker ended with {self.broker.returncode}:\n{self.log_tail('pgberth.log')}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=2).close()
                return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise DemoError(f"the broker does not listen on its {name} port {port} ({error}):\n"
                                    f"{self.log_tail('pgberth.log')}") from error
                time.sleep(0.05)

    def log_tail(self, name, lines=15):
        try:
            with open(os.path.join(self.dir, name), encoding="utf-8", errors="replace") as file:
                return "".join("    " + line for line in file.readlines()[-lines:])
        except FileNotFoundError:
            return ""

    def broker_runs(self):
        """Whether the noted process is still our broker: a pid alone could be somebody else's by now."""
        try:
            with open(f"/proc/{self.broker_pid}/cmdline", "rb") as file:
                return os.path.join(self.dir, "pgberth.ini").encode() in file.read().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            return False

    # The end ---------------------------------------------------------------------------------------------------------

    def stop_broker(self):
        """Asks the broker to finish its transactions and end; then insists. Returns the signal that did it, or None."""
        used = None
        for sign, patience in ((signal.SIGINT, 10), (signal.SIGQUIT, 5), (signal.SIGKILL, 5)):
            if not self.broker_pid or not self.broker_runs():
                break
            used = sign
            os.kill(self.broker_pid, sign)
            deadline = time.monotonic() + patience
            while self.broker_runs() and time.monotonic() < deadline:
                if self.broker is not None:
                    self.broker.poll()
                time.sleep(0.02)
        return used

    def stop_postgres(self):
        data = os.path.join(self.dir, "data")
        if os.path.exists(os.path.join(data, "postmaster.pid")):
            self.run([f"{self.programs}/pg_ctl", "-D", data, "-m", "fast", "-w", "-s", "stop"])

    def keep_logs(self):
        """Copies the logs to build/demo/logs, before the place is removed."""
        kept = os.path.join(self.base, "logs")
        os.makedirs(kept, exist_ok=True)
        for name in ("pgberth.log", "postgres.log", "pgberth.ini"):
            if os.path.exists(os.path.join(self.dir, name)):
                shutil.copyfile(os.path.join(self.dir, name), os.path.join(kept, name))
        return kept

    def remove(self):
        shutil.rmtree(self.dir)
        if os.path.islink(self.link):
            os.unlink(self.link)
        os.unlink(self.note)


def private(path, flags):
    """An opener for files that hold secrets."""
    return os.open(path, flags, 0o600)
