"""TLS towards servers: every mode, every kind of certificate that must not be taken, and servers that lie.

One PostgreSQL with ssl = on serves all tests; its certificate is exchanged by a reload.
"""

import select
import socket
import ssl
import struct
import threading

import pytest

from harness import scram, wire
from harness.certificates import Authority, self_signed
from harness.fake_server import FakeServer, fatal
from harness.postgres import Postgres
from harness.psql import psql
from harness.raw import Raw, Refused, cancel
from harness.system import eventually, give_to_service_user, make_directory

pytestmark = pytest.mark.ours

USERLIST = {"app": "", "admin": "", "stats": "", "scrammer": "scrammerpw", "tlsonly": "", "byname": ""}


class Secure:
    """The cluster, and the certificates of this module."""

    def __init__(self):
        self.directory = make_directory()
        self.root = Authority(self.directory)
        self.good = self.root.issue("localhost", hosts=["localhost"], addresses=["127.0.0.1"])
        self.postgres = Postgres()
        self.postgres.sql("create role tlsonly login")
        self.postgres.sql("create role byname login")
        hba = self.postgres.data / "pg_hba.conf"
        hba.write_text("hostssl all tlsonly 127.0.0.1/32 trust\nhostssl all byname 127.0.0.1/32 cert\n"
                       "hostnossl all tlsonly,byname 127.0.0.1/32 reject\n" + hba.read_text())
        self.use(self.good)

    def use(self, certificate) -> None:
        settings = {"ssl": "on", "ssl_cert_file": certificate.cert, "ssl_key_file": certificate.key,
                    "ssl_ca_file": self.root.cert}
        for name, value in settings.items():
            self.postgres.sql(f"alter system set {name} = '{value}'")
        self.postgres.sql("select pg_reload_conf()")
        eventually(lambda: self.shown() == certificate.cert.read_text().split("-----END")[0], "the certificate is in use")

    def shown(self) -> str:
        with socket.create_connection(("127.0.0.1", self.postgres.port), 10) as plain:
            ask_for_tls(plain)
            with unchecked().wrap_socket(plain) as inside:
                return ssl.DER_cert_to_PEM_cert(inside.getpeercert(True)).split("-----END")[0]

    def entry(self, host: str = "127.0.0.1", port: int = 0, extra: str = "") -> dict:
        return {"e2e": f"host={host} port={port or self.postgres.port} dbname=e2e {extra}"}


def ask_for_tls(sock) -> bytes:
    sock.sendall(struct.pack("!II", 8, wire.SSL_REQUEST))
    return sock.recv(1)


def unchecked() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@pytest.fixture(scope="module")
def secure():
    made = Secure()
    yield made
    made.postgres.remove()


@pytest.fixture
def connects(broker, secure):
    """connects(mode, ..., host=) starts a broker that reaches the cluster so; its databases have the one entry e2e."""
    def start(sslmode=None, host="127.0.0.1", port=0, extra="", **settings):
        if sslmode:
            settings["server_tls_sslmode"] = sslmode
        return broker(databases=secure.entry(host, port, extra), userlist=USERLIST, server=secure.postgres, **settings)
    return start


def version_seen(connection) -> str:
    """What PostgreSQL says of the connection on which a query came."""
    return wire.rows(connection.query("select coalesce(version, 'clear') from pg_stat_ssl where pid = pg_backend_pid()"))[0][0]


def ask(b, user="app", password=None) -> str:
    with b.connect(user=user, password=password) as connection:
        return version_seen(connection)


def refusal(b, user="app") -> str:
    """What a client is told whose broker finds no server that it trusts."""
    with pytest.raises(Refused) as told:
        b.connect(user=user)
    return str(told.value)


def roots_file(secure, name, text):
    file = secure.directory / name
    file.write_text(text)
    give_to_service_user(file)
    return file


# Modes ----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("sslmode, roots, host, seen", [
    ("disable", False, "127.0.0.1", "clear"), ("allow", False, "127.0.0.1", "clear"), (None, False, "127.0.0.1", "TLSv1.3"),
    ("require", False, "127.0.0.1", "TLSv1.3"), ("verify-ca", True, "127.0.0.1", "TLSv1.3"),
    ("verify-full", True, "127.0.0.1", "TLSv1.3"), (None, True, "localhost", "TLSv1.3")])
def test_modes(connects, secure, sslmode, roots, host, seen):
    settings = {"server_tls_ca_file": secure.root.cert} if roots else {}
    b = connects(sslmode, host, **settings)
    assert ask(b) == seen
    shown = b.servers(database="e2e")[0]["tls"]
    assert shown.startswith(seen) if seen != "clear" else shown == ""
    row = {r["side"]: r for r in b.console("SHOW TLS")}["servers"]
    assert row["sslmode"] == (sslmode or ("verify-full" if roots else "prefer"))
    assert int(row["handshakes"]) == (seen != "clear")


def test_allow_takes_tls_where_the_server_insists(connects):
    b = connects("allow")
    assert ask(b, user="tlsonly") == "TLSv1.3"


def test_no_tls_over_the_unix_socket(connects, secure):
    b = connects("verify-full", host=secure.postgres.sockets, server_tls_ca_file=secure.root.cert)
    assert ask(b) == "clear"


CIPHER = "select version || '/' || cipher from pg_stat_ssl where pid = pg_backend_pid()"


def test_protocols_and_ciphers(connects):
    """What is set is what PostgreSQL has been spoken to in, also after a reload."""
    b = connects("require", server_tls_protocols="tlsv1.2", server_tls_ciphers="ECDHE-ECDSA-CHACHA20-POLY1305",
                 server_tls13_ciphers="TLS_CHACHA20_POLY1305_SHA256")
    for protocols, seen in (("tlsv1.2", "TLSv1.2/ECDHE-ECDSA-CHACHA20-POLY1305"), ("secure", "TLSv1.3/TLS_CHACHA20_POLY1305_SHA256")):
        b.settings["server_tls_protocols"] = protocols
        b.reload()
        with b.connect() as c:
            assert c.value(CIPHER) == seen


@pytest.mark.parametrize("known", [True, False])
def test_the_roots_of_the_system(connects, secure, known):
    """OpenSSL's default ones, for which its own variable may name others."""
    stranger = Authority(secure.directory, f"Stranger {known}")
    b = connects("verify-full", "localhost", server_tls_ca_file="system",
                 environment={"SSL_CERT_FILE": str(secure.root.cert if known else stranger.cert)})
    if known:
        assert ask(b) == "TLSv1.3"
    else:
        refusal(b)
        assert "certificate verify failed" in b.log


def test_a_certificate_of_our_own(connects, secure):
    mine = secure.root.issue("byname")
    b = connects("verify-full", server_tls_ca_file=secure.root.cert, server_tls_cert_file=mine.cert,
                 server_tls_key_file=mine.key)
    assert ask(b, user="byname") == "TLSv1.3"
    row = {r["side"]: r for r in b.console("SHOW TLS")}["servers"]
    assert row["subject"] == "CN=byname" and int(row["seconds_left"]) > 86400


# Certificates that must not be taken ------------------------------------------------------------------------------------

BAD = {
    "of another authority": lambda s: Authority(s.directory, "Other Root").issue("localhost", addresses=["127.0.0.1"]),
    "expired": lambda s: s.root.issue("localhost", addresses=["127.0.0.1"], days=-1),
    "self-signed": lambda s: self_signed(s.directory, "localhost", addresses=["127.0.0.1"]),
    "for another host": lambda s: s.root.issue("db.example.org", hosts=["db.example.org"], addresses=["127.0.0.2"]),
}


@pytest.mark.parametrize("kind", list(BAD))
def test_bad_certificates(connects, secure, kind):
    secure.use(BAD[kind](secure))
    try:
        b = connects("verify-full", server_tls_ca_file=secure.root.cert)
        assert "TLS handshake failed" in refusal(b)
        row = {r["side"]: r for r in b.console("SHOW TLS")}["servers"]
        assert int(row["failures"]) >= 1 and (int(row["expired"]) >= 1) == (kind == "expired")
        assert not b.servers(state="idle")
        b.settings["server_tls_sslmode"] = "require"  # checks nothing, as in PgBouncer
        b.reload()
        assert eventually(lambda: retried(b), "without a check it is taken") == "TLSv1.3"
    finally:
        secure.use(secure.good)


def retried(b):
    try:
        return ask(b)
    except Refused:  # the failure of before is told until the next attempt
        return None


def test_revoked(connects, secure):
    """PgBouncer has no setting for it: a list of revoked certificates stands in the file of the roots."""
    bad = secure.root.issue("localhost", addresses=["127.0.0.1"])
    both = secure.directory / "roots-and-revoked.pem"
    both.write_text(secure.root.cert.read_text() + secure.root.revoke(bad).read_text())
    give_to_service_user(both)
    assert ask(connects("verify-full", server_tls_ca_file=both)) == "TLSv1.3"
    secure.use(bad)
    try:
        assert "certificate revoked" in refusal(connects("verify-full", server_tls_ca_file=both))
    finally:
        secure.use(secure.good)


# Servers that lie -------------------------------------------------------------------------------------------------------

LIES = {
    # T4 on the server's side: what comes with the answer was never inside of TLS.
    "plain text behind S": (lambda s: s.send(b"S" + fatal("28000", "INJECTED")), "unencrypted data"),
    # T23: nor is what an unproved server says worth telling to anybody.
    "an error before TLS": (lambda s: s.send(fatal("28000", "INJECTED")), "with an error"),
    "no TLS": (lambda s: s.send(b"N"), "does not offer TLS"),
    "no TLS, and more": (lambda s: s.send(b"N" + fatal("28000", "INJECTED")), "unencrypted data"),
    "nonsense": (lambda s: s.send(b"Y"), "invalid"),
    "an alert": (lambda s: s.send(b"S") or s.read(5) and s.send(b"\x15\x03\x03\x00\x02\x02\x28"), "handshake failed"),
}


@pytest.mark.parametrize("lie", list(LIES))
def test_lies_before_tls(broker, lie):
    """T4, T23: nothing that an unproved server says reaches a client or the log."""
    say, told = LIES[lie]
    fake = FakeServer(encryption=lambda session: (say(session), session.wait_closed()))
    try:
        b = broker(databases={"fake": fake.entry()}, server_tls_sslmode="require", query_wait_timeout=2)
        with pytest.raises(Refused) as got:
            b.connect(database="fake")
        assert told in str(got.value) + b.log and "INJECTED" not in str(got.value) + b.log
        assert not fake.sessions, "nothing of the login was said to it"
    finally:
        fake.stop()


def test_an_error_before_tls_may_pass(broker):
    # A server that is full or starting says so in place of its answer: whoever waits is served by a later attempt.
    answers = [fatal("53300", "too many"), b"N"]
    fake = FakeServer(encryption=lambda s: s.send(answers.pop(0) if len(answers) > 1 else answers[0]))
    try:
        b = broker(databases={"fake": fake.entry()}, server_tls_sslmode="prefer", server_login_retry=1)
        assert b.connect(database="fake").query("select 1")
        assert len(answers) == 1, "the error was met"
    finally:
        fake.stop()


def test_who_waits_is_told_what_will_not_heal(connects, secure):
    b = connects("verify-full", server_tls_ca_file=secure.root.cert, query_wait_timeout=60)
    client = b.connect(database="e2e")
    assert client.query("select 1")
    secure.use(self_signed(secure.directory, "localhost"))
    try:
        b.console("RECONNECT")
        eventually(lambda: not b.servers(database="e2e"), "its server is gone")
        assert "handshake failed" in str([m.fields for m in client.query("select 1") if m.tag == "E"])
    finally:
        secure.use(secure.good)


@pytest.mark.parametrize("answer", ["S", "E"])
def test_prefer_does_not_trust_what_stands_behind_an_answer(broker, answer):
    text = fatal("28000", "INJECTED")
    fake = FakeServer(encryption=lambda s: (s.send(b"S" + text if answer == "S" else text), s.wait_closed()))
    try:
        b = broker(databases={"fake": fake.entry()}, query_wait_timeout=2)
        with pytest.raises(Refused) as got:
            b.connect(database="fake")
        assert "INJECTED" not in str(got.value)
    finally:
        fake.stop()


def test_prefer_goes_on_without(broker):
    fake = FakeServer()
    try:
        b = broker(databases={"fake": fake.entry()})
        assert b.connect(database="fake").query("select 1")
        assert len(fake.sessions) == 1
    finally:
        fake.stop()


class Wrapped:
    """A fake server's side of TLS, with ALPN or without."""

    def __init__(self, certificate, protocols=("postgresql",)):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate.cert, certificate.key)
        if protocols:
            self.context.set_alpn_protocols(list(protocols))
        self.asked = 0

    def answer(self, session) -> None:
        session.send(b"S")
        self.asked += 1
        self.begin(session)

    def begin(self, session) -> None:
        session.sock = self.context.wrap_socket(session.sock, server_side=True)


@pytest.mark.parametrize("protocols, good", [(("postgresql",), True), ((), False), (("http/1.1",), False)])
def test_direct_negotiation(broker, secure, protocols, good):
    """T33: no question is asked, so only the protocol's name says that it is a PostgreSQL."""
    wrapped = Wrapped(secure.good, protocols)
    fake = FakeServer(encryption=wrapped.begin, direct=True)
    try:
        b = broker(databases={"fake": fake.entry()}, server_tls_sslmode="verify-full", server_tls_ca_file=secure.root.cert,
                   server_tls_negotiation="direct")
        if good:
            assert b.connect(database="fake").query("select 1")
        else:
            with pytest.raises(Refused) as told:
                b.connect(database="fake")
            assert "TLS handshake failed" in str(told.value)
        assert len(fake.sessions) == int(good)
    finally:
        fake.stop()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["tls12", "tls13"])
def test_postgresql_gives_nothing_to_resume(secure, version):
    """Why the broker keeps no sessions of servers. Where this fails, docs/decisions/0009 is to be thought over."""
    how = unchecked()
    how.minimum_version = how.maximum_version = version

    def connected(session=None):
        connection = Raw(secure.postgres.port)
        assert ask_for_tls(connection.sock) == b"S"
        connection.sock = how.wrap_socket(connection.sock, session=session)
        assert connection.login("app", "e2e").value("select 1") == "1"
        return connection
    with connected() as first:
        given = first.sock.session
        assert not given.has_ticket and not first.sock.session_reused
    with connected(given) as again:
        assert not again.sock.session_reused


def relay(here, there, kept=None) -> None:
    """Passes on what comes from either socket until the end of one, and ends both; what `here` says is kept. One thread for both:
    an SSL object is not for two at once."""
    try:
        while True:
            held = [each for each in (here, there) if isinstance(each, ssl.SSLSocket) and each.pending()]
            for source in held or select.select([here, there], [], [], 60)[0]:
                data = source.recv(65536)
                if not data:
                    raise EOFError
                if source is here and kept is not None:
                    kept += data
                (there if source is here else here).sendall(data)
    except (EOFError, OSError):
        pass
    for each in (here, there):
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


# Channel binding --------------------------------------------------------------------------------------------------------

class Between:
    """Somebody in between: shows whoever comes a certificate of his own, and passes all on to the real server."""

    def __init__(self, port, certificate):
        self.to = port
        wrapped = Wrapped(certificate)
        self.fake = FakeServer(encryption=lambda session: (wrapped.answer(session), self.relay(session)))

    def relay(self, session) -> None:
        plain = socket.create_connection(("127.0.0.1", self.to), 10)
        assert ask_for_tls(plain) == b"S"
        there = unchecked().wrap_socket(plain)
        relay(session.sock, there)
        session.wait_closed()


def test_a_login_is_bound_to_its_connection(connects, secure):
    between = Between(secure.postgres.port, self_signed(secure.directory, "between"))
    try:
        how = dict(port=between.fake.port, extra="user=scrammer password=scrammerpw")
        b = connects("require", server_channel_binding="disable", **how)
        assert ask(b) == "TLSv1.3", "without binding nobody notices"
        assert "SCRAM channel binding check failed" in refusal(connects("require", **how))
    finally:
        between.fake.stop()


def test_clients_bind_their_logins(broker, secure):
    b = broker(auth_type="scram-sha-256", client_tls_sslmode="require", client_tls_cert_file=secure.good.cert,
               client_tls_key_file=secure.good.key, userlist={"app": "secret", "admin": "secret"})
    url = "postgresql://app:secret@127.0.0.1:{}/e2e?sslmode=require&channel_binding={}"
    assert psql(url.format(b.transaction_port, "require"), "select 1") == "1"
    between = Between(b.transaction_port, self_signed(secure.directory, "between2"))
    try:
        assert psql(url.format(between.fake.port, "disable"), "select 1") == "1"
        assert "password authentication failed" in psql(url.format(between.fake.port, "prefer"), "select 1", fails=True)
    finally:
        between.fake.stop()


def test_channel_binding_required(connects):
    b = connects("require", extra="user=scrammer password=scrammerpw", server_channel_binding="require")
    assert ask(b) == "TLSv1.3"


def test_servers_that_are_not_bound_are_given_up(connects):
    b = connects("require")
    assert ask(b) == "TLSv1.3"
    b.settings["server_channel_binding"] = "require"
    b.reload()
    eventually(lambda: not b.servers(database="e2e"), "T32: what was let in by less serves nobody who asks for more")


def test_channel_binding_required_of_a_server_that_trusts(connects):
    """T31: a server that asks for nothing proves nothing."""
    b = connects("require", server_channel_binding="require")
    assert "channel binding is required" in refusal(b) or "channel binding is required" in b.log


# Other connections than the first ---------------------------------------------------------------------------------------

class Tap:
    """Passes connections on to the cluster and keeps what the broker has sent over each."""

    def __init__(self, port: int):
        self.to, self.heard = port, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                here, _ = self.listener.accept()
            except OSError:
                return
            there = socket.create_connection(("127.0.0.1", self.to))
            kept = bytearray()
            self.heard.append(kept)
            threading.Thread(target=relay, args=(here, there, kept), daemon=True).start()

    def stop(self) -> None:
        self.listener.close()


@pytest.mark.short
def test_cancel_requests_go_inside_of_tls(connects, secure):
    """T25."""
    tap = Tap(secure.postgres.port)
    try:
        b = connects("verify-full", port=tap.port, server_tls_ca_file=secure.root.cert)
        with b.connect() as connection:
            connection.send(wire.query("select pg_sleep(60)"))
            eventually(lambda: secure.postgres.backends(where="wait_event = 'PgSleep'"), "it runs")
            cancel(b.transaction_port, connection.pid, connection.key)
            assert wire.errors(connection.until("Z"))[0].sqlstate == "57014"
        assert len(tap.heard) == 2
        for kept in tap.heard:
            assert bytes(kept[:8]) == struct.pack("!II", 8, wire.SSL_REQUEST) and kept[8] == 0x16
    finally:
        tap.stop()


@pytest.mark.short
def test_servers_of_other_tls_settings_are_not_used_again(connects, secure):
    """T32: what a plain connection or another root has let in serves nobody who asks for more."""
    b = connects("disable")
    assert ask(b) == "clear"
    first = b.servers(database="e2e")[0]["remote_pid"]
    b.reload()
    assert ask(b) == "clear" and b.servers(database="e2e")[0]["remote_pid"] == first, "nothing has changed"
    roots = secure.directory / "roots.pem"
    roots.write_text(secure.root.cert.read_text())
    give_to_service_user(roots)
    b.settings.update(server_tls_sslmode="verify-full", server_tls_ca_file=roots)
    b.reload()
    assert ask(b) == "TLSv1.3"
    roots.write_text(Authority(secure.directory, "Third Root").cert.read_text())
    eventually(lambda: not b.servers(database="e2e"), "servers that other roots have proved are given up", timeout=30)


def test_a_half_written_file_changes_nothing(connects, secure):
    mine, next_one = secure.root.issue("byname"), secure.root.issue("byname")
    cert, key = secure.directory / "own.crt", secure.directory / "own.key"
    for to, source in ((cert, mine.cert), (key, mine.key)):
        to.write_text(source.read_text())
        to.chmod(0o600)
        give_to_service_user(to)
    b = connects("require", server_tls_cert_file=cert, server_tls_key_file=key)
    row = lambda: {r["side"]: r for r in b.console("SHOW TLS")}["servers"]
    before = row()["serial"]
    cert.write_text(next_one.cert.read_text())
    eventually(lambda: "does not belong to the certificate" in row()["last_error"], "it is noticed", timeout=30)
    answer = b.console.connection.query("RELOAD")
    assert f"{b.ini}:" in wire.errors(answer)[0].fields["D"] and row()["serial"] == before
    assert ask(b, user="byname") == "TLSv1.3"
    key.write_text(next_one.key.read_text())
    eventually(lambda: row()["serial"] != before and row()["last_error"] == "", "the whole pair is taken", timeout=30)
    assert b.log.count("cannot be used, those that were read before stay") == 1


def test_a_renewed_certificate_of_a_server_under_load(connects, secure):
    """Every new connection meets the certificate of the moment; no query fails."""
    b = connects("verify-full", server_tls_ca_file=secure.root.cert)
    failed, stop = [], threading.Event()

    def work():
        with b.connect() as connection:
            while not stop.is_set():
                failed.extend(wire.errors(connection.query("select 1")))
    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for _ in range(3):
        secure.use(secure.root.issue("localhost", hosts=["localhost"], addresses=["127.0.0.1"]))
        b.console("RECONNECT")
    secure.use(secure.good)
    stop.set()
    for each in threads:
        each.join()
    assert not failed and {r["side"]: int(r["failures"]) for r in b.console("SHOW TLS")}["servers"] == 0


def test_set_while_a_tls_file_is_broken(connects, secure):
    roots = roots_file(secure, "broken-roots.pem", secure.root.cert.read_text())
    b = connects("verify-full", server_tls_ca_file=roots)
    roots.write_text("nothing")
    b.console("SET verbose = 1")
    assert ask(b) == "TLSv1.3"
    assert wire.errors(b.console.connection.query("SET server_tls_protocols = 'tlsv1.2'")), "this one needs the file"
