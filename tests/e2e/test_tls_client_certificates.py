"""TLS for clients, by certificates: which are taken, whom they prove, and their rotation under load."""

import signal
import ssl
import threading

import psycopg
import pytest

from harness.raw import Raw, Refused
from harness.system import Task, eventually, write
from test_tls_clients import (  # noqa: F401  (fixtures)
    VERSIONS, certs, context, disconnects, healthy, libpq, reason, secured, show, showing, tls_broker, told_psycopg, with_psycopg)

pytestmark = pytest.mark.ours

# What a client is told about each of Certificates.bad.
ALERTS = {"expired": "certificate expired", "unknown ca": "unknown ca", "self-signed": "unknown ca",
          "revoked": "certificate revoked"}

# Client certificates --------------------------------------------------------------------------------------------------

def test_certificates_of_libpq(tls_broker, certs):
    """verify-full and auth_type cert, met by libpq: one that is bad is told by its alert, one of somebody else by an error."""
    b = tls_broker("verify-full", auth_type="cert", userlist={"app": "", "app2": "", "admin": ""})
    for version in VERSIONS:
        how = dict(sslmode="verify-full", ssl_min_protocol_version=version, ssl_max_protocol_version=version)
        assert with_psycopg(libpq(b, certs, **how, **showing(certs.app)))
        assert with_psycopg(libpq(b, certs, **how, **showing(certs.middle.issue("app"))))
        for name, bad in certs.bad.items():
            assert f"alert {ALERTS[name]}" in told_psycopg(libpq(b, certs, **how, **showing(bad))), name
        said = told_psycopg(libpq(b, certs, **how))
        assert "alert certificate required" in said or "alert handshake failure" in said
        said = told_psycopg(libpq(b, certs, user="app2", **how, **showing(certs.app)))
        assert 'certificate authentication failed for user "app2"' in said


@pytest.mark.short
def test_client_certificates(tls_broker, certs):
    """verify-ca: a good one gets in, every other is told why by an alert."""
    b = tls_broker("verify-ca")
    for version in VERSIONS.values():
        with secured(b, context(version=version, client=certs.app)).login("app", "e2e") as c:
            assert c.value("select 1") == "1"
        with secured(b, context(version=version, client=certs.middle.issue("app"))).login("app", "e2e") as c:
            assert c.value("select 1") == "1"
        for name, bad in certs.bad.items():
            with pytest.raises(ssl.SSLError) as failure:  # TLS 1.3 tells it with the first read
                secured(b, context(version=version, client=bad)).login("app", "e2e")
            assert ALERTS[name] in reason(failure), name
        with pytest.raises(ssl.SSLError) as failure:
            secured(b, context(version=version)).login("app", "e2e")
        assert "certificate required" in reason(failure) or "handshake failure" in reason(failure)
    assert disconnects(b, "tls_handshake_failed") == 10
    assert {row["side"]: row["expired"] for row in show(b, "TLS")} == {"clients": "2", "servers": "0"}
    assert "certificate verify failed: certificate has expired" in b.log


def test_a_bad_certificate_where_none_is_needed(tls_broker, certs):
    """Who shows one must show a good one."""
    b = tls_broker("prefer", ca=True)
    healthy(b)
    with secured(b, context(client=certs.app)).login("app", "e2e") as c:
        assert c.value("select 1") == "1"
    with pytest.raises(ssl.SSLError):
        secured(b, context(client=certs.bad["unknown ca"])).login("app", "e2e")


def test_rotation_under_load(broker, certs):
    """A certificate is renewed while clients log in: nobody is refused, every login is bound to the certificate that it saw, open
    sessions stay. Half of a pair is refused as a whole; SIGHUP takes what is there, and so does the look at the files."""
    cert, key = certs.root / "rotated.crt", certs.root / "rotated.key"
    new = lambda days=30: certs.authority.issue("localhost", hosts=["localhost"], addresses=["127.0.0.1"], days=days)

    def put(path, source):
        write(path, source.read_text()).chmod(0o600)
    first = new(days=1)
    put(cert, first.cert), put(key, first.key)
    b = broker(auth_type="scram-sha-256", client_tls_sslmode="require", client_tls_cert_file=cert, client_tls_key_file=key,
               userlist={"app": "apppw", "admin": "adminpw"}, workers=2)
    how = dict(host="localhost", hostaddr="127.0.0.1", port=b.transaction_port, user="app", password="apppw", dbname="e2e",
               sslmode="verify-full", sslrootcert=str(certs.authority.cert), channel_binding="require")
    stop, logins = threading.Event(), [0, 0, 0]

    def log_in(number):
        while not stop.is_set():
            with psycopg.connect(**how) as c:
                assert c.execute("select 1").fetchone() == (1,)
            logins[number] += 1

    def more():
        before = list(logins)
        eventually(lambda: all(now > then + 1 for now, then in zip(logins, before)) or any(not t.is_alive() for t in tasks),
                   "clients log in")
    state = lambda: next(row for row in show(b, "TLS") if row["side"] == "clients")
    with psycopg.connect(**how, autocommit=True) as kept:
        tasks = [Task(log_in, number) for number in range(3)]
        assert 0 < int(state()["seconds_left"]) <= 86400
        for hup in (True, False):
            before, renewed, noticed = state()["serial"], new(), b.log.count("does not belong to the certificate")
            put(cert, renewed.cert)
            if hup:
                b.signal(signal.SIGHUP)
            eventually(lambda: b.log.count("does not belong to the certificate") > noticed, "half of a pair is noticed")
            more()
            assert state()["serial"] == before
            put(key, renewed.key)
            if hup:
                b.signal(signal.SIGHUP)
            eventually(lambda: state()["serial"] != before, "the whole pair is taken")
            more()
            assert int(state()["seconds_left"]) > 29 * 86400
            assert kept.execute("select 1").fetchone() == (1,)
        stop.set()
        for task in tasks:
            task.result()
    assert state()["failures"] == "0" and state()["last_error"] == ""


# auth_hba_file --------------------------------------------------------------------------------------------------------

def test_hostssl_and_hostnossl(tls_broker, certs):
    """Each fits what its name says, and the refusal says how the client came."""
    root = certs.root
    rules = write(root / "hba.conf", "hostssl e2e app 127.0.0.1/32 trust\nhostnossl e2e app2 127.0.0.1/32 trust\n"
                                     "host pgbouncer admin 127.0.0.1/32 trust\n")
    b = tls_broker(auth_type="hba", auth_hba_file=rules)
    with secured(b).login("app", "e2e") as c:
        assert c.value("select 1") == "1"
    with Raw(b.transaction_port).login("app2", "e2e") as c:
        assert c.value("select 1") == "1"
    with pytest.raises(Refused) as failure:
        Raw(b.transaction_port).login("app", "e2e")
    assert failure.value.text == \
        'no pg_hba.conf entry for host "127.0.0.1", user "app", database "e2e", no encryption'
    with pytest.raises(Refused) as failure:
        secured(b).login("app2", "e2e")
    assert failure.value.text == \
        'no pg_hba.conf entry for host "127.0.0.1", user "app2", database "e2e", SSL encryption'


def refused(b, *args, **kwargs):
    with pytest.raises(Refused) as failure:
        secured(b, *args).login(**kwargs)
    assert failure.value.sqlstate == "28000"
    return failure.value.text


def test_cert_rules(tls_broker, certs):
    """The common name is the user, or its whole name by a map; everybody else is refused in PostgreSQL's words."""
    rules = write(certs.root / "cert.conf", "hostssl e2e app all cert\nhostssl e2e app2 all cert map=ops\n"
                                            "hostssl e2e app3 all cert map=whole clientname=DN\nlocal all all trust\n")
    ident = write(certs.root / "ident.conf", 'ops anna app2\nwhole "CN=anna,O=Shop" app3\n')
    b = tls_broker("prefer", ca=True, auth_type="hba", auth_hba_file=rules, auth_ident_file=ident)
    anna = certs.authority.issue("/O=Shop/CN=anna")
    for user, who in (("app", certs.app), ("app2", anna), ("app3", anna)):
        with secured(b, context(client=who)).login(user, "e2e") as c:
            assert c.value("select 1") == "1"
    for user, who in (("app", anna), ("app2", certs.app), ("app3", certs.app), ("app", None)):
        assert refused(b, context(client=who), user=user, database="e2e") == \
            f'certificate authentication failed for user "{user}"'
    assert '(it is "anna" who is there, ' in b.log and "(no certificate was shown, " in b.log
    with pytest.raises(Refused) as failure:
        Raw(b.transaction_port).login("app", "e2e")
    assert "no encryption" in failure.value.text


def test_auth_type_cert(tls_broker, certs):
    """As PgBouncer's: verify-full, and the common name is the user."""
    b = tls_broker("verify-full", auth_type="cert")
    with secured(b, context(client=certs.app)).login("app", "e2e") as c:
        assert c.value("select 1") == "1"
    assert "certificate authentication failed" in refused(b, context(client=certs.app), user="app2", database="e2e")
    with pytest.raises(Refused):
        Raw(b.transaction_port, str(b.root)).login("app", "e2e")  # no TLS there, so no certificate
    resumed = secured(b, how := context(client=certs.app)).login("app", "e2e")
    assert resumed.value("select 1") == "1"
    again = secured(b, how, session=resumed.sock.session)
    assert again.sock.session_reused
    assert again.login("app", "e2e").value("select 1") == "1"
    assert "certificate authentication failed" in refused(b, how, False, resumed.sock.session, user="app2", database="e2e")
