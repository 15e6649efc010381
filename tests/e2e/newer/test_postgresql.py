"""PostgreSQL 17 and newer as a server over TLS: direct negotiation, which 15 does not know, with every way of checking who is
there, channel binding, and cancel requests. `make check-libpq` runs this in a Debian that has such a PostgreSQL."""

import pytest

from harness import wire
from harness.certificates import Authority
from harness.raw import cancel
from harness.system import eventually
from test_tls_servers import Tap, ask, connects, refusal, secure, version_seen  # noqa: F401  (fixtures)

pytestmark = pytest.mark.ours

NEGOTIATIONS = ["postgres", "direct"]


def test_this_is_a_newer_postgresql(secure):  # noqa: F811
    assert int(secure.postgres.value("show server_version_num")) >= 170000


@pytest.mark.parametrize("negotiation", NEGOTIATIONS)
@pytest.mark.parametrize("sslmode", ["require", "verify-ca", "verify-full"])
def test_modes(connects, secure, sslmode, negotiation):  # noqa: F811
    b = connects(sslmode, server_tls_ca_file=secure.root.cert, server_tls_negotiation=negotiation)
    for version in ("TLSv1.3", "TLSv1.2"):
        b.console(f"SET server_tls_protocols = '{version.lower()}'")
        eventually(lambda: ask(b) == version, "servers of the other version are given up")
    assert {r["side"]: int(r["failures"]) for r in b.console("SHOW TLS")}["servers"] == 0


def test_direct_is_direct(connects, secure):  # noqa: F811
    """The first byte that the server hears is a handshake's; so it is of a cancel request."""
    tap = Tap(secure.postgres.port)
    try:
        b = connects("verify-full", port=tap.port, server_tls_ca_file=secure.root.cert, server_tls_negotiation="direct")
        with b.connect() as connection:
            assert version_seen(connection) == "TLSv1.3"
            connection.send(wire.query("select pg_sleep(60)"))
            eventually(lambda: secure.postgres.value("select count(*) from pg_stat_activity where wait_event = 'PgSleep'") == "1",
                       "it runs")
            cancel(b.transaction_port, connection.pid, connection.key)
            assert wire.errors(connection.until("Z"))[0].sqlstate == "57014"
        assert len(tap.heard) == 2 and all(kept[0] == 0x16 for kept in tap.heard)
    finally:
        tap.stop()


@pytest.mark.parametrize("negotiation", NEGOTIATIONS)
def test_wrong_roots(connects, secure, negotiation):  # noqa: F811
    other = Authority(secure.directory, f"Other {negotiation}")
    b = connects("verify-ca", server_tls_ca_file=other.cert, server_tls_negotiation=negotiation)
    assert "TLS handshake failed" in refusal(b)


@pytest.mark.parametrize("negotiation", NEGOTIATIONS)
@pytest.mark.parametrize("binding", ["disable", "prefer", "require"])
def test_channel_binding(connects, binding, negotiation):  # noqa: F811
    b = connects("require", extra="user=scrammer password=scrammerpw", server_channel_binding=binding,
                 server_tls_negotiation=negotiation)
    assert ask(b) == "TLSv1.3"


@pytest.mark.parametrize("negotiation", NEGOTIATIONS)
def test_a_certificate_of_our_own(connects, secure, negotiation):  # noqa: F811
    mine = secure.root.issue("byname")
    b = connects("verify-full", server_tls_ca_file=secure.root.cert, server_tls_cert_file=mine.cert,
                 server_tls_key_file=mine.key, server_tls_negotiation=negotiation)
    assert ask(b, user="byname") == "TLSv1.3"
