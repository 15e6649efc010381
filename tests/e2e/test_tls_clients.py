"""TLS of clients: every sslmode against every client_tls_sslmode, direct TLS, what must not pass in clear words, client
certificates, resumption, and the ordinary work of a session behind it."""

import os
import shutil
import socket
import ssl
import struct
import warnings

import psycopg
import pytest

from harness import wire
from harness.broker import Console
from harness.certificates import Authority, self_signed
from harness.psql import pgbench, psql
from harness.raw import Closed, Raw, Refused
from harness.system import eventually, make_directory, write

pytestmark = pytest.mark.ours

MODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


class Certificates:
    """What the tests of this file share: one root, a server's certificate of it, and clients of all kinds."""

    def __init__(self, root):
        self.root = root
        self.authority = Authority(root)
        self.stranger = Authority(root, "Stranger")
        self.middle = Authority(root, "Middle", self.authority)
        self.server = self.authority.issue("localhost", hosts=["localhost"], addresses=["127.0.0.1"])
        self.app = self.authority.issue("app")
        self.bad = {"expired": self.authority.issue("app", days=-1), "unknown ca": self.stranger.issue("app"),
                    "self-signed": self_signed(root, "app"), "revoked": self.authority.issue("app")}
        lists = [self.authority.revoke(self.bad["revoked"]), self.middle.revoke()]  # of every authority of a chain
        self.roots = write(root / "roots.pem", "".join(f.read_text() for f in (self.authority.cert, *lists)))


@pytest.fixture(scope="module")
def certs():
    root = make_directory()
    yield Certificates(root)
    shutil.rmtree(root)


@pytest.fixture
def tls_broker(broker, certs):
    def start(mode="prefer", ca=False, **settings):
        if ca or mode.startswith("verify"):
            settings.setdefault("client_tls_ca_file", certs.roots)
        return broker(client_tls_sslmode=mode, client_tls_key_file=certs.server.key,
                      client_tls_cert_file=certs.server.cert, **settings)
    return start


def context(alpn=("postgresql",), version=None, client=None):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    if alpn:
        made.set_alpn_protocols(list(alpn))
    if version:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            made.minimum_version = made.maximum_version = version
    if client:
        made.load_cert_chain(client.cert, client.key)
    return made


def secured(b, how=None, direct=False, session=None, port=None):
    """A connection that speaks TLS and has not logged in."""
    c = Raw(port or b.transaction_port)
    if not direct:
        assert c.send(wire.ssl_request()).read_byte() == b"S"
        assert not c.buffer
    c.sock = (how or context()).wrap_socket(c.sock, server_hostname="localhost", session=session)
    return c


def reason(failure):
    """What an alert says, as the ssl module has it in one of two spellings."""
    return str(failure.value).lower().replace("_", " ")


def show(b, what):
    """By the Unix socket, which asks for no TLS in any mode."""
    console = Console(Raw(b.listen_port, str(b.root)).login("admin", "pgbouncer", b.userlist["admin"]))
    rows = console(f"SHOW {what}")
    console.close()
    return rows


def disconnects(b, why):
    return next(int(row["count"]) for row in show(b, "DISCONNECTS") if row["reason"] == why)


def healthy(b):
    with secured(b).login("app", "e2e") as c:
        assert c.value("select 1") == "1"


def libpq(b, certs, port="transaction", **how):
    """What libpq (psycopg's and psql's) needs to know: it looks at nothing of this machine."""
    where = dict(host="localhost", hostaddr="127.0.0.1", port=getattr(b, port + "_port"), user="app", dbname="e2e",
                 sslrootcert=certs.authority.cert, sslcert="/nonexistent", sslkey="/nonexistent")
    return {key: str(value) for key, value in {**where, **how}.items()}


def showing(client):
    return dict(sslcert=client.cert, sslkey=client.key)


def with_psycopg(how):
    """Logs in and works; whether it was inside of TLS."""
    with psycopg.connect(**how) as c:
        assert c.execute("select 1").fetchone() == (1,)
        return c.pgconn.ssl_in_use


def with_psql(how):
    said = psql(" ".join(f"{key}={value}" for key, value in how.items()), "select 'here'", "\\conninfo")
    assert said.startswith("here\n")
    return "TLSv1." in said


def told_psycopg(how):
    """Fails to log in; what libpq says about it."""
    with pytest.raises(psycopg.OperationalError) as failure:
        psycopg.connect(**how)
    return str(failure.value)


def told_psql(how):
    return psql(" ".join(f"{key}={value}" for key, value in how.items()), "select 'here'", fails=True)


# Modes ----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("port", ["transaction", "session"])
@pytest.mark.parametrize("mode", MODES)
def test_modes(broker, tls_broker, certs, mode, port):
    """What libpq and psql do in each of their modes: encrypted, in clear, or refused."""
    b = broker() if mode == "disable" else tls_broker(mode)
    demands = mode in ("require", "verify-ca", "verify-full")
    for sslmode in MODES:
        # allow begins in clear words and is refused, then tries TLS; prefer begins with TLS.
        encrypted = demands or sslmode not in ("disable", "allow")
        refused = (mode == "disable" and sslmode in ("require", "verify-ca", "verify-full")) or \
                  (demands and sslmode == "disable")
        how = libpq(b, certs, port, sslmode=sslmode, **showing(certs.app))
        for works, told in ((with_psycopg, told_psycopg), (with_psql, told_psql)):
            if not refused:
                assert works(how) == (encrypted and mode != "disable"), (sslmode, works)
                continue
            said = told(how)
            assert ("does not support SSL" if mode == "disable" else "SSL required") in said, sslmode
            assert mode == "disable" or "HINT:  Connect with sslmode=require." in said


def test_what_show_and_the_log_say(tls_broker):
    b = tls_broker()
    with secured(b).login("app", "e2e"), Raw(b.transaction_port).login("app2", "e2e"):
        for command in ("SHOW CLIENTS", "SHOW SOCKETS"):
            by_user = {row["user"]: row["tls"] for row in b.console(command) if row["type"] == "C"}
            assert by_user["app"] == "TLSv1.3/TLS_AES_128_GCM_SHA256"
            assert by_user["app2"] == ""
    eventually(lambda: "e2e/app@127.0.0.1" in b.log, "the log has the login")
    assert "db=e2e user=app tls=TLSv1.3/TLS_AES_128_GCM_SHA256" in b.log
    assert "db=e2e user=app2 tls=no" in b.log


def test_versions(tls_broker):
    b = tls_broker()
    with secured(b, context(version=ssl.TLSVersion.TLSv1_2)).login("app", "e2e") as c:
        assert c.sock.version() == "TLSv1.2"
        assert c.value("select 1") == "1"
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        old = context(version=ssl.TLSVersion.TLSv1_1)
        old.set_ciphers("ALL:@SECLEVEL=0")
        secured(b, old)
    healthy(b)


def test_ciphers_and_curves(tls_broker):
    """What is set is what a client agrees on, also after a reload, and nothing else is."""
    chosen = {"TLSv1.2": "ECDHE-ECDSA-CHACHA20-POLY1305", "TLSv1.3": "TLS_CHACHA20_POLY1305_SHA256"}
    b = tls_broker(client_tls_ciphers=chosen["TLSv1.2"], client_tls13_ciphers=chosen["TLSv1.3"], client_tls_ecdhcurve="secp384r1")
    for name, version in VERSIONS.items():
        with secured(b, context(version=version)).login("app", "e2e") as c:
            assert c.sock.cipher()[0] == chosen[name]
            assert [row["tls"] for row in b.clients(user="app")] == [f"{name}/{chosen[name]}"]
    how = context()  # of TLS 1.3, where the curve of the certificate does not matter
    how.set_ecdh_curve("secp384r1")
    secured(b, how).login("app", "e2e").close()
    how.set_ecdh_curve("prime256v1")
    with pytest.raises(ssl.SSLError):
        secured(b, how)
    b.settings.update(client_tls13_ciphers="TLS_AES_256_GCM_SHA384", client_tls_ecdhcurve="prime256v1")
    b.reload()
    with secured(b, how).login("app", "e2e") as c:
        assert c.sock.cipher()[0] == "TLS_AES_256_GCM_SHA384"


def test_the_unix_socket_has_none(tls_broker):
    """As in PgBouncer: refused by `N`, and needed by no mode."""
    b = tls_broker("require")
    c = Raw(b.transaction_port, str(b.root))
    assert c.send(wire.ssl_request()).read_byte() == b"N"
    with c.login("app", "e2e"):
        assert c.value("select 1") == "1"


# What must not pass ---------------------------------------------------------------------------------------------------

STARTUP = wire.startup({"user": "app", "database": "e2e"})


def test_clear_bytes_behind_the_request(tls_broker):
    """T4: in the same segment they are refused by name, and never obeyed."""
    b = tls_broker()
    c = Raw(b.transaction_port).send(wire.ssl_request() + STARTUP + wire.query("select 1"))
    said = c.until_closed()
    assert [m.tag for m in said] == ["E"] and "unencrypted data after SSL request" in said[0].text
    assert said[0].sqlstate == "08P01"
    assert disconnects(b, "unencrypted_after_ssl_request") == 1
    healthy(b)


def test_clear_bytes_instead_of_a_hello(tls_broker):
    """T4: in a segment of their own they are a handshake that fails. Nothing is answered to them."""
    b = tls_broker()
    for clear in (STARTUP, wire.query("select 1"), wire.ssl_request(), b"\x16\x03\x01\x00\x05hello", b"\x17\x03\x03\x00\x01x"):
        c = Raw(b.transaction_port)
        assert c.send(wire.ssl_request()).read_byte() == b"S"
        c.send_if_open(clear)
        c.half_close()
        said = b""
        with pytest.raises(Closed):
            while True:
                said += c.read_byte()
        assert said == b"" or (said[:1] == b"\x15" and len(said) == 7), "an alert at most"
    healthy(b)


def test_clear_bytes_inside(tls_broker):
    """After the handshake a byte in clear words ends the connection."""
    b = tls_broker()
    c = secured(b)
    c.login("app", "e2e")
    with socket.socket(fileno=os.dup(c.sock.fileno())) as below:
        below.sendall(wire.query("select 1"))
    with pytest.raises((ssl.SSLError, Closed)):
        c.recv()
    healthy(b)


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("request_again", [wire.ssl_request(), wire.gssenc_request()], ids=["ssl", "gss"])
def test_no_second_encryption(tls_broker, direct, request_again):
    """T26, T27: inside of TLS every further request of that kind is an error."""
    b = tls_broker()
    said = secured(b, direct=direct).send(request_again).until_closed()
    assert [(m.tag, m.sqlstate) for m in said] == [("E", "08P01")]
    healthy(b)


def test_gss_first(tls_broker):
    """As libpq does it: GSS is declined, then TLS. Direct TLS after a word in clear is none."""
    b = tls_broker()
    c = Raw(b.transaction_port)
    assert c.send(wire.gssenc_request()).read_byte() == b"N"
    assert c.send(wire.ssl_request()).read_byte() == b"S"
    c.sock = context().wrap_socket(c.sock, server_hostname="localhost")
    assert c.login("app", "e2e").value("select 1") == "1"
    c.close()
    c = Raw(b.transaction_port)
    assert c.send(wire.gssenc_request()).read_byte() == b"N"
    with pytest.raises((ssl.SSLError, ConnectionResetError, OSError)):
        context().wrap_socket(c.sock, server_hostname="localhost")
    healthy(b)


# Direct TLS -----------------------------------------------------------------------------------------------------------

def test_direct(tls_broker):
    """T33: the first byte is a handshake's, and ALPN must name the protocol."""
    b = tls_broker("require")
    c = secured(b, direct=True)
    assert c.sock.selected_alpn_protocol() == "postgresql"
    assert c.login("app", "e2e").value("select 1") == "1"
    c.terminate()
    for alpn in ((), ("h2",), ("http/1.1", "postgresqlx")):
        with pytest.raises(ssl.SSLError) as failure:
            secured(b, context(alpn), direct=True)
        assert "alert no application protocol" in reason(failure), alpn
    assert disconnects(b, "tls_handshake_failed") == 3
    assert secured(b, context(("h2", "postgresql")), direct=True).sock.selected_alpn_protocol() == "postgresql"


def test_alpn_behind_the_request(tls_broker):
    """There it may be missing, as in libpq before 17, but not name something else."""
    b = tls_broker()
    assert secured(b).sock.selected_alpn_protocol() == "postgresql"
    assert secured(b, context(())).sock.selected_alpn_protocol() is None
    with pytest.raises(ssl.SSLError):
        secured(b, context(("h2",)))


def test_direct_without_tls(broker):
    b = broker()
    with pytest.raises((ssl.SSLError, OSError)):
        secured(b, direct=True)


def test_hello_in_pieces(tls_broker):
    """Byte by byte, and left in the middle: the broker waits, and is not impressed."""
    b = tls_broker(client_login_timeout=30)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    talk = context().wrap_bio(incoming, outgoing)
    with pytest.raises(ssl.SSLWantReadError):
        talk.do_handshake()
    hello = outgoing.read()
    c = Raw(b.transaction_port)
    for at in range(len(hello)):
        c.send(hello[at:at + 1])
    while True:
        incoming.write(c.sock.recv(65536))
        try:
            talk.do_handshake()
            break
        except ssl.SSLWantReadError:
            pass
    c.send(outgoing.read())
    c.close()
    for size in (1, 5, 100, len(hello) - 1):
        Raw(b.transaction_port).send(hello[:size]).close()
    failed = lambda: disconnects(b, "client_closed_before_login")
    eventually(lambda: failed() >= 4, "those who left are counted")
    healthy(b)


def test_login_timeout_in_a_handshake(tls_broker):
    """T28, class 59: who begins a handshake and says no more is not waited for."""
    b = tls_broker(client_login_timeout=1)
    c = Raw(b.transaction_port)
    assert c.send(wire.ssl_request()).read_byte() == b"S"
    c.send(b"\x16\x03\x01\x02\x00\x01")
    with pytest.raises(Closed):
        c.read_byte()
    assert disconnects(b, "client_login_timeout") == 1


# The broker's certificate -----------------------------------------------------------------------------------------------

def test_certificates_of_the_broker(tls_broker, certs):
    """libpq takes a good one, also behind an authority between, and refuses one that is renamed, expired, self-signed, revoked
    or of another authority; each comes by a reload, so that the one before is not shown any longer."""
    names = dict(hosts=["localhost"], addresses=["127.0.0.1"])
    revoked = certs.authority.issue("localhost", **names)
    lists = write(certs.root / "of-the-broker.crl", certs.authority.revoke(revoked).read_text())
    b = tls_broker("prefer")

    def put_in_place(certificate):
        b.settings.update(client_tls_cert_file=certificate.cert, client_tls_key_file=certificate.key)
        b.reload()

    def fits(**how):
        assert with_psycopg(libpq(b, certs, **how)), how

    def fits_not(says="certificate verify failed", **how):
        assert says in told_psycopg(libpq(b, certs, **how)), how
    for sslmode in ("verify-ca", "verify-full"):
        fits(sslmode=sslmode)
        fits(sslmode=sslmode, sslcrl=lists)
        fits_not(sslmode=sslmode, sslrootcert=certs.stranger.cert)
    put_in_place(certs.middle.issue("localhost", **names))
    fits(sslmode="verify-full")
    put_in_place(certs.authority.issue("another.example", hosts=["another.example"]))
    fits(sslmode="verify-ca")
    fits_not("does not match host name", sslmode="verify-full")
    put_in_place(revoked)
    fits(sslmode="verify-full")
    for sslmode in ("verify-ca", "verify-full"):
        fits_not(sslmode=sslmode, sslcrl=lists)
    for bad in (certs.authority.issue("localhost", **names, days=-1), self_signed(certs.root, "localhost", **names)):
        put_in_place(bad)
        fits(sslmode="require", sslrootcert="/nonexistent")
        for sslmode in ("verify-ca", "verify-full"):
            fits_not(sslmode=sslmode)


# Resumption -----------------------------------------------------------------------------------------------------------

@pytest.mark.short
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["tls12", "tls13"])
def test_resumption(tls_broker, version):
    """By tickets: on another worker, after a reload, and not with other settings."""
    b = tls_broker(workers=2)
    how = context(version=version)
    first = secured(b, how).login("app", "e2e")
    assert not first.sock.session_reused
    assert first.value("select 1") == "1"
    session = first.sock.session
    held = [secured(b, how, session=session).login("app", "e2e") for _ in range(4)]  # on both workers
    assert [c.sock.session_reused for c in held] == [True] * 4
    assert [c.value("select 1") for c in held] == ["1"] * 4
    b.reload()
    assert secured(b, how, session=session).login("app", "e2e").sock.session_reused
    assert secured(b, how, session=session, direct=True).login("app", "e2e").sock.session_reused
    b.settings["client_tls_ciphers"] = "HIGH"
    b.reload()
    assert not secured(b, how, session=session).login("app", "e2e").sock.session_reused


def test_strangers_get_no_ticket(tls_broker):
    """TLS 1.3: only a login that has succeeded gives one."""
    b = tls_broker(auth_type="plain", userlist={"app": "right"})
    how = context(version=ssl.TLSVersion.TLSv1_3)
    stranger = secured(b, how)
    with pytest.raises(Refused):
        stranger.login("app", "e2e", "wrong")
    assert stranger.sock.session is None or not stranger.sock.session.has_ticket
    assert secured(b, how).login("app", "e2e", "right").sock.session.has_ticket


def test_resumption_with_a_client_certificate(tls_broker, certs):
    """Who was proved by a certificate is so again; a ticket is bound to what the broker demands."""
    b = tls_broker("verify-full")
    how = context(client=certs.app)
    first = secured(b, how).login("app", "e2e")
    assert first.value("select 1") == "1"
    again = secured(b, how, session=first.sock.session)
    assert again.sock.session_reused
    assert again.login("app", "e2e").value("select 1") == "1"


# The work of a session ------------------------------------------------------------------------------------------------

def test_pgbench(tls_broker, postgres):
    """A load of short queries from many clients on two workers, in every mode of the protocol."""
    b = tls_broker("require", workers=2)
    script = write(b.root / "load.sql", "\\set n random(1, 1000000)\nselect :n, repeat('x', 500);\n")
    for mode in ("simple", "extended", "prepared"):
        out = pgbench(b.url("transaction") + "?sslmode=require", "-n", "-f", str(script), "-M", mode, "-c", "8", "-j", "2",
                      "-t", "50")
        assert "400/400" in out


def test_copy_both_ways(tls_broker):
    """Many megabytes each way, with the sockets full most of the time."""
    b = tls_broker("require")
    row = "x" * 1000
    for port in (b.transaction_port, b.session_port):
        with psycopg.connect(host="127.0.0.1", port=port, user="app", dbname="e2e", sslmode="require") as c:
            c.execute("create temp table t (n int, v text)")
            with c.cursor().copy("copy t from stdin") as copy:
                for block in range(160):
                    copy.write("".join(f"{block * 100 + i}\t{row}\n" for i in range(100)))
            assert c.execute("select count(*), sum(n), sum(length(v)) from t").fetchone() == \
                (16000, 15999 * 8000, 16000 * 1000)
            with c.cursor().copy("copy (select * from t order by n) to stdout") as copy:
                got = b"".join(bytes(chunk) for chunk in copy)
            assert got == "".join(f"{n}\t{row}\n" for n in range(16000)).encode()
            c.rollback()


def test_large_query_and_row(tls_broker):
    b = tls_broker()
    c = secured(b).login("app", "e2e")
    text = "é" * 2_000_000
    assert c.value(f"select '{text}'") == text
    c.terminate()


@pytest.mark.short
def test_pipeline(tls_broker):
    """Thousands of small messages in one record after the other, and their answers."""
    b = tls_broker()
    c = secured(b).login("app", "e2e")
    one = wire.parse("", "select 1") + wire.bind("", "") + wire.execute("") + wire.sync()
    c.send(one * 1000)
    assert sum(1 for _ in range(1000) if c.until("Z")) == 1000


def test_cancel(tls_broker, control):
    """A cancel request over TLS, directly and behind a request; and in clear words, as libpq before 17 sends it."""
    b = tls_broker("require")
    for how in ("clear", "request", "direct"):
        c = secured(b).login("app", "e2e")
        c.send(wire.query("select pg_sleep(60)"))
        eventually(lambda: control.sql("select count(*) from pg_stat_activity where wait_event = 'PgSleep'")[0][0] == "1",
                   "the query runs")
        other = Raw(b.transaction_port) if how == "clear" else secured(b, direct=how == "direct")
        other.send(struct.pack("!III", 12 + len(c.key), wire.CANCEL_REQUEST, c.pid & 0xffffffff) + c.key)
        assert other.until_closed() == []
        assert wire.errors(c.until("Z"))[0].sqlstate == "57014", how
        c.terminate()


def test_close_notify_is_an_end(tls_broker):
    """A client that ends TLS and leaves the socket open has gone; and the broker itself says so when it closes."""
    b = tls_broker()
    c = secured(b).login("app", "e2e")
    below = c.sock.unwrap()  # returns when the broker has said it, too
    eventually(lambda: not [r for r in b.console("SHOW CLIENTS") if r["database"] == "e2e"], "it is gone")
    c = secured(b).login("app", "e2e")
    c.send(wire.terminate())
    assert c.sock.recv(1) == b"", "close_notify, not a bare end"


def test_psql(tls_broker, certs):
    """What a user sees."""
    b = tls_broker("require")
    url = f"host=localhost hostaddr=127.0.0.1 port={b.transaction_port} user=app dbname=e2e"
    said = psql(f"{url} sslmode=verify-full sslrootcert={certs.authority.cert}", "\\conninfo")
    assert "TLSv1.3" in said and "TLS_AES_128_GCM_SHA256" in said
