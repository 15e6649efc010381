"""Fake servers whose logins are odd, wrong, hostile or endless: no client is told nonsense, nobody else notices."""

import base64
import struct

import pytest

from harness import fake_server as odd
from harness import wire
from harness.attempts import healthy, login_or_refusal
from harness.raw import Closed, Raw
from harness.system import Task, eventually

HUGE = 1 << 16


def no_sqlstate(session):
    session.send(odd.error({"S": "FATAL", "M": "no state at all"}))


def no_fields(session):
    session.send(odd.error({}))


def unterminated_error(session):
    session.send(wire.frame("E", b"SFATAL\0C12345\0Mhalf a fie"))


def unterminated_error_at_once(session):
    session.send(wire.frame("E", b"S"))


def empty_error(session):
    session.send(wire.frame("E", b""))


def huge_error(session):
    session.send(odd.fatal("XX000", "x" * (4 << 20)))


def huge_nonce(session):
    session.scram(nonce_tail="n" * HUGE)
    session.wait_closed()


def huge_salt(session):
    session.scram(salt=b"s" * HUGE)
    session.wait_closed()


def huge_iterations(session):
    session.scram(iterations="2147483647")
    session.wait_closed()


def zero_iterations(session):
    session.scram(iterations="0")
    session.wait_closed()


def negative_iterations(session):
    session.scram(iterations="-1")
    session.wait_closed()


def other_nonce(session):
    session.send(odd.authentication(10, b"SCRAM-SHA-256\0\0"))
    session.message()
    session.send(odd.authentication(11, b"r=completely-different,s=" + base64.b64encode(b"salt") + b",i=4096"))
    session.wait_closed()


def wrong_server_signature(session):
    session.scram()
    session.message()
    session.send(odd.authentication(12, b"v=" + base64.b64encode(b"w" * 32)))
    session.greet()


def final_without_first(session):
    session.send(odd.authentication(12, b"v=" + base64.b64encode(b"w" * 32)))
    session.greet()


def no_final(session):
    """A server that does not prove that it knows the secret."""
    session.scram()
    session.message()
    session.greet()


def sasl_without_mechanisms(session):
    session.send(odd.authentication(10, b"\0"))
    session.wait_closed()


def sasl_unterminated(session):
    session.send(odd.authentication(10, b"SCRAM-SHA-256"))
    session.wait_closed()


def unknown_method(session):
    session.send(odd.authentication(77))
    session.wait_closed()


def gss_method(session):
    session.send(odd.authentication(7))
    session.wait_closed()


def short_authentication(session):
    session.send(wire.frame("R", b"\0\0"))
    session.wait_closed()


def short_md5_salt(session):
    session.send(odd.authentication(5, b"ab"))
    session.wait_closed()


def length_zero(session):
    session.send(b"R\0\0\0\0")
    session.wait_closed()


def length_three(session):
    session.send(b"R\0\0\0\3")
    session.wait_closed()


def length_negative(session):
    session.send(b"R\xff\xff\xff\xff" + b"x" * 1000)
    session.wait_closed()


def length_huge(session):
    session.send(b"S\x7f\xff\xff\xff" + b"x" * 1000)
    session.wait_closed()


def garbage(session):
    session.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    session.wait_closed()


def data_before_the_login(session):
    session.send(odd.row_description("x") + odd.data_row("evil") + odd.complete("SELECT 1") + odd.ready())
    session.wait_closed()


def ready_before_authentication(session):
    session.send(odd.ready())
    session.wait_closed()


def closes_at_once(session):
    session.sock.close()


def closes_in_the_middle(session):
    session.send(odd.authentication(0) + odd.parameter("server_version", "15")[:7])
    session.sock.close()


def short_key(session):
    session.send(odd.authentication(0) + wire.frame("K", b"\0\0\0\1") + odd.ready())
    session.wait_closed()


def too_long_key(session):
    """T34: 256 bytes are the most that protocol 3.2 has. Everything else is right, and queries would be answered."""
    session.greet(key=b"k" * 257)


def unterminated_parameter(session):
    session.send(odd.authentication(0) + wire.frame("S", b"name-only") + odd.ready())
    session.wait_closed()


def ready_in_transaction(session):
    session.send(odd.authentication(0) + wire.frame("K", b"\0\0\0\1abcd") + odd.ready("T"))
    session.wait_closed()


def endless_parameters(session):
    session.send(odd.authentication(0))
    while True:
        session.send(odd.parameter("x" * 1000, "y" * 1000) * 100)


BAD_LOGINS = {
    "errors": [no_sqlstate, no_fields, unterminated_error, unterminated_error_at_once, empty_error, huge_error],
    "scram": [huge_nonce, huge_salt, huge_iterations, zero_iterations, negative_iterations, other_nonce,
              wrong_server_signature, final_without_first, no_final, sasl_without_mechanisms, sasl_unterminated],
    "frames": [short_authentication, short_md5_salt, length_zero, length_three, length_negative, length_huge, garbage,
               short_key, too_long_key, unterminated_parameter, closes_at_once, closes_in_the_middle],
    "order": [unknown_method, gss_method, data_before_the_login, ready_before_authentication, ready_in_transaction,
              endless_parameters],
}


def told_with_a_sqlstate(b, database):
    """What a client hears that wants to work with such a server: an error and never data."""
    c = Raw(b.transaction_port).startup(user="app", database=database).send(wire.query("select 'x'"))
    said = []
    try:
        while not said or said[-1].tag != "E":
            said.append(c.recv())
    except Closed:
        pass
    assert "D" not in wire.tags(said), said
    assert said and said[-1].tag == "E" and len(said[-1].sqlstate) == 5, f"not told: {said}"
    assert len(said[-1].body) < 100000


@pytest.mark.ours
@pytest.mark.parametrize("group", BAD_LOGINS)
def test_bad_logins_of_servers(broker, fake, postgres, group):
    """T7, T8, T9, T12, T23, T24, T34: all of a group at once behind one broker; a good database is served meanwhile."""
    servers = {login.__name__: fake(login=login) for login in BAD_LOGINS[group]}
    databases = {name: server.entry("user=app password=secret") for name, server in servers.items()}
    b = broker(databases={**databases, "e2e2": f"host={postgres.sockets} port={postgres.port}"},
               query_wait_timeout=2, server_connect_timeout=1, server_login_retry=1)
    tasks = {name: Task(told_with_a_sqlstate, b, name) for name in servers}
    healthy(b)
    failures = {}
    for name, task in tasks.items():
        try:
            task.result()
        except AssertionError as failure:
            failures[name] = str(failure)
    healthy(b)
    assert not failures, failures


def without_key(session):
    session.greet(key=None)


def with_long_key(session):
    session.greet(key=b"k" * 256)


def with_notices(session):
    notice = odd.error({"S": "NOTICE", "V": "NOTICE", "C": "00000", "M": "in the middle of the login"}, "N")
    session.send(notice + odd.authentication(0) + notice)
    session.send(odd.parameter("server_version", "15.9") + notice + wire.frame("K", b"\0\0\0\1abcd") + notice + odd.ready())


def with_notice_without_fields(session):
    session.send(odd.error({}, "N") + odd.error({"M": "only text"}, "N"))
    session.greet()


def with_negotiation(session):
    session.send(wire.frame("v", struct.pack("!II", 0x30000, 0)))
    session.greet()


def byte_by_byte(session):
    for byte in odd.authentication(0) + odd.parameter("server_version", "15.9") + wire.frame("K", b"\0\0\0\1abcd") + odd.ready():
        session.send(bytes([byte]))


def with_cleartext(session):
    session.send(odd.authentication(3))
    session.message()
    session.greet()


def with_unknown_parameters(session):
    session.greet(parameters={"x" * 300: "y" * 3000, "in_hot_standby": "on", "": "empty name"})


ODD_LOGINS = [without_key, pytest.param(with_long_key, marks=pytest.mark.ours), with_notices, with_notice_without_fields,
              byte_by_byte, with_cleartext, with_unknown_parameters]


@pytest.mark.parametrize("login", ODD_LOGINS, ids=lambda f: f.__name__)
def test_odd_login_that_must_work(broker, fake, login):
    """class 40, 41, T9, T34: no BackendKeyData (RDS Proxy), notices during the login."""
    server = fake(login=login)
    b = broker(databases={"e2e": server.entry("user=app password=secret")}, query_wait_timeout=5)
    with b.connect() as c:
        for n in range(3):
            assert c.value(f"select {n}") == f"select {n}"
    assert not server.failures


@pytest.mark.short
@pytest.mark.ours
def test_negotiation_that_nobody_asked_for(broker, fake, postgres):
    """class 40: a server that negotiates 3.0 down to 3.0; a login or a clear refusal, and nobody else notices."""
    b = broker(databases={"e2e": fake(login=with_negotiation).entry(),
                          "e2e2": f"host={postgres.sockets} port={postgres.port}"}, query_wait_timeout=1)
    error = login_or_refusal(b)
    assert error is None or len(error.sqlstate) == 5
    healthy(b)


def test_server_that_never_answers(broker, fake, postgres):
    """class 50: server_connect_timeout covers the whole login."""
    server = fake(login=lambda session: session.wait_closed())
    b = broker(databases={"e2e": server.entry(), "e2e2": f"host={postgres.sockets} port={postgres.port}"},
               server_connect_timeout=1, query_wait_timeout=3)
    c = Raw(b.transaction_port).startup(user="app", database="e2e")
    healthy(b)
    eventually(lambda: len(server.sessions) >= 2, "it gives up and tries again")
    assert wire.errors(c.send_if_open(wire.query("select 1")).until("EZ")), "the client is told"
    healthy(b)


@pytest.mark.short
def test_server_that_is_full_and_then_is_not(broker, fake):
    """53300 at the login: the client is served as soon as there is room."""
    count = []

    def login(session):
        count.append(1)
        if len(count) <= 1:
            session.send(odd.fatal("53300", "sorry, too many clients already"))
            session.sock.close()
            raise odd.Gone()
        session.greet()

    server = fake(login=login)
    b = broker(databases={"e2e": server.entry()}, server_login_retry=1)
    assert eventually(lambda: login_or_refusal(b) is None, timeout=60)
