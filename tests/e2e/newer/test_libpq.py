"""psql and libpq of PostgreSQL 17 and newer, by both ports, over TLS: each sslmode and each way of beginning it, ALPN, channel
binding, wrong roots, protocol 3.2, cancel requests that go inside of TLS. `make check-libpq` runs this in a Debian that has them.

libpq's own matrix is the reference: what each pair must do is written down here, what happens is what libpq says.
"""

import os
import re
import shutil

import psycopg
import pytest

from harness import scram
from harness.certificates import Authority, self_signed
from harness.psql import pgbench, psql
from harness.system import eventually, make_directory, write
from test_tls_clients import show

pytestmark = pytest.mark.ours

MODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
MUST = MODES[3:]
PORTS = ["transaction", "session"]


def test_this_is_a_newer_libpq():
    assert psycopg.pq.version() >= 170000


class Certificates:
    def __init__(self, root):
        self.root = root
        self.authority, self.stranger = Authority(root), Authority(root, "Stranger")
        self.good = self.authority.issue("localhost", hosts=["localhost"], addresses=["127.0.0.1"])
        self.renamed = self.authority.issue("another.example", hosts=["another.example"])
        self.expired = self.authority.issue("localhost", hosts=["localhost"], days=-1, file="expired")
        self.unsigned = self_signed(root, "localhost", hosts=["localhost"], addresses=["127.0.0.1"])
        self.app, self.unknown = self.authority.issue("app"), self.stranger.issue("app")
        for file in (self.app.key, self.unknown.key):
            os.chown(file, 0, 0)  # libpq wants its user's own


@pytest.fixture(scope="module")
def certs():
    root = make_directory()
    yield Certificates(root)
    shutil.rmtree(root)


@pytest.fixture
def serving(broker, certs):
    def start(mode="prefer", shown=None, **settings):
        if mode != "disable":
            shown = shown or certs.good
            settings.update(client_tls_cert_file=shown.cert, client_tls_key_file=shown.key)
        if mode.startswith("verify"):
            settings["client_tls_ca_file"] = certs.authority.cert
        return broker(client_tls_sslmode=mode, **settings)
    return start


def connect(b, port="transaction", **how):
    where = dict(host="localhost", hostaddr="127.0.0.1", port=getattr(b, port + "_port"), user="app", dbname="e2e",
                 sslcert="/nonexistent", sslkey="/nonexistent")
    return psycopg.connect(**{**where, **{k: str(v) for k, v in how.items()}})


def fails(b, says, port="transaction", **how):
    with pytest.raises(psycopg.OperationalError) as failure:
        connect(b, port, **how)
    assert re.search(says, str(failure.value)), how


def encrypted(b, port="transaction", **how):
    """Logs in and works. Whether it was inside of TLS, as both sides see it."""
    with connect(b, port, **how) as c:
        assert c.execute("select 6 * %s", [7]).fetchone() == (42,)
        assert [bool(row["tls"]) for row in show(b, "CLIENTS") if row["database"] == "e2e"] == [c.pgconn.ssl_in_use], how
        return c.pgconn.ssl_in_use


@pytest.mark.parametrize("port", PORTS)
@pytest.mark.parametrize("mode", MODES)
def test_modes(serving, certs, mode, port):
    """Every sslmode and negotiation against every client_tls_sslmode."""
    b = serving(mode)
    with_certificate = dict(sslcert=certs.app.cert, sslkey=certs.app.key, sslrootcert=certs.authority.cert)
    for negotiation in ("postgres", "direct"):
        for sslmode in MODES:
            how = dict(with_certificate, sslmode=sslmode, sslnegotiation=negotiation)
            if negotiation == "direct" and sslmode not in MUST:
                fails(b, "may not be used with sslnegotiation", port, **how)  # libpq's own rule
            elif mode == "disable" and sslmode in MUST:
                says = "does not support SSL" if negotiation == "postgres" else "closed the connection unexpectedly|SSL error|reset"
                fails(b, says, port, **how)
            elif mode in MUST and sslmode == "disable":
                fails(b, "SSL required", port, **how)
            else:
                # allow begins in clear words, prefer with TLS.
                wanted = mode != "disable" and (mode in MUST or sslmode not in ("disable", "allow"))
                assert encrypted(b, port, **how) == wanted, how


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
@pytest.mark.parametrize("port", PORTS)
def test_alpn_in_psql(serving, certs, port, negotiation):
    """psql shows what was agreed on (its 17 the protocol's name in a line of words, its 18 in a table)."""
    b = serving("require")
    url = f"host=localhost hostaddr=127.0.0.1 port={getattr(b, port + '_port')} user=app dbname=e2e sslmode=verify-full " \
          f"sslrootcert={certs.authority.cert} sslnegotiation={negotiation}"
    said = psql(url, "\\conninfo")
    assert "TLSv1.3" in said and "postgresql" in said.replace("postgresql://", ""), said
    assert psql(url, text="select $1::int + 1 \\bind 41 \\g\n") == "42"
    if psycopg.pq.version() >= 180000:
        script = "".join(f"\\bind_named one {n} \\sendpipeline\n" for n in range(3))
        assert psql(url, text=f"select $1::int + 1 \\parse one\n\\startpipeline\n{script}\\endpipeline\n").split() == ["1", "2", "3"]


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
def test_certificates_of_the_broker(serving, certs, negotiation):
    how = dict(sslnegotiation=negotiation)
    roots, wrong = dict(sslrootcert=certs.authority.cert), dict(sslrootcert=certs.stranger.cert)
    good = serving("require")
    for sslmode in ("verify-ca", "verify-full"):
        assert encrypted(good, sslmode=sslmode, **how, **roots)
        fails(good, "certificate verify failed", sslmode=sslmode, **how, **wrong)
    fails(good, "certificate verify failed", sslmode="verify-full", sslrootcert="system", **how)
    renamed = serving("require", certs.renamed)
    assert encrypted(renamed, sslmode="verify-ca", **how, **roots)
    fails(renamed, "does not match host name", sslmode="verify-full", **how, **roots)
    for shown in (certs.expired, certs.unsigned):
        b = serving("require", shown)
        fails(b, "certificate verify failed", sslmode="verify-ca", **how, **roots)
        assert encrypted(b, sslmode="require", **how)


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
def test_certificates_of_clients(serving, certs, negotiation):
    how = dict(sslnegotiation=negotiation, sslmode="require")
    own = dict(sslcert=certs.app.cert, sslkey=certs.app.key)
    b = serving("verify-full", auth_type="cert", userlist={"app": "", "app2": "", "admin": ""})
    for given in (own, dict(own, sslcertmode="require")):
        with connect(b, **how, **given) as c:
            assert c.execute("select 1").fetchone() == (1,)
    fails(b, "certificate authentication failed", user="app2", **how, **own)
    fails(b, "certificate required|handshake failure", **how)
    fails(b, "unknown ca", sslcert=certs.unknown.cert, sslkey=certs.unknown.key, **how)
    b = serving("require")
    fails(b, "did not request an SSL certificate|not request", sslcertmode="require", **how, **own)


@pytest.mark.parametrize("port", PORTS)
def test_channel_binding(serving, certs, port):
    """SCRAM is bound where the client may; whoever demands it gets it, or no login."""
    word = {"app": scram.secret("apppw"), "admin": "adminpw"}
    b = serving("allow", auth_type="scram-sha-256", userlist=word)
    logs_in = dict(password="apppw", sslrootcert=certs.authority.cert)
    for negotiation in ("postgres", "direct"):
        for binding in ("disable", "prefer", "require"):
            for version in ("TLSv1.2", "TLSv1.3"):
                assert encrypted(b, port, sslmode="verify-full", sslnegotiation=negotiation, channel_binding=binding,
                                 ssl_max_protocol_version=version, require_auth="scram-sha-256", **logs_in)
        fails(b, "password authentication failed", port, sslmode="require", sslnegotiation=negotiation,
              channel_binding="require", password="wrong")
    for binding in ("disable", "prefer"):
        assert not encrypted(b, port, sslmode="disable", channel_binding=binding, **logs_in)
    fails(b, "channel binding required", port, sslmode="disable", channel_binding="require", **logs_in)
    trusting = serving("require")
    assert encrypted(trusting, port, sslmode="require", channel_binding="prefer")
    fails(trusting, "channel binding required", port, sslmode="require", channel_binding="require")


def protocols():
    """What libpq 18 may ask for; 17 has no such setting."""
    return [{}] if psycopg.pq.version() < 180000 else [
        {}, {"max_protocol_version": "latest"}, {"min_protocol_version": "3.2", "max_protocol_version": "3.2"}]


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
@pytest.mark.parametrize("port", PORTS)
def test_cancel_goes_as_its_session(serving, control, port, negotiation):
    """libpq 17 sends cancel requests as the session was opened: here inside of TLS, with keys of each protocol's length."""
    b = serving("require")
    handshakes = lambda: {row["side"]: int(row["handshakes"]) for row in show(b, "TLS")}["clients"]
    for how in protocols():
        with connect(b, port, sslmode="require", sslnegotiation=negotiation, **how) as c:
            before = handshakes()
            c.pgconn.send_query(b"select pg_sleep(60)")
            eventually(lambda: control.sql("select count(*) from pg_stat_activity where wait_event = 'PgSleep'")[0][0] == "1",
                       "the query runs")
            c.cancel_safe()
            assert c.pgconn.get_result().error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"57014"
            assert handshakes() == before + 1
            assert c.pgconn.get_result() is None
            assert c.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize("port", PORTS)
def test_work(serving, port):
    """COPY both ways, a pipeline, and pgbench in every mode of the protocol, in direct TLS."""
    b = serving("require", workers=2)
    for how in protocols():
        with connect(b, port, sslmode="require", sslnegotiation="direct", **how) as c:
            c.execute("create temp table t (n int, v text)")
            with c.cursor().copy("copy t from stdin") as copy:
                copy.write("".join(f"{n}\t{'x' * 1000}\n" for n in range(5000)))
            with c.cursor().copy("copy t to stdout") as copy:
                assert sum(len(bytes(part)) for part in copy) == sum(len(f"{n}") + 1002 for n in range(5000))
            with c.pipeline():
                answers = [c.execute("select %s::int", [n]) for n in range(500)]
            assert [a.fetchone()[0] for a in answers] == list(range(500))
            c.rollback()
    script = write(b.root / "load.sql", "\\set n random(1, 1000000)\nselect :n, repeat('x', 500);\n")
    for mode in ("simple", "extended", "prepared"):
        out = pgbench(b.url(port) + "?sslmode=require&sslnegotiation=direct", "-n", "-f", str(script), "-M", mode, "-c", "4",
                      "-t", "50")
        assert "200/200" in out
