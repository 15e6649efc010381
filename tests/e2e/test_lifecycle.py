"""The life of the process: command line, signals, sockets, log, pidfile."""

import os
import re
import resource
import signal
import socket
import subprocess

import pytest

from harness import wire
from harness.broker import IS_PGBOUNCER, PGBOUNCER_VERSION, sanitizer_environment
from harness.program import closed_port, prepared, run, setting
from harness.raw import Closed, Raw, Refused
from harness.system import as_service_user, eventually, give_to_service_user, spawn

LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \w+ \[\d+\] (LOG|WARNING|ERROR|FATAL|DEBUG|NOISE) \S")


# Command line ---------------------------------------------------------------------------------------------------------

def test_version_and_help(broker):
    made = prepared(broker)
    status, text = run(made, "-V")
    assert status == 0 and re.search(r"\d+\.\d+", text)
    status, text = run(made, "-h")
    assert status == 0 and all(option in text for option in ("-d", "-q", "-v", "-u", "-V", "-h"))


@pytest.mark.parametrize("arguments", [[], ["/no/such/file.ini"], ["--no-such-option"], ["-d"]])
def test_wrong_command_lines(broker, arguments):
    status, text = run(prepared(broker), *arguments)
    assert status != 0 and status > 0 and text.strip()


@pytest.mark.ours
def test_check(broker):
    """--check reads the file, says what is wrong with it, and starts nothing."""
    made = prepared(broker)
    status, text = run(made, "--check", made.ini)
    assert status == 0, text
    assert closed_port(made.listen_port)
    made.settings["pool_mode"] = "sometimes"
    made.settings["client_tls_key_file"] = "/no/such/key"
    made.write_files()
    status, text = run(made, "--check", made.ini)
    assert status == 1 and "pool_mode" in text
    assert "warning: " in text and "client_tls_key_file" in text, "a mistake hides no warning"


def ended(pid):
    """Gone, or dead and not yet buried by whoever has adopted it."""
    try:
        return open(f"/proc/{pid}/stat", encoding="utf-8").read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_daemon(broker):
    """-d: the parent ends when the daemon is ready or lets go; the pidfile names the daemon."""
    made = prepared(broker)
    status, _ = run(made, "-d", made.ini)
    assert status == 0
    pid = int(eventually(lambda: made.pid_path.exists() and made.pid_path.read_text().strip()))
    try:
        eventually(lambda: not closed_port(made.listen_port))
        with made.connect(made.listen_port) as c:
            assert c.value("select 1") == "1"
    finally:
        os.kill(pid, signal.SIGQUIT if PGBOUNCER_VERSION >= (1, 23) or not IS_PGBOUNCER else signal.SIGTERM)
    eventually(lambda: ended(pid))
    assert not made.pid_path.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_root_is_refused(broker):
    made = prepared(broker)
    status, text = run(made, made.ini, user=False)
    assert status == 1 and "root" in text
    assert closed_port(made.listen_port)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
@pytest.mark.parametrize("where", ["setting", "option"])
def test_root_drops_its_privileges(broker, where):
    made = prepared(broker, **({"user": "postgres"} if where == "setting" else {}))
    arguments = ["-u", "postgres"] if where == "option" else []
    with open(made.output_path, "ab") as out:
        process = made.process = subprocess.Popen([str(made.binary), *arguments, str(made.ini)], stdin=subprocess.DEVNULL,
                                                  stdout=out, stderr=out, cwd="/", env=sanitizer_environment())
    assert made.wait_ready()
    fields = dict(line.split(":\t", 1) for line in open(f"/proc/{process.pid}/status") if ":\t" in line)
    assert "0" not in fields["Uid"].split() + fields["Gid"].split()
    assert "0" not in fields["Groups"].split()
    with made.connect(made.listen_port) as c:
        assert c.value("select 1") == "1"


# Signals --------------------------------------------------------------------------------------------------------------

@pytest.mark.newer
def test_sigterm_waits_for_clients(broker):
    """No new client; the old ones work until they leave; then the process ends with 0."""
    b = broker()
    c, idle = b.connect(), b.connect()
    c.query("select 1")
    b.signal(signal.SIGTERM)
    eventually(lambda: not accepts(b), "no new client")
    for n in range(5):
        assert c.query("begin")[-1].status == "T"
        assert c.query("commit")[-1].status == "I"
    idle.terminate()
    assert c.value("select 'still'") == "still" and b.alive
    c.terminate()
    assert b.wait_exit() == 0
    assert not b.pid_path.exists()


def accepts(b):
    try:
        b.connect().terminate()
        return True
    except (OSError, Refused, Closed):
        return False


@pytest.mark.newer
def test_sigint_waits_for_servers(broker):
    """Transactions in progress end; who is idle is sent away."""
    b = broker()
    c, idle = b.connect(), b.connect()
    c.query("begin")
    idle.query("select 1")
    b.signal(signal.SIGINT)
    eventually(lambda: not accepts(b), "no new client")
    assert c.value("select 'in transaction'") == "in transaction"
    assert b.alive
    c.send(wire.query("commit"))
    answer = []
    try:
        answer = c.until("Z")
    except Closed as closed:
        answer = closed.messages
    assert wire.command_tags(answer) == ["COMMIT"]
    assert b.wait_exit() == 0
    assert set(wire.tags(idle.until_closed())) <= {"E"}


@pytest.mark.newer
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_second_signal(broker, postgres, first, second):
    b = broker()
    c = b.connect()
    c.query("begin")
    b.signal(first)
    eventually(lambda: not accepts(b))
    assert b.alive
    b.signal(second)
    assert b.wait_exit() in (0, 1)
    c.until_closed()
    eventually(lambda: not postgres.backends(where="usename = 'app'"), "no backend is left (class 65)")


@pytest.mark.newer
def test_sigquit(broker, postgres):
    b = broker()
    c = b.connect()
    c.query("begin")
    b.signal(signal.SIGQUIT)
    assert b.wait_exit() in (0, 1)
    assert set(wire.tags(c.until_closed())) <= {"E"}
    assert not b.pid_path.exists()
    eventually(lambda: not postgres.backends(where="usename = 'app'"))


@pytest.mark.ours
def test_error_of_a_shutdown(broker):
    """57P01, as from a PostgreSQL that shuts down."""
    b = broker()
    c = b.connect()
    c.query("select 1")
    b.signal(signal.SIGQUIT)
    said = c.until_closed()
    assert wire.sqlstates(said) == ["57P01"] and said[0].severity == "FATAL"
    b.wait_exit()


def test_sigusr1_and_sigusr2(broker):
    b = broker()
    c = b.connect()
    c.query("select 1")
    b.signal(signal.SIGUSR1)
    eventually(lambda: {r["key"]: r["value"] for r in b.console("show state")}["paused"] == "yes")
    c.send(wire.query("select 'resumed'"))
    assert c.quiet(0.1)
    b.signal(signal.SIGUSR2)
    assert wire.rows(c.until("Z")) == [["resumed"]]


def test_storm_of_signals(broker):
    """Faults of group Control: 100 pauses and resumes while clients work."""
    b = broker()
    c = b.connect()
    for n in range(100):
        b.signal(signal.SIGUSR1)
        b.signal(signal.SIGUSR2)
        c.send(wire.query(f"select {n}"))
        if n % 10 == 9:
            for _ in range(10):
                c.until("Z")
    b.signal(signal.SIGUSR2)
    assert c.value("select 'end'") == "end"


# Pidfile, log, sockets ------------------------------------------------------------------------------------------------

def test_pidfile(broker):
    b = broker()
    assert int(b.pid_path.read_text()) == b.pid


def test_second_instance_on_the_same_socket(broker):
    """A live socket of somebody else is never unlinked; the first instance goes on."""
    b = broker()
    second = prepared(broker)
    second.settings.update(listen_port=b.listen_port, unix_socket_dir=str(b.root), listen_addr="")
    for mode in ("transaction_port", "session_port"):
        second.settings.pop(mode, None)
        if mode in b.settings:
            second.settings[mode] = b.settings[mode]
    second.write_files()
    status, text = run(second, second.ini)
    assert status == 1, text
    with Raw(b.listen_port, str(b.root)).login("app", "e2e") as c:
        assert c.value("select 1") == "1"


def test_address_in_use(broker):
    b = broker()
    second = prepared(broker)
    second.settings["listen_port"] = b.listen_port
    second.write_files()
    status, text = run(second, second.ini)
    assert status == 1 and re.search("in use", text) and str(b.listen_port) in text
    assert b.connect().value("select 1") == "1"


@pytest.mark.ours
def test_stale_socket_is_replaced(broker):
    """What a killed instance left behind."""
    made = prepared(broker)
    path = made.root / f".s.PGSQL.{made.listen_port}"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    give_to_service_user(path)
    made.settings.pop("transaction_port", None), made.settings.pop("session_port", None)
    made.write_files()
    made.launch()
    assert made.wait_ready()
    with Raw(made.listen_port, str(made.root)).login("app", "e2e") as c:
        assert c.value("select 1") == "1"


def test_unix_socket_mode(broker):
    b = broker(unix_socket_mode="0700")
    assert os.stat(b.root / f".s.PGSQL.{b.listen_port}").st_mode & 0o777 == 0o700


def test_log_lines(broker):
    """PgBouncer's format, so that its parsers (pgbadger) read it."""
    b = broker()
    c = b.connect()
    c.query("select 1")
    port = c.sock.getsockname()[1]
    c.terminate()
    eventually(lambda: "client close request" in b.log)
    b.connect()
    for line in b.log.splitlines():
        assert LINE.match(line), line
    assert re.search(rf"LOG C-0x[0-9a-f]+: e2e/app@127\.0\.0\.1:{port} login attempt: db=e2e user=app tls=no", b.log)
    assert re.search(rf"LOG C-0x[0-9a-f]+: e2e/app@127\.0\.0\.1:{port} closing because: client close request \(age=\d+s\)",
                     b.log)
    assert re.search(r"LOG S-0x[0-9a-f]+: e2e/app@\S+ new connection to server", b.log)


@pytest.mark.parametrize("key, text", [("log_connections", "login attempt"), ("log_disconnections", "closing because")])
def test_log_can_be_quieter(broker, key, text):
    b = broker(**{key: 0})
    b.connect().terminate()
    eventually(lambda: not b.clients(user="app"))
    assert text not in "\n".join(line for line in b.log.splitlines() if "/app@" in line and "C-" in line)


def test_log_stats(broker):
    b = broker(stats_period=1, log_stats=1)
    eventually(lambda: re.search(r"LOG stats: \d+ xacts/s", b.log))


def test_log_is_reopened(broker):
    b = broker()
    moved = b.root / "moved.log"
    os.rename(b.log_path, moved)
    b.signal(signal.SIGHUP)
    eventually(lambda: "SIGHUP" in moved.read_text())
    c = b.connect(application_name="after")
    port = c.sock.getsockname()[1]
    eventually(b.log_path.exists, "a new file")
    eventually(lambda: f":{port} login attempt" in b.log_path.read_text())
    assert f":{port} login attempt" not in moved.read_text()


@pytest.mark.ours
def test_set_of_the_log(broker):
    """SET verbose and SET logfile take effect at once; a file that cannot be opened changes nothing."""
    b = broker(stats_period=100)
    asked = lambda path: path.read_text().count("got admin query")
    b.console("show version")
    assert asked(b.log_path) == 0
    b.console("set verbose = 2")
    b.console("show version")
    assert asked(b.log_path) == 1
    answer = b.console.connection.query("set logfile = '/no/such/directory/log'")
    assert wire.sqlstates(answer) == ["08P01"] and setting(b, "logfile") == str(b.log_path)
    other = b.root / "other.log"
    b.console(f"set logfile = '{other}'")
    before = asked(b.log_path)
    b.console("show version")
    assert asked(other) == 1 and asked(b.log_path) == before
    b.console("set verbose = 0")
    b.console("show version")
    assert asked(other) == 2
    b.console("set log_connections = 0")
    count = other.read_text().count("login attempt")
    b.connect().terminate()
    assert other.read_text().count("login attempt") == count


@pytest.mark.ours
def test_lifetimes_of_names(broker):
    """dns_max_ttl and dns_nxdomain_ttl say for how long names are remembered: from the file, by a reload, by SET."""
    b = broker(databases={"known": "host=localhost port=1", "unknown": "host=no-such-name.invalid"},
               dns_max_ttl=1000, dns_nxdomain_ttl=2000, query_wait_timeout=1, server_login_retry=1)
    names = lambda: {r["hostname"]: int(r["ttl"]) for r in b.console("show dns_hosts")}

    def looked_up():
        b.console("reconnect")
        for database in ("known", "unknown"):
            with Raw(b.transaction_port) as c, pytest.raises((Refused, Closed)):
                c.login("app", database)
        return eventually(lambda: len(names()) == 2 and names(), "both names")

    ttl = looked_up()
    assert 500 < ttl["localhost"] <= 1000 and 1500 < ttl["no-such-name.invalid"] <= 2000
    b.settings.update(dns_max_ttl=3000, dns_nxdomain_ttl=4000)
    b.reload()
    assert not names()
    ttl = looked_up()
    assert 2500 < ttl["localhost"] <= 3000 and 3500 < ttl["no-such-name.invalid"] <= 4000
    b.console("set dns_nxdomain_ttl = 6000")
    b.console("reconnect")
    assert ttl.keys() == names().keys()  # what is known keeps its time


def test_systemd_notify(broker):
    """READY=1 when it is ready, STOPPING=1 or the end afterwards."""
    made = prepared(broker)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as box:
        path = made.root / "notify"
        box.bind(str(path))
        path.chmod(0o777)
        box.settimeout(30)
        made.process = spawn([made.binary, made.ini], made.output_path,
                             env={**sanitizer_environment(), "NOTIFY_SOCKET": str(path)})
        heard = b""
        while b"READY=1" not in heard:
            heard += box.recv(4096) + b"\n"
    assert made.wait_ready()


@pytest.mark.ours
def test_low_file_limit(broker):
    """class 64: the soft limit is raised; where the hard limit is too low for max_client_conn, the log says so."""
    made = prepared(broker, max_client_conn=5000)
    with open(made.output_path, "ab") as out:
        made.process = subprocess.Popen(
            [str(made.binary), str(made.ini)], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/",
            env=sanitizer_environment(), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 300)),
            **as_service_user())
    assert made.wait_ready()
    limits = [line.split() for line in open(f"/proc/{made.process.pid}/limits") if line.startswith("Max open files")]
    assert limits[0][3] == "300"
    assert re.search(r"max_client_conn", made.log)
    held = []
    for _ in range(400):
        try:
            held.append(Raw(made.listen_port))
        except OSError:
            break
    for c in held:
        c.close()
    eventually(lambda: served(made), "EMFILE passes")


def served(b):
    try:
        with b.connect(b.listen_port) as c:
            return c.value("select 1") == "1"
    except (OSError, Closed, Refused, TimeoutError):
        return False
