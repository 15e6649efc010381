"""What the process may do, and what it lets others do: privileges, files, the default configuration, the systemd unit."""

import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from harness.broker import REPOSITORY, sanitizer_environment
from harness.raw import Raw, Refused
from harness.system import SERVICE_USER, eventually, write

pytestmark = pytest.mark.ours

UNIT = REPOSITORY / "etc" / "pgberth.service"
EXPOSURE_MOST = 1.5  # of 10; systemd calls up to 2 SAFE


def fields_of(text):
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def status_of(pid):
    return fields_of(Path(f"/proc/{pid}/status").read_text())


def capabilities(status):
    """The sets that let a process do something, or give it to a program that it starts."""
    return [int(status[which], 16) for which in ("CapInh", "CapPrm", "CapEff", "CapAmb")]


def listens_on(pid):
    """Addresses of the TCP sockets on which a process listens, as the kernel writes them (hexadecimal)."""
    sockets = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            sockets.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:  # closed meanwhile
            continue
    out = []
    for table in ("tcp", "tcp6"):
        with open(f"/proc/{pid}/net/{table}") as file:
            for line in file.readlines()[1:]:
                words = line.split()
                if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
                    out.append(words[1].split(":")[0])
    return out


def test_no_privileges(broker):
    status = status_of(broker().pid)
    assert status["NoNewPrivs"] == "1"
    assert capabilities(status) == [0, 0, 0, 0]


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_capabilities_are_dropped(broker):
    """As systemd's AmbientCapabilities= gives them for a port below 1024: no thread keeps what only the start needs."""
    one = "+net_bind_service"
    given = ["setpriv", "--reuid", SERVICE_USER, "--regid", SERVICE_USER, "--clear-groups", "--inh-caps", one, "--ambient-caps", one]
    bare = subprocess.run([*given, "cat", "/proc/self/status"], stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    assert capabilities(fields_of(bare.stdout)) == [1 << 10] * 4
    b = broker(launch=False)
    program = b.binary

    def launch():
        with open(b.output_path, "ab") as out:
            b.process = subprocess.Popen([*given, str(program), str(b.ini)], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                         cwd="/", env=sanitizer_environment())

    b.launch = launch
    b.start()
    with b.connect() as client:
        assert client.value("select 1") == "1"
    for thread in os.listdir(f"/proc/{b.pid}/task"):
        assert capabilities(status_of(f"{b.pid}/task/{thread}")) == [0, 0, 0, 0]


def test_rights_of_files(broker):
    """What it makes, nobody else changes; what it reads and should be secret, it says by name."""
    b = broker(unix_socket_mode="0770")
    mode = lambda path: stat.S_IMODE(os.stat(path).st_mode)
    assert mode(b.log_path) & 0o027 == 0
    assert mode(b.pid_path) & 0o022 == 0
    assert mode(b.root / f".s.PGSQL.{b.listen_port}") == 0o770
    assert "chmod" not in b.log
    b.auth_file.chmod(0o644)
    b.console("RELOAD")
    eventually(lambda: f"{b.auth_file}: it holds secrets and everybody may read it: chmod o-rwx {b.auth_file}" in b.log)


def test_shipped_configuration_denies(broker):
    """T20: as shipped, it listens on loopback only and lets nobody in, for there is no user and no password."""
    b = broker()  # for its ports, which are free again when it has ended
    taken = {name: b.settings[name] for name in ("listen_port", "transaction_port", "session_port")}
    b.stop()
    b.process = None
    text = (REPOSITORY / "etc" / "pgberth.ini").read_text()
    for key, value in {**taken, "unix_socket_dir": b.root, "logfile": b.log_path, "pidfile": b.pid_path,
                       "user": pwd.getpwuid(os.getuid()).pw_name if SERVICE_USER is None else SERVICE_USER}.items():
        text, count = re.subn(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.M)
        assert count == 1, key
    write(b.ini, text)
    write(b.auth_file, (REPOSITORY / "etc" / "userlist.txt").read_text())
    b.launch()
    assert b.wait_ready()
    assert set(listens_on(b.pid)) == {"0100007F"}, "127.0.0.1"
    # Few of them: failed logins are answered later and later.
    for user, database, password in (("postgres", "postgres", "postgres"), ("postgres", "pgbouncer", "postgres"),
                                     ("admin", "pgberth", "admin"), ("pgbouncer", "pgbouncer", "pgbouncer")):
        with pytest.raises(Refused) as refused, Raw(taken["listen_port"]) as client:
            client.login(user, database, password)
        assert refused.value.sqlstate == "28P01", (user, database)


def test_built_in_defaults_deny(broker):
    """T20: a file that decides nothing gives no TCP port, and lets nobody in over the Unix socket."""
    b = broker()
    port = b.settings["listen_port"]
    b.stop()
    b.process = None
    write(b.ini, f"[databases]\n* = host={b.postgres.sockets}\n[pgbouncer]\nlisten_port = {port}\n"
                 f"unix_socket_dir = {b.root}\nlogfile = {b.log_path}\nlink = off\nauth_file = {b.auth_file}\n")
    write(b.auth_file, "")
    began = b.log.count("process up")
    b.launch()
    eventually(lambda: b.log.count("process up") > began, "the broker is up")
    assert listens_on(b.pid) == []
    for user, database in (("postgres", "e2e"), ("postgres", "pgbouncer"), ("admin", "pgbouncer")):
        with pytest.raises(Refused) as refused, Raw(port, str(b.root)) as client:
            client.login(user, database, user)
        assert refused.value.sqlstate == "28P01"


# The systemd unit ----------------------------------------------------------------------------------------------------------


def analyze(*arguments):
    return subprocess.run(["systemd-analyze", "--no-pager", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60, check=False)


def test_exposure_of_the_unit(tmp_path):
    """`systemd-analyze security`: the figure is below its bound, and docs/security.md has it."""
    unit = tmp_path / "pgberth.service"
    text = UNIT.read_text()
    unit.write_text(text.replace("@PREFIX@", "/usr").replace("@SYSCONFDIR@", "/etc"))
    report = analyze("security", "--offline=true", str(unit))
    figure = re.search(r"Overall exposure level for pgberth.service: ([0-9.]+)", report.stdout)
    assert figure, report.stdout
    open_doors = [line for line in report.stdout.splitlines() if line.startswith("✗")]
    assert float(figure[1]) <= EXPOSURE_MOST, "\n".join(open_doors)
    assert f"exposure level {figure[1]}" in (REPOSITORY / "docs" / "security.md").read_text()
    assert "Unknown" not in report.stdout and "Failed to parse" not in report.stdout


def test_a_user_of_its_own(tmp_path):
    """Not postgres, who owns the databases: what the unit and the shipped file name is the user that sysusers.d makes."""
    unit, ini = UNIT.read_text(), (REPOSITORY / "etc" / "pgberth.ini").read_text()
    assert re.findall(r"^(?:User|Group)=(.*)$", unit, re.M) == ["pgberth", "pgberth"]
    assert re.findall(r"^user = (.*)$", ini, re.M) == ["pgberth"]
    assert re.search(r"^InaccessiblePaths=.*/var/lib/postgresql", unit, re.M)
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    subprocess.run(["systemd-sysusers", f"--root={root}", str(REPOSITORY / "etc" / "pgberth.sysusers")], check=True, timeout=60)
    user = next(line.split(":") for line in (root / "etc" / "passwd").read_text().splitlines() if line.startswith("pgberth:"))
    assert user[2] != "0" and user[6].endswith("nologin"), user


def test_nothing_of_the_shipped_configuration_is_in_tmp():
    """Where everybody may make files, somebody else's link or pidfile may be there first."""
    ini = (REPOSITORY / "etc" / "pgberth.ini").read_text()
    places = dict(re.findall(r"^(unix_socket_dir|logfile|pidfile) = (.*)$", ini, re.M))
    assert len(places) == 3 and not [path for path in places.values() if not path.startswith(("/run/pgberth", "/var/log/pgberth"))]
    unit = UNIT.read_text()
    assert "\nRuntimeDirectory=pgberth\n" in unit and "\nLogsDirectory=pgberth\n" in unit


def calls_of(name):
    """The system calls of a name of SystemCallFilter=, groups resolved."""
    if not name.startswith("@"):
        return {name}
    listed = analyze("syscall-filter", name)
    assert listed.returncode == 0, listed.stdout
    words = [line.strip() for line in listed.stdout.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    return set().union(*map(calls_of, words)) if words else set()


def allowed_calls():
    """What the unit's filter lets through: each line adds, or with ~ takes away."""
    allowed = set()
    for value in re.findall(r"^SystemCallFilter=(.*)$", UNIT.read_text(), re.M):
        calls = set().union(*map(calls_of, value.lstrip("~").split()))
        allowed = allowed - calls if value.startswith("~") else allowed | calls
    return allowed


def numbers_of(calls):
    """Their numbers on this machine; those that it does not have are left out."""
    defined = subprocess.run(["g++", "-x", "c", "-dM", "-E", "-include", "sys/syscall.h", "/dev/null"], stdout=subprocess.PIPE,
                             text=True, check=True).stdout
    known = dict(re.findall(r"^#define __NR_(\w+) (\d+)$", defined, re.M))
    return sorted(int(known[call]) for call in calls if call in known)


def test_works_under_the_units_filter_of_system_calls(broker, postgres):
    """A whole life under the filter: start, logins, queries, the console, a reload, the link's thread, the end."""
    b = broker(auth_type="scram-sha-256", userlist={"app": "secret", "admin": "x", "pooler": "x"}, link="auto", link_user="pooler",
               launch=False)
    allowed = allowed_calls()
    assert {"io_uring_setup", "io_uring_enter", "io_uring_register", "epoll_pwait2", "mlock"} <= allowed
    assert not {"ptrace", "setuid", "chroot", "mount", "init_module", "keyctl", "process_vm_readv"} & allowed
    numbers = write(b.root / "numbers", "".join(f"{number}\n" for number in numbers_of(allowed)))
    filtered = shutil.copy(Path(__file__).parent / "harness" / "filtered.py", b.root)
    program = b.binary
    b.binary = write(b.root / "under-filter", f"#!/bin/sh\nexec {sys.executable} {filtered} {numbers} {program} \"$@\"\n")
    b.binary.chmod(0o755)
    b.start()
    status = status_of(b.pid)
    assert status["Seccomp"] == "2"
    for port in (b.transaction_port, b.session_port):
        with b.connect(port, password="secret") as client:
            assert client.value("select 1") == "1"
    b.console("RELOAD")
    b.console("RECONNECT")
    assert b.console("SHOW LINKS")
    assert b.alive
