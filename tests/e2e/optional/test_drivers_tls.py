"""JDBC (with Hikari), node-postgres and postgres.js over TLS: each sslmode, and certificates that must not be believed. Part of
`make check-drivers`."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.certificates import Authority, self_signed
from harness.system import make_directory

HERE = Path(__file__).resolve().parent
MODULES = HERE.parents[2] / "build" / "drivers" / "node" / "node_modules"
JARS = ":".join(f"/usr/share/java/{name}.jar" for name in ("postgresql", "HikariCP", "slf4j-api", "slf4j-nop"))

pytestmark = [pytest.mark.ours, pytest.mark.limit(180)]


class Certificates:
    def __init__(self, root):
        self.authority, self.stranger = Authority(root), Authority(root, "Stranger")
        self.by_kind = {
            "good": self.authority.issue("localhost", hosts=["localhost"], addresses=["127.0.0.1"]),
            "expired": self.authority.issue("localhost", hosts=["localhost"], addresses=["127.0.0.1"], days=-1, file="expired"),
            "renamed": self.authority.issue("another.example", hosts=["another.example"]),
            "self-signed": self_signed(root, "localhost", hosts=["localhost"], addresses=["127.0.0.1"])}


@pytest.fixture(scope="module")
def certs():
    root = make_directory()
    os.chmod(root, 0o755)
    yield Certificates(root)
    shutil.rmtree(root)


@pytest.fixture
def serving(broker, certs):
    """A broker that shows the certificate of this kind."""
    def start(kind="good", mode="require"):
        shown = certs.by_kind[kind]
        return broker(client_tls_sslmode=mode, client_tls_cert_file=shown.cert, client_tls_key_file=shown.key)
    return start


def run(*command, **environment):
    done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=150, env={**os.environ, **environment})
    assert done.returncode == 0 and done.stdout.endswith("ok\n"), done.stdout


def jdbc(*pairs):
    run("java", "-cp", JARS, HERE / "JdbcTls.java", *(part for pair in pairs for part in pair))


def url(made, mode, roots=None, port=None):
    where = f"jdbc:postgresql://127.0.0.1:{port or made.transaction_port}/e2e?user=app&sslmode={mode}"
    return where + (f"&sslrootcert={roots}" if roots else "")


def test_jdbc_modes(serving, certs):
    """disable is refused where TLS is required, and require where there is none; the rest agree on it where they can."""
    required, offered, none = serving(mode="require"), serving(mode="allow"), serving(mode="disable")
    roots, wrong = certs.authority.cert, certs.stranger.cert
    asking, checking = ("allow", "prefer", "require"), ("verify-ca", "verify-full")
    jdbc(("no", url(required, "disable")), ("yes", url(offered, "disable")), ("yes", url(none, "disable")),
         *(("yes", url(made, mode)) for made in (required, offered) for mode in asking),
         *(("yes", url(made, mode, roots)) for made in (required, offered) for mode in checking),
         *(("no", url(made, mode, wrong)) for made in (required, offered) for mode in checking),
         ("yes", url(none, "allow")), ("yes", url(none, "prefer")), ("no", url(none, "require")),
         *(("no", url(none, mode, roots)) for mode in checking))


def test_jdbc_certificates(serving, certs):
    """What a client that verifies must refuse, and what one that asks for encryption only takes."""
    roots = certs.authority.cert
    pairs = []
    for kind in ("expired", "self-signed"):
        made = serving(kind)
        pairs += [("no", url(made, mode, roots)) for mode in ("verify-ca", "verify-full")] + [("yes", url(made, "require"))]
    renamed = serving("renamed")
    jdbc(*pairs, ("yes", url(renamed, "verify-ca", roots)), ("no", url(renamed, "verify-full", roots)))


@pytest.mark.parametrize("port", ["transaction", "session"])
def test_hikari(serving, certs, port):
    made = serving()
    jdbc(("pool", url(made, "verify-full", certs.authority.cert, getattr(made, port + "_port"))))


def test_node(serving, certs):
    run("node", HERE / "node_tls.js", serving().transaction_port, certs.authority.cert, certs.stranger.cert, "localhost",
        NODE_PATH=str(MODULES))
