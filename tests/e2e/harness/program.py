"""The executable run to its end, what it has left, and what a running one has read."""

import socket
import subprocess

from .broker import sanitizer_environment
from .system import as_service_user, free_port


def run(made, *arguments, user=True, **kwargs):
    """Runs the executable to its end; (exit status, everything it said)."""
    done = subprocess.run([str(made.binary), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60, cwd="/", env=sanitizer_environment(),
                          **(as_service_user() if user else {}), **kwargs)
    return done.returncode, done.stdout + made.log


def prepared(broker, **settings):
    """The files of a broker that is not started."""
    made = broker(launch=False, **settings)
    made.settings["listen_port"] = free_port()
    made.write_files()
    return made


def closed_port(port):
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
        return False
    except ConnectionRefusedError:
        return True


def line_of(path, text):
    return next(n for n, line in enumerate(path.read_text().splitlines(), 1) if text in line)


def setting(b, key):
    """As the console shows it."""
    return {r["key"]: r["value"] for r in b.console("show config")}[key]
