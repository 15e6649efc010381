"""The first bytes of a connection: every length, every request, every parameter, and silence."""

import random
import struct

import pytest

from harness import scram, wire
from harness.broker import IS_DIRECT, IS_PGBOUNCER
from harness.raw import Closed, Raw, Refused
from harness.system import eventually, random_seed


@pytest.fixture
def b(broker):
    return broker()


def healthy(b):
    """The broker lives, and serves somebody else."""
    assert b.alive
    with b.connect() as other:
        assert other.value("select 'served'") == "served"


def refused(connection, sqlstates=None):
    """The connection ends, with at most one ErrorResponse before."""
    said = connection.until_closed()
    assert set(wire.tags(said)) <= {"E", "R", "N"} and wire.tags(said).count("E") <= 1, said
    for error in wire.errors(said):
        assert error.severity == "FATAL" and len(error.sqlstate) == 5
        assert sqlstates is None or error.sqlstate in sqlstates, error.fields
    return said


# Encryption requests --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("requests", [[wire.ssl_request()], [wire.gssenc_request()],
                                      [wire.ssl_request(), wire.gssenc_request()],
                                      [wire.gssenc_request(), wire.ssl_request()]],
                         ids=["ssl", "gss", "ssl-gss", "gss-ssl"])
def test_encryption_is_declined_once_each(b, requests):
    c = Raw(b.transaction_port)
    for request in requests:
        assert c.send(request).read_byte() == b"N"
    c.login("app", "e2e")
    assert c.value("select 1") == "1"


@pytest.mark.ours
@pytest.mark.parametrize("requests", [[wire.ssl_request()] * 2, [wire.gssenc_request()] * 2,
                                      [wire.ssl_request(), wire.gssenc_request(), wire.ssl_request()],
                                      [wire.gssenc_request(), wire.ssl_request(), wire.gssenc_request()]],
                         ids=["ssl-ssl", "gss-gss", "ssl-gss-ssl", "gss-ssl-gss"])
def test_second_request_of_a_kind_is_an_error(b, requests):
    """T26, T27: no endless alternation, and no second encryption."""
    c = Raw(b.transaction_port)
    for request in requests[:-1]:
        assert c.send(request).read_byte() == b"N"
    c.send(requests[-1])
    refused(c, ["08P01"])
    healthy(b)


@pytest.mark.parametrize("what", ["startup", "query", "one byte"])
@pytest.mark.parametrize("asked", ["ssl"] if IS_DIRECT else ["ssl", "gss"])
def test_request_and_startup_in_one_segment(b, asked, what):
    """T4: what comes along with an encryption request is never obeyed, neither as a startup nor as SQL, also where the request is
    declined. (PostgreSQL says its N before that, and speaks GSS itself.)"""
    request = wire.ssl_request() if asked == "ssl" else wire.gssenc_request()
    startup = wire.startup({"user": "app", "database": "e2e"})
    c = Raw(b.transaction_port)
    c.send(request + {"startup": startup + wire.query("select 1"), "query": wire.query("select 1"), "one byte": startup[:1]}[what])
    if IS_DIRECT:
        assert c.read_byte() == b"N"
    said = c.until_closed()
    assert [(m.tag, m.sqlstate) for m in said] == [("E", "08P01")]
    assert IS_PGBOUNCER or "received unencrypted data after" in said[0].text
    healthy(b)


# Lengths --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("length", [0, 1, 3, 4, 7, pytest.param(20000, marks=pytest.mark.ours), 2**31 - 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("code", [wire.PROTOCOL_3_0, wire.SSL_REQUEST, wire.CANCEL_REQUEST])
def test_impossible_lengths(b, length, code):
    """T7, T11"""
    c = Raw(b.transaction_port)
    c.send_if_open(struct.pack("!II", length, code) + b"user\0app\0\0")
    refused(c)
    healthy(b)


def test_cancel_requests_of_wrong_lengths(b):
    """T34: 4 to 256 bytes of key are looked up and not found, more is refused; nothing is ever answered with data."""
    for size in (0, 1, 3, 4, 5, 32, 255, 256, 257, 1000):
        c = Raw(b.transaction_port)
        c.send_if_open(wire.cancel_request(1234, b"k" * size))
        refused(c)
    healthy(b)


@pytest.mark.ours
def test_startup_packet_of_10004_bytes(b):
    """class 41: as long as PostgreSQL allows (10000 beside its length), and every byte of it counts."""
    empty = wire.startup({"user": "app", "database": "e2e", "options": ""})
    tail = "-c extra_float_digits=2"
    options = " " * (10004 - len(empty) - len(tail)) + tail
    packet = wire.startup({"user": "app", "database": "e2e", "options": options})
    assert len(packet) == 10004
    c = Raw(b.transaction_port).send(packet).finish_login("app")
    assert c.value("show extra_float_digits") == "2"


def test_startup_packet_beyond_the_limit(b):
    c = Raw(b.transaction_port)
    c.send_if_open(wire.startup({"user": "app", "database": "e2e", "options": " " * 20000}))
    refused(c)
    healthy(b)


@pytest.mark.parametrize("body", [b"", b"\0", b"user\0", b"user\0app", b"user\0app\0", b"user\0app\0database\0",
                                  b"user\0app\0database\0e2e\0", b"\0\0", b"\0app\0\0", b"user\0\0\0",
                                  b"database\0e2e\0\0", b"user\0app\0\0trailing\0", b"\xff\xfe\0\xff\0\0"],
                         ids=lambda body: body.decode("latin-1").replace("\0", "0") or "empty")
def test_malformed_startup(b, body):
    """T24: every string is bounded by its packet; a packet without an end or without a user is refused."""
    c = Raw(b.transaction_port)
    c.send(struct.pack("!II", 8 + len(body), wire.PROTOCOL_3_0) + body)
    said = refused(c)
    assert wire.errors(said), "a clear error is possible here"
    healthy(b)


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                                     b"\0" * 100, b"\xff" * 100, b"X\0\0\0\4", wire.query("select 1"),
                                     wire.password("secret"), b"SSH-2.0-OpenSSH_9.2\r\n"],
                         ids=["http", "tls", "zeros", "ones", "terminate", "query", "password", "ssh"])
def test_garbage_instead_of_a_startup(b, garbage):
    """T2, I16: an error or an end, never an answer, never a crash."""
    c = Raw(b.transaction_port)
    c.send_if_open(garbage)
    c.half_close()
    refused(c)
    healthy(b)


def test_random_garbage(b):
    seed = random_seed()
    rng = random.Random(seed)
    for _ in range(300):
        c = Raw(b.transaction_port)
        data = rng.randbytes(rng.randrange(1, 200))
        if rng.random() < 0.5:
            data = struct.pack("!II", rng.choice([len(data) + 8, rng.randrange(8, 300)]), wire.PROTOCOL_3_0) + data
        c.send_if_open(data)
        c.half_close()
        refused(c)
    healthy(b)


# Versions -------------------------------------------------------------------------------------------------------------

def negotiation(messages):
    (message,) = [m for m in messages if m.tag == "v"]
    newest, count = struct.unpack_from("!II", message.body)
    return newest, [n.decode() for n in message.body[8:].split(b"\0")[:count]]


def test_protocol_3_0(b):
    c = b.connect()
    assert "v" not in wire.tags(c.greeting) and len(c.key) == 4


@pytest.mark.newer
def test_protocol_3_2(b):
    """T34: what libpq of PostgreSQL 18 may ask for; the key has 4 to 256 bytes."""
    c = Raw(b.transaction_port).login("app", "e2e", version=wire.PROTOCOL_3_2)
    assert wire.tags(c.greeting).count("v") <= 1
    assert 4 <= len(c.key) <= 256
    assert c.value("select 1") == "1"


@pytest.mark.ours
@pytest.mark.parametrize("minor", [3, 99, 9999])
def test_newer_minor_versions_are_negotiated(b, minor):
    """class 40: exactly one NegotiateProtocolVersion, then the login goes on (9999 is what libpq 19 greases with)."""
    c = Raw(b.transaction_port).login("app", "e2e", version=0x30000 + minor)
    newest, options = negotiation(c.greeting)
    assert newest in (wire.PROTOCOL_3_0, wire.PROTOCOL_3_2) and options == []
    assert c.value("select 1") == "1"


@pytest.mark.newer
def test_unknown_protocol_options_are_negotiated(b):
    c = Raw(b.transaction_port).login("app", "e2e", **{"_pq_.first": "1", "_pq_.second": "x"})
    newest, options = negotiation(c.greeting)
    assert newest == wire.PROTOCOL_3_0 and sorted(options) == ["_pq_.first", "_pq_.second"]
    assert c.value("select 1") == "1"


@pytest.mark.parametrize("version", [0x20000, 0x10000, 0x40000, 0x00000000, 80877105, 80877101])
def test_other_protocols_are_refused(b, version):
    c = Raw(b.transaction_port).startup(version=version, user="app", database="e2e")
    refused(c, ["0A000", "08P01"])
    healthy(b)


# Parameters -----------------------------------------------------------------------------------------------------------

@pytest.mark.ours
@pytest.mark.parametrize("mode", ["transaction", "session"])
@pytest.mark.parametrize("name, value", [("extra_float_digits", "2"), ("search_path", "pg_catalog"),
                                         ("statement_timeout", "12345ms"), ("work_mem", "7MB"),
                                         ("application_name", "my app"), ("DateStyle", "SQL, DMY"),
                                         ("TimeZone", "Asia/Tokyo"), ("IntervalStyle", "iso_8601"),
                                         ("client_encoding", "LATIN1"), ("default_transaction_read_only", "on"),
                                         ("my.custom", "value")])
def test_startup_parameters_take_effect(b, mode, name, value):
    """Whatever the server accepts is accepted; it holds for each transaction of this client and for no other's (I5)."""
    port = getattr(b, mode + "_port")
    plain = b.connect(port)
    before = plain.query(f"select current_setting('{name}', true)")
    c = b.connect(port, **{name: value})
    for _ in range(3):
        assert c.value(f"show {name}") == value
        assert wire.rows(plain.query(f"select coalesce(nullif(current_setting('{name}', true), ''), 'unset')")) == \
            [[wire.rows(before)[0][0] or "unset"]]


@pytest.mark.ours
@pytest.mark.parametrize("options, expected", [
    ("-c work_mem=9MB", {"work_mem": "9MB"}),
    ("-cwork_mem=9MB -c statement_timeout=7777", {"work_mem": "9MB", "statement_timeout": "7777ms"}),
    ("--work_mem=9MB --search-path=pg_catalog", {"work_mem": "9MB", "search_path": "pg_catalog"}),
    (r"-c application_name=two\ words", {"application_name": "two words"}),
    (r"-c application_name=back\\slash", {"application_name": "back\\slash"}),
    ("   -c    work_mem=9MB   ", {"work_mem": "9MB"}),
    ("-c datestyle=iso,dmy", {"DateStyle": "ISO, DMY"}),
])
def test_options_of_the_startup_packet(b, options, expected):
    c = b.connect(options=options)
    plain = b.connect()
    for _ in range(3):
        plain.query("select 1")
        assert {name: c.value(f"show {name}") for name in expected} == expected


@pytest.mark.ours
def test_options_come_first_and_only_the_last_of_them(b):
    """As in PostgreSQL, whatever the order of the parameters: drivers send some of their own behind `options`, or before."""
    pairs = [("user", "app"), ("database", "e2e"), ("TimeZone", "Asia/Tokyo"),
             ("options", "-c extra_float_digits=2 -c work_mem=9MB"), ("options", "-c TimeZone=UTC -c work_mem=8MB")]
    body = b"".join(wire.cstr(name) + wire.cstr(value) for name, value in pairs)
    packet = struct.pack("!II", 8 + len(body) + 1, wire.PROTOCOL_3_0) + body + b"\0"
    c = Raw(b.transaction_port).send(packet).finish_login("app")
    plain = b.connect()
    assert c.value("show timezone") == "Asia/Tokyo" and c.value("show work_mem") == "8MB"
    assert c.value("show extra_float_digits") == plain.value("show extra_float_digits")


@pytest.mark.ours
@pytest.mark.parametrize("options", ["-c", "-c=", "-c =", "-c a", "--", "--=", "--=x", "-c work_mem", "-", "\\", "-c \\",
                                     "-c work_mem=\\", "-d 5", "-x", "work_mem=1", "-c -c -c", "-c=x -c=y",
                                     "-c a.b=" + "x" * 5000],
                         ids=lambda options: options[:20].replace(" ", "_"))
def test_options_grammar(b, options):
    """T14: odd options end in a login or in an error, never in a loop."""
    try:
        with b.connect(options=options) as c:
            answer = c.send(wire.query("select 1")).until("ZE")
            assert wire.tags(answer) in ("TDCZ", "E"), answer
    except Refused as e:
        assert e.sqlstate
    healthy(b)


@pytest.mark.ours
@pytest.mark.parametrize("name, value, sqlstates", [("no_such_parameter", "1", {"42704"}),
                                                    ("statement_timeout", "nonsense", {"22023"}),
                                                    ("DateStyle", "nonsense", {"22023"}),
                                                    ("client_encoding", "nonsense", {"22023"}),
                                                    ("shared_buffers", "1MB", {"55P02", "08P01", "42501"})])
def test_parameters_that_the_server_refuses(b, name, value, sqlstates):
    """The error is PostgreSQL's, at login or at the first query; it names the parameter and is this client's alone."""
    try:
        with b.connect(**{name: value}) as c:
            error = wire.only_error(c.send(wire.query("select 1")).until("ZE"))
    except Refused as e:
        error = e.error
    assert error.sqlstate in sqlstates and name.lower() in error.text.lower(), error.fields
    healthy(b)


def test_ignored_startup_parameters(broker):
    """ignore_startup_parameters takes precedence, also over tracking."""
    b = broker(ignore_startup_parameters="no_such_parameter, extra_float_digits")
    c = b.connect(no_such_parameter="1", extra_float_digits="3")
    assert c.value("show extra_float_digits") == "1"


def test_no_database_means_the_users_own(broker, postgres):
    b = broker(databases={"app": f"host={postgres.sockets} port={postgres.port} dbname=e2e"})
    c = Raw(b.transaction_port).startup(user="app").finish_login("app")
    assert c.value("select current_database()") == "e2e"


@pytest.mark.newer
def test_replication_connection_in_session_mode(b):
    c = b.session(user="postgres", replication="database")
    answer = c.query("IDENTIFY_SYSTEM")
    assert wire.rows(answer)[0][3] == "e2e"
    c.terminate()
    with b.session(user="postgres") as plain:
        assert plain.value("select 1") == "1"


# Clients that do not go on --------------------------------------------------------------------------------------------

def no_login_is_left(b):
    eventually(lambda: {r["list"]: r["items"] for r in b.console("SHOW LISTS")}["login_clients"] == "0",
               "no half login is left")


@pytest.mark.parametrize("how", ["close", "abort"])
def test_disconnect_at_every_byte_of_the_startup(b, how):
    packet = wire.startup({"user": "app", "database": "e2e", "application_name": "gone"})
    for request in (b"", wire.ssl_request()):
        for size in range(len(packet)):
            c = Raw(b.transaction_port).send(request)
            assert not request or c.read_byte() == b"N"
            getattr(c.send(packet[:size]), how)()
    for size in range(len(wire.ssl_request())):
        getattr(Raw(b.transaction_port).send(wire.ssl_request()[:size]), how)()
    no_login_is_left(b)
    healthy(b)


def test_disconnect_at_every_byte_of_a_scram_login(broker):
    """class 41, 45: the login's messages cut at each of their bytes."""
    b = broker(auth_type="scram-sha-256", userlist={"app": "pw", "admin": "pw"})
    packet = wire.startup({"user": "app", "database": "e2e"})
    size, total = 0, None
    while total is None or size < total:
        c = Raw(b.transaction_port).send(packet)
        c.recv()
        client = scram.Client("pw")
        first = wire.sasl_initial("SCRAM-SHA-256", client.first())
        if size <= len(first):
            c.send(first[:size])
        else:
            final = wire.sasl_response(client.final(c.send(first).recv().body[4:]))
            total = len(first) + len(final)
            c.send_if_open(final[:size - len(first)])
        c.close()
        size += 3
    with b.connect(password="pw") as c:
        assert c.value("select 1") == "1"


@pytest.mark.limit(120)
def test_500_silent_connections(broker):
    """Others are served while 500 connections say nothing, and 100 stop in the middle of their startup."""
    b = broker()
    silent = [Raw(b.transaction_port) for _ in range(500)]
    for c in silent[:100]:
        c.send(wire.startup({"user": "app", "database": "e2e"})[:20])
    healthy(b)
    for c in silent:
        c.close()
    no_login_is_left(b)
    healthy(b)


def test_client_login_timeout(broker):
    b = broker(client_login_timeout=1)
    silent = [Raw(b.transaction_port) for _ in range(20)]
    for c in silent[10:]:
        c.send(wire.startup({"user": "app", "database": "e2e"})[:20])
    for c in silent:
        said = c.until_closed()
        assert all(e.text == "client_login_timeout" for e in wire.errors(said)), said
    assert "client_login_timeout" in b.log
    healthy(b)


@pytest.mark.newer
def test_login_notify_message(broker):
    """A notice of the operator's at the end of the login, in both modes; none by default."""
    b = broker(login_notify_message="This is a pooler, not PostgreSQL")
    for c in (b.connect(), b.session()):
        assert [m.fields["M"] for m in c.greeting if m.tag == "N"] == ["This is a pooler, not PostgreSQL"]
        assert wire.tags(c.greeting).endswith("Z") and c.value("select 1") == "1"
    assert not [m for m in broker().connect().greeting if m.tag == "N"]
