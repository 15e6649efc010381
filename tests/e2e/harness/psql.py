"""psql and pgbench as subprocesses."""

import os
import subprocess
from typing import Sequence

from .system import PG_BIN


def client_environment(**extra) -> dict:
    env = {k: v for k, v in os.environ.items() if not k.startswith("PG") or k.startswith("PGBERTH")}
    env.update(PGCONNECT_TIMEOUT="30", PGCLIENTENCODING="UTF8", LC_ALL="C.UTF-8", HOME="/nonexistent")
    env.update(extra)
    return env


def psql(url: str, *commands: str, text: str = "", fails: bool = False) -> str:
    """Runs commands or a script; the output without headers. With fails=True returns what psql says on stderr."""
    command = [str(PG_BIN / "psql"), "-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", url]
    for each in commands:
        command += ["-c", each]
    done = subprocess.run(command, input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=80,
                          env=client_environment())
    if fails:
        assert done.returncode != 0, done.stdout
        return done.stderr
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


def pgbench(url: str, *options: str, status: Sequence[int] = (0,)) -> str:
    """Runs pgbench; any failed transaction or lost connection fails the test."""
    done = subprocess.run([str(PG_BIN / "pgbench"), *options, url], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=80, env=client_environment())
    text = done.stdout + done.stderr
    assert done.returncode in status, text[-4000:]
    for bad in ("aborted", "error:", "FATAL", "could not", "failed: "):
        assert bad not in text, text[-4000:]
    return text
