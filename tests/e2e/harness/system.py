"""Processes, ports, temporary directories, and waiting by polling."""

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Callable, Sequence

PG_BIN = Path(os.environ.get("PG_BIN", "/usr/lib/postgresql/15/bin"))

# Neither PostgreSQL nor the broker runs as root, so under root everything is done as this user.
SERVICE_USER = "postgres" if os.getuid() == 0 else None


def as_service_user() -> dict:
    """Arguments for subprocess that drop root."""
    if SERVICE_USER is None:
        return {}
    entry = pwd.getpwnam(SERVICE_USER)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def give_to_service_user(path: Path) -> None:
    if SERVICE_USER is not None:
        shutil.chown(path, SERVICE_USER, SERVICE_USER)


def make_directory() -> Path:
    """A fresh directory of the service user; short, because a socket's path has at most 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="pge2e-", dir="/tmp"))
    path.chmod(0o755)
    give_to_service_user(path)
    return path


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    give_to_service_user(path)
    return path


def free_port() -> int:
    """A port below the range from which the kernel takes the ports of outgoing connections."""
    while True:
        port = random.SystemRandom().randrange(10000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def spawn(command: Sequence, log: Path, **kwargs) -> subprocess.Popen:
    """Starts a process as the service user, its output appended to a file."""
    with open(log, "ab") as out:
        return subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=out,
                                stderr=subprocess.STDOUT, cwd="/", start_new_session=True,
                                **as_service_user(), **kwargs)


def run_checked(command: Sequence, **kwargs) -> str:
    done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, cwd="/", text=True, timeout=120, **as_service_user(), **kwargs)
    assert done.returncode == 0, f"{command}: {done.stdout}"
    return done.stdout


def kill(process: subprocess.Popen) -> None:
    """The end of a process that may have ended already."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait(30)


def eventually(condition: Callable, what: str = "", timeout: float = 30.0):
    """Polls until the condition is true and returns its value; the timeout bounds a failure, it measures nothing."""
    deadline = time.monotonic() + timeout
    pause = 0.002
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen: {what or condition}; the last value was {value!r}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def random_seed() -> int:
    """The seed of a test that throws dice: printed, so that a failure shows it, and replayed with PGBERTH_E2E_SEED."""
    seed = int(os.environ.get("PGBERTH_E2E_SEED", random.SystemRandom().randrange(1 << 30)))
    print("PGBERTH_E2E_SEED", seed)
    return seed


class Task(threading.Thread):
    """A function on a thread; result() waits for it and raises what it raised."""

    def __init__(self, function: Callable, *args, **kwargs):
        super().__init__(daemon=True)
        self._call = lambda: function(*args, **kwargs)
        self._value = None
        self._failure = None
        self.start()

    def run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as failure:  # raised again in the thread that asks for the result
            self._failure = failure

    def result(self, timeout: float = 60):
        self.join(timeout)
        assert not self.is_alive(), "a thread of the test does not end"
        if self._failure is not None:
            raise self._failure
        return self._value


def in_threads(count: int, function: Callable, timeout: float = 60) -> list:
    """function(0), function(1), ... at once; the list of their results."""
    tasks = [Task(function, number) for number in range(count)]
    return [task.result(timeout) for task in tasks]
