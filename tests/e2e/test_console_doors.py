"""T16: the console asks for a proof as every database does, whatever auth_type is, on every port and by both of its names."""

import pytest

from harness import raw, wire
from harness.directory import BASE, Directory
from harness.raw import Closed, Raw, Refused
from test_directory import with_pam
from test_hba import prepared
from test_tls_clients import certs, context, secured, tls_broker  # noqa: F401  (fixtures)

pytestmark = pytest.mark.ours

PASSWORDS = {"app": "correct horse", "admin": "admin secret", "stats": "stats secret"}
NAMES = ("pgbouncer", "pgberth")


@pytest.fixture
def directory():
    made = Directory(PASSWORDS)
    yield made
    made.remove()


def ports(b):
    return b.listen_port, b.transaction_port, b.session_port


def entered(c):
    """Who is an admin may change something, who is not may look at most."""
    with c:
        assert wire.rows(c.query("show version"))
        return not wire.errors(c.query("set query_timeout = 77"))


def asks_for_passwords(b, sqlstate):
    """Nobody but an admin and a reader of statistics, and they by their password alone."""
    for port in ports(b):
        for name in NAMES:
            assert entered(Raw(port).login("admin", name, PASSWORDS["admin"]))
        assert not entered(Raw(port).login("stats", "pgbouncer", PASSWORDS["stats"]))
        # Few of them: failed logins are answered later and later.
        assert raw.refusal(port, "admin", "wrong", "pgbouncer").sqlstate == sqlstate
    assert raw.refusal(b.listen_port, "nobody_here", PASSWORDS["admin"], "pgbouncer").sqlstate == sqlstate
    assert raw.refusal(b.listen_port, "admin", PASSWORDS["app"], "pgberth").sqlstate == sqlstate
    for port in ports(b):
        assert raw.refusal(port, "app", PASSWORDS["app"], "pgbouncer").sqlstate == "28000"
    assert Raw(b.transaction_port).login("app", "e2e", PASSWORDS["app"]).value("select current_user") == "app"


@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
def test_passwords(broker, auth_type):
    """T16"""
    asks_for_passwords(broker(auth_type=auth_type, userlist=PASSWORDS), "28P01")


def test_rules(broker):
    """T16: that others come in without a password opens nothing."""
    rules = "host all app all trust\nhost e2e all all trust\nhost all all all scram-sha-256\n"
    asks_for_passwords(prepared(broker, rules, userlist=PASSWORDS).start(), "28P01")


def test_pam(broker):
    """T16"""
    asks_for_passwords(with_pam(broker(launch=False, auth_type="pam"), PASSWORDS), "28000")


def test_ldap(broker, directory):
    """T16"""
    where = f'ldapserver=127.0.0.1 ldapport={directory.port} ldapprefix="uid=" ldapsuffix=",ou=people,{BASE}"'
    asks_for_passwords(broker(auth_type="ldap", auth_ldap_options=where), "28000")


def test_cert(tls_broker, certs):  # noqa: F811
    """T16: a certificate with the admin's name, not with another's, and not none."""
    b = tls_broker("verify-full", auth_type="cert")
    admin = certs.authority.issue("admin")
    for port in ports(b):
        for name in NAMES:
            assert entered(secured(b, context(client=admin), port=port).login("admin", name))
        for user, who, why in (("admin", certs.app, "certificate authentication failed"), ("app", certs.app, "not allowed")):
            with pytest.raises(Refused) as failure:
                secured(b, context(client=who), port=port).login(user, "pgbouncer")
            assert failure.value.sqlstate == "28000" and why in failure.value.error.text
        with pytest.raises((Refused, Closed, OSError)):
            secured(b, context(), port=port).login("admin", "pgbouncer")
        with pytest.raises(Refused) as failure:
            Raw(port).login("admin", "pgbouncer")
        assert failure.value.error.text.endswith("SSL required")


def test_trust(broker):
    """T16: who says an admin's name is one, as `trust` has it (a warning says so where networks reach it); who says another's is
    not, and who is not in auth_file does not come in."""
    b = broker(auth_type="trust", userlist=PASSWORDS)
    for port in ports(b):
        for name in NAMES:
            assert entered(Raw(port).login("admin", name))
        assert not entered(Raw(port).login("stats", "pgbouncer"))
        assert raw.refusal(port, "app", None, "pgbouncer").sqlstate == "28000"
        assert raw.refusal(port, "nobody_here", None, "pgbouncer").sqlstate == "28P01"


def test_any(broker, postgres):
    """T16: with `any` everybody is an admin, as in PgBouncer; a warning says so where networks reach it."""
    b = broker(auth_type="any", databases={"e2e": f"host={postgres.sockets} port={postgres.port} user=app"})
    for port in ports(b):
        for name in NAMES:
            assert entered(Raw(port).login("nobody_here", name))
