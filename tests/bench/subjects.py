"""The brokers that the bench compares: how each is found, configured and started.

All of them get the same terms: transaction pooling, a fixed set of 20 servers reached over PostgreSQL's Unix socket,
trust authentication, no log line for connections and statistics, room for 12,000 clients. Clients come over TCP, or
over the broker's own Unix socket with --client-socket.
"""

import glob
import os
import shutil
import signal
import subprocess

from cluster import DATABASE, ROOT, SERVER_PORT, USER, BenchError

BACKENDS = 20
MAX_CLIENTS = 12000
PEERS = os.path.join(ROOT, "build", "peers")
BARE = os.path.join(ROOT, "build", "bare", "pgberth")  # made by `make bench-bare`
DEBIAN_PGBOUNCER = "/usr/sbin/pgbouncer"

INI = """\
[databases]
{database} = host={server_sockets} port={server_port} dbname={database} user={user}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir = {dir}
pool_mode = transaction
auth_type = trust
auth_file = {dir}/userlist.txt
admin_users = {user}
max_client_conn = {max_clients}
listen_backlog = 4096
default_pool_size = {backends}
min_pool_size = {backends}
log_connections = 0
log_disconnections = 0
log_stats = 0
logfile = {dir}/log
"""

ODYSSEY = """\
daemonize no
unix_socket_dir "{server_sockets}"
unix_socket_mode "0777"
log_format "%p %t %l [%i %s] (%c) %m\\n"
log_file "{dir}/log"
log_to_stdout no
log_config no
log_debug no
log_session no
log_stats no
log_query no
workers 1
client_max {max_clients}
coroutine_stack_size 24
listen {{
    host "127.0.0.1"
    port {port}
    backlog 4096
}}
listen {{
    port {port}
    backlog 4096
}}
storage "postgres" {{
    type "remote"
    port {server_port}
}}
database "{database}" {{
    user "{user}" {{
        authentication "none"
        storage "postgres"
        pool "transaction"
        pool_size {backends}
        min_pool_size {backends}
        pool_timeout 0
        pool_discard no
        pool_smart_discard no
        pool_reserve_prepared_statement yes
        client_fwd_error yes
        log_debug no
    }}
}}
"""


class Subject:
    """One broker: its files in a directory of its own, and the process while it runs."""

    def __init__(self, name, cluster, prepared=True):
        self.name = name
        self.cluster = cluster
        self.prepared = prepared  # knows named statements in transaction mode
        self.dir = cluster.subdirectory(name)
        self.port = cluster.free_port()
        self.process = None
        self.program = []  # the program, below its loader if it needs one of its own

    def command(self):
        raise NotImplementedError

    def install(self, source):
        """Copies the program: a rebuild in the middle of a run must not change the subject, and user postgres may be
        unable to enter the tree."""
        target = os.path.join(self.dir, os.path.basename(source))
        shutil.copy(source, target)
        os.chmod(target, 0o755)
        self.program = [target]

    def write(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        os.chmod(path, 0o644)
        return path

    def fill(self, template):
        return template.format(database=DATABASE, user=USER, server_sockets=self.cluster.sockets,
                               server_port=SERVER_PORT, port=self.port, dir=self.dir, backends=BACKENDS,
                               max_clients=MAX_CLIENTS)

    def start(self, prefix=(), seconds=30):
        """Starts the broker, below the command `prefix` if there is one, and waits until it answers a query.

        A socket that its killed predecessor left would be in the way of Odyssey and of the relay.
        """
        left = self.socket_path()
        if os.path.exists(left):
            os.unlink(left)
        self.process = self.cluster.popen([*prefix, *self.command()], f"{self.name}.out")
        try:
            self.cluster.wait_until_answers("127.0.0.1", self.port, DATABASE, self.process, seconds)
        except BenchError as error:
            self.stop()
            raise BenchError(f"{self.name}: {error}\n{self.tail()}") from None

    def stop(self):
        """Ends the process at once; nothing of it is needed any more."""
        if self.process is None or self.process.poll() is not None:
            return
        for number in (signal.SIGQUIT, signal.SIGKILL):
            self.process.send_signal(number)
            try:
                self.process.wait(10)
                break
            except subprocess.TimeoutExpired:
                continue

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def tail(self):
        """The last lines that the process left, for a message about its end."""
        lines = []
        for path in (os.path.join(self.cluster.dir, f"{self.name}.out"), os.path.join(self.dir, "log")):
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as log:
                    lines += log.readlines()[-5:]
        return "".join(f"    {line}" for line in lines)

    @property
    def pid(self):
        return self.process.pid

    def address(self, by_socket):
        """Host and port as libpq wants them."""
        return (self.dir if by_socket else "127.0.0.1"), self.port

    def socket_path(self):
        host, port = self.address(True)
        return os.path.join(host, f".s.PGSQL.{port}")

    def version(self):
        done = subprocess.run([*self.program, "--version"], capture_output=True, text=True, check=False)
        return (done.stdout or done.stderr).split("\n")[0].strip()


class IniBroker(Subject):
    """PgBouncer, and pgberth, which reads the same file."""

    def __init__(self, name, cluster, source, extra="", prepared=True):
        super().__init__(name, cluster, prepared)
        if source.startswith(PEERS):
            self.program = unpack_peers(cluster, os.path.basename(source))
        else:
            self.install(source)
        self.write("userlist.txt", f'"{USER}" ""\n')
        self.config = self.write("broker.ini", self.fill(INI) + extra)

    def command(self):
        return [*self.program, "-q", self.config]


class Odyssey(Subject):
    """Odyssey with one worker. It has one socket directory, for its clients and its servers alike."""

    def __init__(self, name, cluster):
        super().__init__(name, cluster)
        self.program = unpack_peers(cluster, "odyssey")
        self.config = self.write("odyssey.conf", self.fill(ODYSSEY))

    def command(self):
        return [*self.program, self.config]

    def address(self, by_socket):
        return (self.cluster.sockets if by_socket else "127.0.0.1"), self.port


class Relay(Subject):
    """The floor: tests/bench/relay.cc."""

    def __init__(self, name, cluster, source):
        super().__init__(name, cluster)
        self.install(source)

    def command(self):
        server = os.path.join(self.cluster.sockets, f".s.PGSQL.{SERVER_PORT}")
        return [*self.program, str(self.port), self.socket_path(), server, USER, DATABASE, str(BACKENDS)]

    def version(self):
        return "tests/bench/relay.cc"


class Direct(Subject):
    """PostgreSQL itself, over its Unix socket, without a broker: what throughput is there to have."""

    def start(self, prefix=(), seconds=30):
        self.process = self.cluster.postmaster

    def stop(self):
        pass

    def address(self, by_socket):
        return self.cluster.sockets, SERVER_PORT

    def version(self):
        return self.cluster.run_as([f"{self.cluster.bin}/postgres", "--version"]).strip()


def unpack_peers(cluster, peer):
    """Copies build/peers into the cluster's directory once; returns the command that runs `peer` with its libraries.

    It is what the wrapper build/peers/PEER runs, without the shell, so that valgrind can be put before it.
    """
    target = os.path.join(cluster.dir, "peers")
    if not os.path.exists(target):
        shutil.copytree(PEERS, target, symlinks=True)
    libraries = os.path.dirname(glob.glob(f"{target}/root/usr/lib/*/libc.so.6")[0])
    program = glob.glob(f"{target}/root/usr/*bin/{peer}")[0]
    return [glob.glob(f"{libraries}/ld-linux*")[0], "--library-path", libraries, program]


def compile_helper(name, *libraries):
    """Builds tests/bench/NAME.cc into build/bench if it is newer; returns the program's path."""
    source = os.path.join(ROOT, "tests", "bench", f"{name}.cc")
    program = os.path.join(ROOT, "build", "bench", name)
    os.makedirs(os.path.dirname(program), exist_ok=True)
    if not os.path.exists(program) or os.path.getmtime(program) < os.path.getmtime(source):
        compiler = [os.environ.get("CXX", "g++"), "-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror"]
        done = subprocess.run([*compiler, source, "-o", program, *libraries], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchError(f"{source} does not compile:\n{done.stderr}")
    return program


def present(pgberth):
    """The subjects that this machine can run, in the order of the tables: a name and how to make it."""
    known = {}
    if pgberth and os.path.exists(pgberth):
        known["pgberth"] = lambda c: IniBroker("pgberth", c, pgberth, "workers = 1\nmax_prepared_statements = 200\n")
        known["pgberth-2w"] = lambda c: IniBroker("pgberth-2w", c, pgberth,
                                                  "workers = 2\nmax_prepared_statements = 200\n")
    if os.path.exists(BARE):
        known["pgberth-bare"] = lambda c: IniBroker("pgberth-bare", c, BARE,
                                                    "workers = 1\nmax_prepared_statements = 200\n")
    fetched = os.path.join(PEERS, "pgbouncer")
    if os.path.exists(os.path.join(PEERS, "complete")):
        known["pgbouncer"] = lambda c: IniBroker("pgbouncer", c, fetched, "max_prepared_statements = 200\n")
        known["odyssey"] = lambda c: Odyssey("odyssey", c)
        if os.path.exists(DEBIAN_PGBOUNCER):
            known["pgbouncer-debian"] = lambda c: debian_pgbouncer("pgbouncer-debian", c)
    elif os.path.exists(DEBIAN_PGBOUNCER):
        known["pgbouncer"] = lambda c: debian_pgbouncer("pgbouncer", c)
    known["relay"] = lambda c: Relay("relay", c, compile_helper("relay"))
    known["direct"] = lambda c: Direct("direct", c)
    return known


def debian_pgbouncer(name, cluster):
    """The installed one. Before 1.21 it knows no prepared statements in transaction mode, and no key about them."""
    version = subprocess.run([DEBIAN_PGBOUNCER, "--version"], capture_output=True, text=True, check=False).stdout
    major, minor = (int(part) for part in version.split()[1].split(".")[:2])
    prepared = (major, minor) >= (1, 21)
    return IniBroker(name, cluster, DEBIAN_PGBOUNCER, "max_prepared_statements = 200\n" if prepared else "", prepared)
