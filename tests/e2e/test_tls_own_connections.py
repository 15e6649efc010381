"""TLS on the broker's own connections, of the link and of auth_query: as towards the servers of pools."""

import re

import pytest

from harness import scram
from harness.certificates import Authority
from harness.fake_server import FakeServer, fatal
from harness.raw import Refused
from harness.system import eventually
from test_link import GRANT, STAND_IN
from test_tls_servers import LIES, USERLIST, Wrapped, ask, refusal, roots_file, secure  # noqa: F401: `secure` is a fixture

pytestmark = pytest.mark.ours

LINK, LOOKUP = "pgberth link", "pgberth auth_query"


@pytest.fixture(scope="module")
def own(secure):
    """The cluster with the stand-in of test_link.py, and a role that the broker has to ask for."""
    secure.postgres.sql(STAND_IN + GRANT, database="e2e")
    secure.postgres.sql("create role ann login; grant select on pg_authid to app", database="e2e")
    secure.postgres.sql(f"alter role ann password '{scram.secret('annpw')}'")
    with open(secure.postgres.data / "pg_hba.conf", "a") as hba:
        hba.write("host all ann 127.0.0.1/32 scram-sha-256\n")
    secure.postgres.sql("select pg_reload_conf()")
    return secure


def own_connections(secure, application):
    """Of the broker to the cluster: whether and how each is encrypted."""
    return [row[0] for row in secure.postgres.sql(
        "select coalesce(s.version, 'clear') from pg_stat_ssl s join pg_stat_activity a using (pid) "
        f"where a.application_name = '{application}'")]


LOOKS_UP = dict(auth_type="scram-sha-256", auth_user="app", userlist={"app": "apppw", "admin": "adminpw"})


def test_a_link_follows_the_tls_settings(broker, own):
    """T32: what a link was told in clear words, or by whom other roots proved, hears no console secret any more."""
    roots = roots_file(own, "link-roots.pem", own.root.cert.read_text())
    b = broker(databases=own.entry("localhost"), userlist=USERLIST, server=own.postgres, link="auto", link_user="app",
               server_tls_sslmode="disable")
    eventually(lambda: own_connections(own, LINK) == ["clear"], "there is a link")
    b.settings.update(server_tls_sslmode="verify-full", server_tls_ca_file=roots, server_tls_protocols="tlsv1.2")
    b.reload()
    eventually(lambda: own_connections(own, LINK) == ["TLSv1.2"], "another one in place of the plain one")
    eventually(lambda: [row["state"] for row in b.console("SHOW LINKS")] == ["up"], "it is registered")
    for binding, expected in (("require", []), ("prefer", ["TLSv1.2"])):  # a server that trusts app binds nothing
        b.console(f"SET server_channel_binding = '{binding}'")
        eventually(lambda: own_connections(own, LINK) == expected, f"{binding} counts for an open link, too")
    roots.write_text(Authority(own.directory, "Fourth Root").cert.read_text())
    eventually(lambda: not own_connections(own, LINK), "these roots prove nothing", timeout=30)
    assert "the TLS settings have changed" in b.log
    eventually(lambda: "certificate verify failed" in b.console("SHOW LINKS")[0]["error"], "SHOW LINKS says why")


def test_auth_query_follows_the_roots(broker, own):
    """T32: the roots' file alone changes."""
    roots = roots_file(own, "lookup-roots.pem", own.root.cert.read_text())
    b = broker(databases=own.entry("localhost"), server=own.postgres, server_tls_sslmode="verify-full",
               server_tls_ca_file=roots, **LOOKS_UP)
    assert ask(b, "ann", "annpw") == "TLSv1.3"
    assert own_connections(own, LOOKUP) == ["TLSv1.3"]
    roots.write_text(Authority(own.directory, "Fifth Root").cert.read_text())
    eventually(lambda: not own_connections(own, LOOKUP), "these roots prove nothing", timeout=30)


def test_auth_query_obeys_lists_of_revoked_certificates(broker, own):
    """T25."""
    bad = own.root.issue("localhost", hosts=["localhost"], addresses=["127.0.0.1"])
    both = roots_file(own, "lookup-revoked.pem", own.root.cert.read_text() + own.root.revoke(bad).read_text())
    start = lambda: broker(databases=own.entry("localhost"), server=own.postgres, server_tls_sslmode="verify-full",
                           server_tls_ca_file=both, **LOOKS_UP)
    assert ask(start(), "ann", "annpw") == "TLSv1.3"
    own.use(bad)
    try:
        b = start()
        assert "cannot be looked up" in refusal(b, "ann")
        assert re.search("auth_query: database .* certificate revoked", b.log)
    finally:
        own.use(own.good)


def test_auth_query_takes_the_ciphers(broker, own):
    """T25: server_tls_ciphers and server_tls13_ciphers hold for the broker's own connections."""
    for settings, cipher in (({"server_tls13_ciphers": "TLS_CHACHA20_POLY1305_SHA256"}, "TLS_CHACHA20_POLY1305_SHA256"),
                             ({"server_tls_protocols": "tlsv1.2", "server_tls_ciphers": "ECDHE-RSA-AES128-GCM-SHA256:"
                               "ECDHE-ECDSA-AES128-GCM-SHA256"}, "AES128-GCM-SHA256")):
        b = broker(databases=own.entry(), server=own.postgres, server_tls_sslmode="require", **LOOKS_UP, **settings)
        assert ask(b, "ann", "annpw")
        used = own.postgres.sql("select s.cipher from pg_stat_ssl s join pg_stat_activity a using (pid) "
                                f"where a.application_name = '{LOOKUP}'")
        assert len(used) == 1 and used[0][0].endswith(cipher)
        assert int({r["side"]: r for r in b.console("SHOW TLS")}["servers"]["handshakes"]) == 2  # with the pool's
        b.stop()
        b.expected_exit = True


def test_auth_query_takes_tls_where_the_server_insists(broker, own):
    """allow: as for the servers of pools, a login that is refused in clear words is tried inside of TLS."""
    own.postgres.sql("grant select on pg_authid to tlsonly", database="e2e")
    b = broker(databases=own.entry(), server=own.postgres, server_tls_sslmode="allow",
               **{**LOOKS_UP, "auth_user": "tlsonly", "userlist": {"tlsonly": "", "admin": "adminpw"}})
    assert ask(b, "ann", "annpw") == "clear"
    assert own_connections(own, LOOKUP) == ["TLSv1.3"]


def looks_up(broker, fake, **settings):
    """A stranger's login in the database of the fake server."""
    b = broker(databases={"fake": fake.entry()}, **LOOKS_UP, **settings)
    with pytest.raises(Refused) as told:
        b.connect(user="ann", database="fake", password="annpw")
    assert told.value.sqlstate == "57P03"
    return b


@pytest.mark.parametrize("lie", list(LIES))
def test_auth_query_takes_no_lies(broker, lie):
    """T4, T23, T25."""
    say, told = LIES[lie]
    fake = FakeServer(encryption=lambda session: (say(session), session.wait_closed()))
    try:
        b = looks_up(broker, fake, server_tls_sslmode="require")
        assert told in b.log and "INJECTED" not in b.log
        assert not fake.sessions, "nothing of the login was said to it"
    finally:
        fake.stop()


@pytest.mark.parametrize("answer, sessions", [("N", 1), ("S", 0), ("E", 0)])
def test_auth_query_prefers_tls(broker, answer, sessions):
    """T25, prefer: only a server that declines is spoken to in clear words; one that fails at TLS is not."""
    text = fatal("28000", "INJECTED")
    say = {"N": b"N", "S": b"S" + text, "E": text}[answer]
    fake = FakeServer(login=lambda s: s.send(fatal("28P01", "not you")), encryption=lambda s: s.send(say))
    try:
        b = looks_up(broker, fake)
        assert len(fake.sessions) == sessions and "INJECTED" not in b.log
        assert ("FATAL: not you" in b.log) == (sessions == 1)
    finally:
        fake.stop()


@pytest.mark.parametrize("protocols, good", [(("postgresql",), True), ((), False)])
def test_auth_query_negotiates_directly(broker, secure, protocols, good):
    """T33."""
    fake = FakeServer(login=lambda s: s.send(fatal("28P01", "not you")),
                      encryption=Wrapped(secure.good, protocols).begin, direct=True)
    try:
        looks_up(broker, fake, server_tls_sslmode="verify-full", server_tls_ca_file=secure.root.cert,
                 server_tls_negotiation="direct")
        assert [s.parameters["application_name"] for s in fake.sessions] == [LOOKUP] * good
    finally:
        fake.stop()
