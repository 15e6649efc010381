"""Logins of drivers by SCRAM over TLS, with channel binding where a driver has it: psycopg, psycopg2 (libpq), node-postgres
(enableChannelBinding). JDBC of Debian 12, postgres.js and asyncpg have none: they must get in beside an offer of it. Part of
`make check-drivers`."""

import asyncio
import json
import shutil
import ssl

import asyncpg
import psycopg
import psycopg2
import pytest

from harness import scram
from harness.certificates import Authority, self_signed
from harness.system import make_directory
from test_drivers_tls import HERE, MODULES, jdbc, run
from test_tls_servers import Between

pytestmark = [pytest.mark.ours, pytest.mark.limit(180)]

SECRET = scram.secret("apppw")


@pytest.fixture(scope="module")
def certs():
    root = make_directory()
    authority = Authority(root)
    yield authority.issue("localhost", hosts=["localhost"], addresses=["127.0.0.1"]), self_signed(root, "between")
    shutil.rmtree(root)


@pytest.fixture
def b(broker, certs):
    return broker(auth_type="scram-sha-256", client_tls_sslmode="allow", client_tls_cert_file=certs[0].cert,
                  client_tls_key_file=certs[0].key, userlist={"app": SECRET, "admin": "adminpw"})


@pytest.fixture
def between(b, certs):
    """Somebody in between, whom only a bound login finds out."""
    made = Between(b.transaction_port, certs[1])
    yield made.fake.port
    made.fake.stop()


def ports(b):
    return b.transaction_port, b.session_port


def test_libpq(b, between):
    how = dict(host="127.0.0.1", user="app", password="apppw", dbname="e2e", sslmode="require")
    for driver in (psycopg, psycopg2):
        for port in ports(b):
            for binding in ("disable", "prefer", "require"):
                connection = driver.connect(port=port, channel_binding=binding, **how)
                cursor = connection.cursor()
                cursor.execute("select 41 + 1")
                assert cursor.fetchone()[0] == 42
                connection.close()
        driver.connect(port=between, channel_binding="disable", **how).close()
        for binding in ("prefer", "require"):
            with pytest.raises(driver.OperationalError, match="password authentication failed"):
                driver.connect(port=between, channel_binding=binding, **how)


def node(driver, port, error="", **options):
    run("node", HERE / "node_scram.js", driver, json.dumps(dict(port=port, **options)), error, NODE_PATH=str(MODULES))


def test_node_postgres(b, between):
    tls = dict(ssl={"rejectUnauthorized": False})
    for port in ports(b):
        for more in ({}, {"enableChannelBinding": True}, {"enableChannelBinding": True, "sslnegotiation": "direct"}):
            node("pg", port, **tls, **more)
        node("pg", port, enableChannelBinding=True)  # in clear words: it could, and was offered none
        node("pg", port, "28P01", enableChannelBinding=True, password="wrong", **tls)
    node("pg", between, **tls)
    node("pg", between, "28P01", enableChannelBinding=True, **tls)


def test_postgres_js(b):
    for port in ports(b):
        for more in ({}, {"ssl": {"rejectUnauthorized": False}}, {"ssl": {"rejectUnauthorized": False}, "sslnegotiation": "direct"}):
            node("postgres", port, **more)


def test_jdbc(b):
    where = "jdbc:postgresql://127.0.0.1:{}/e2e?user=app&password={}&sslmode={}"
    jdbc(*((expected, where.format(port, password, mode)) for port in ports(b) for mode in ("disable", "require")
           for expected, password in (("yes", "apppw"), ("no", "wrong"))))


def test_asyncpg(b):
    unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE

    async def ask(port, how):
        connection = await asyncpg.connect(host="127.0.0.1", port=port, user="app", password="apppw", database="e2e", ssl=how,
                                           statement_cache_size=0)
        try:
            return await connection.fetchval("select 41 + 1")
        finally:
            await connection.close()
    for port in ports(b):
        for how in (unchecked, False):
            assert asyncio.run(ask(port, how)) == 42
