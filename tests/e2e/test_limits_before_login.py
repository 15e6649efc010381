"""What a port in public must survive: silence, floods and guesses of those who have not logged in. Class 20, 64; T1, T2,
T7, T15, T28, T34."""

import resource
import struct
import threading

import pytest

from harness import scram, wire
from harness.raw import Closed, Raw, Refused, cancel
from harness.system import eventually, in_threads

pytestmark = pytest.mark.ours

PASSWORD = "correct horse"
HERE, ELSEWHERE = "127.0.0.1", "127.0.0.2"


@pytest.fixture
def guarded(broker):
    """A broker that asks for passwords, by clear text unless a test says otherwise."""
    def make(secret=PASSWORD, **settings):
        users = {"app": secret, "app2": PASSWORD, "admin": "admin secret", "stats": "stats secret"}
        return broker(userlist=users, **{"auth_type": "plain", **settings})
    return make


def come(b, source=HERE):
    return Raw(b.transaction_port, source=source)


def login(b, user="app", password=PASSWORD, source=HERE, database="e2e"):
    with come(b, source) as c:
        assert c.login(user, database, password).value("select current_user") == user


def refusal(b, user="app", password=PASSWORD, source=HERE, database="e2e"):
    with come(b, source) as c, pytest.raises(Refused) as failure:
        c.login(user, database, password)
    return failure.value.error


def asked(b, user="app", source=HERE, database="e2e"):
    """Has sent its startup packet and is asked for a password."""
    c = come(b, source).startup(user=user, database=database)
    assert c.recv().tag == "R"
    return c


def guess(b, user="app", source=HERE):
    """A wrong password whose answer nobody waits for."""
    return asked(b, user, source).send(wire.password("wrong"))


def said_so_far(c):
    said = []
    try:
        while True:
            said.append(c.recv(0.001))
    except (TimeoutError, Closed):
        return said


def ends(b):
    return {row["reason"]: int(row["count"]) for row in b.console("SHOW DISCONNECTS") if row["kind"] == "client"}


def limits(b):
    return {row["name"]: int(row["current"]) for row in b.console("SHOW LIMITS")}


def throttle(b, kind="user_at_address", user="app"):
    for row in b.console("SHOW THROTTLE"):
        if (row["kind"], row["user"]) == (kind, user):
            return row
    return None


def ended_with(c, text, sqlstate):
    error = wire.only_error(c.until_closed())
    assert (error.severity, error.sqlstate) == ("FATAL", sqlstate) and text in error.text, error.fields


def nobody_left(b):
    eventually(lambda: limits(b)["max_unauthenticated_connections"] == 0, "the counts return to zero")


# Connections that say nothing -----------------------------------------------------------------------------------------

def test_500_idle_connections_and_valid_users(guarded):
    """Slow loris: whoever only holds a place loses it to those who come, in all states before the login."""
    b = guarded(workers=2, max_unauthenticated_connections=40, max_unauthenticated_per_address=0,
                client_login_timeout=600, client_startup_timeout=0)
    idle = []
    for n in range(500):
        c = come(b)
        if n % 5 == 1:
            c.send_if_open(b"\0")
        elif n % 5 == 2:
            c.send_if_open(wire.startup({"user": "app", "database": "e2e"})[:-1])
        elif n % 5 == 3:
            c.send_if_open(wire.startup({"user": "app", "database": "e2e"}))
        elif n % 5 == 4:
            c.send_if_open(wire.ssl_request())
        idle.append(c)
        if n % 25 == 0:
            login(b)
            login(b, "app2", source=ELSEWHERE)
    assert limits(b)["max_unauthenticated_connections"] <= 40
    assert ends(b)["made_room_before_login"] >= 400
    ended_with(idle[0], "another needed the place (max_unauthenticated_connections)", "53300")
    assert "another needed the place (max_unauthenticated_connections)" in b.log
    for c in idle:
        c.close()
    nobody_left(b)
    login(b)


@pytest.mark.parametrize("limit", ["max_unauthenticated_connections", "max_unauthenticated_per_address"])
def test_places_that_another_worker_gave_away(guarded, limit):
    """All places are held at one worker, and those who come are the other's, which has nobody to make room."""
    b = guarded(workers=2, client_login_timeout=600, client_startup_timeout=0, **{limit: 10})
    clients = {0: [], 1: []}
    for _ in range(60):
        c = come(b).login("app", "e2e", PASSWORD)
        clients[(c.pid - 1) >> 24].append(c)
    assert min(len(those) for those in clients.values()) > 20

    def leave(worker):
        before = int(limits(b)["max_client_conn"])
        for c in clients[worker]:
            c.close()
        eventually(lambda: limits(b)["max_client_conn"] == before - len(clients[worker]), "they are gone")

    leave(0)
    idle = [come(b) for _ in range(10)]
    eventually(lambda: limits(b)["max_unauthenticated_connections"] == 10, "the places are taken")
    leave(1)
    for _ in range(5):
        login(b)
    assert ends(b)["made_room_before_login"] >= 1
    for c in idle:
        c.close()
    nobody_left(b)


def test_one_address_does_not_take_all_places(guarded):
    b = guarded(max_unauthenticated_connections=1000, max_unauthenticated_per_address=10, client_startup_timeout=0)
    idle = [come(b) for _ in range(60)]
    other = [come(b, ELSEWHERE) for _ in range(5)]
    login(b)
    login(b, source=ELSEWHERE)
    assert limits(b)["max_unauthenticated_per_address"] <= 10
    ended_with(idle[0], "another needed the place (max_unauthenticated_per_address)", "53300")
    with Raw(b.transaction_port, host=str(b.root)) as c:  # the Unix socket is nobody's address
        assert c.login("app", "e2e", PASSWORD).value("select 1") == "1"
    for c in other:  # none of them had to go
        assert c.startup(user="app", database="e2e").recv().tag == "R"
    for c in idle + other:
        c.close()
    nobody_left(b)


def test_client_startup_timeout(guarded):
    """T28: every beginning that does not become a startup packet; who has sent one may take longer over its password."""
    b = guarded(client_startup_timeout=1)
    slow = asked(b)
    began = [come(b), come(b).send(b"\0\0"), come(b).send(wire.startup({"user": "app", "database": "e2e"})[:-1])]
    declined = come(b).send(wire.ssl_request())
    declined.read_byte()
    for c in (*began, declined):
        ended_with(c, "client_startup_timeout", "57014")
    assert slow.send(wire.password(PASSWORD)).finish_login("app").value("select 1") == "1"
    assert ends(b)["client_startup_timeout"] == 4


def test_tcp_defer_accept(guarded):
    """With it the kernel holds who says nothing; a reload or SET turns it on and off."""
    b = guarded(tcp_defer_accept=1)
    silent = come(b)
    login(b)  # a later connection has been accepted, so that one would have been
    assert limits(b)["max_unauthenticated_connections"] == 0
    assert silent.startup(user="app", database="e2e").recv().tag == "R"
    silent.close()
    nobody_left(b)
    console = b.new_console()
    console("SET tcp_defer_accept = 0")
    console.close()
    with come(b):
        eventually(lambda: limits(b)["max_unauthenticated_connections"] == 1)


def test_one_byte_at_a_time(guarded):
    """Bytes alone do not keep a connection."""
    b = guarded(client_startup_timeout=1)
    c, packet = come(b), wire.startup({"user": "app", "database": "e2e", "options": " " * 2000})
    pause = threading.Event()
    for byte in packet:
        c.send_if_open(bytes([byte]))
        pause.wait(0.1)
        if not c.quiet(0.01):
            break
    ended_with(c, "client_startup_timeout", "57014")


def test_max_client_conn_is_not_for_those_who_prove_nothing(guarded):
    b = guarded(max_client_conn=3)
    waiting = [asked(b) for _ in range(20)]
    clients = [b.connect(password=PASSWORD) for _ in range(3)]
    assert "max_client_conn" in refusal(b).text
    waiting[0].send(wire.password(PASSWORD))  # it came while there was room
    ended_with(waiting[0], "max_client_conn", "53300")
    assert limits(b)["max_client_conn"] == 3 and clients[0].value("select 1") == "1"


@pytest.mark.short
def test_max_client_conn_per_address(guarded):
    b = guarded(max_client_conn_per_address=2)
    clients = [come(b).login("app", "e2e", PASSWORD) for _ in range(2)]
    error = refusal(b)
    assert error.sqlstate == "53300" and "max_client_conn_per_address" in error.text
    login(b, source=ELSEWHERE)
    with Raw(b.transaction_port, host=str(b.root)) as c:
        c.login("app", "e2e", PASSWORD)
    assert limits(b)["max_client_conn_per_address"] == 2
    clients[0].terminate()
    eventually(lambda: limits(b)["max_client_conn_per_address"] == 1)
    login(b)
    assert ends(b)["max_client_conn_per_address"] == 1


def test_a_crowd_from_one_address_passes_with_the_defaults(guarded):
    """An application server starts: 1,050 connections at once, by SCRAM; nobody is refused, nobody is slowed down."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4000)), hard))
    b = guarded(scram.secret(PASSWORD, 32), auth_type="scram-sha-256", max_client_conn=2000)
    crowd = [come(b) for _ in range(1050)]
    for c in crowd:
        c.startup(user="app", database="e2e")
    for c in crowd:
        c.finish_login("app", PASSWORD)
    assert limits(b)["max_client_conn"] == 1050
    refused = {reason: count for reason, count in ends(b).items() if count and reason != "client_close_request"}
    assert not set(refused) & {"made_room_before_login", "max_unauthenticated_connections",
                               "max_unauthenticated_per_address", "too_many_failed_logins"}, refused
    for c in crowd:
        c.close()
    nobody_left(b)


def test_cancel_requests_take_places_and_give_them_back(guarded):
    """Class 20: a storm of cancels, right, wrong and half ones, is bounded like all that has not logged in."""
    b = guarded(max_unauthenticated_connections=20, max_unauthenticated_per_address=0, client_startup_timeout=0)
    c = b.connect(password=PASSWORD)
    halves = [come(b).send(wire.cancel_request(c.pid, c.key)[:10]) for _ in range(40)]
    in_threads(8, lambda n: [cancel(b.transaction_port, c.pid, c.key if n % 2 else b"none") for _ in range(10)])
    c.send(wire.query("select pg_sleep(600)"))
    eventually(lambda: b.pool()["sv_active"] == 1)
    cancel(b.transaction_port, c.pid, c.key)
    assert wire.sqlstates(c.until("Z")) == ["57014"]
    assert limits(b)["max_unauthenticated_connections"] <= 20
    for half in halves:
        half.close()
    nobody_left(b)


def test_a_flood_does_not_fill_the_log(guarded):
    b = guarded(workers=1)
    for _ in range(300):
        come(b).send_if_open(b"\0\0\0\0").close()
    eventually(lambda: ends(b)["invalid_startup_packet"] == 300)
    assert 1 <= b.log.count("invalid length of startup packet") < 200
    eventually(lambda: "more connections were refused before they had logged in" in b.log)


# Guesses --------------------------------------------------------------------------------------------------------------

def test_failed_logins_wait_and_valid_ones_do_not(guarded):
    """The answers wait longer and longer; the same user from the same address is let in at once, and all is forgotten."""
    b = guarded(failed_login_threshold=1, failed_login_delay_max=3000)
    assert refusal(b, password="wrong").sqlstate == "28P01"
    guesses = [guess(b) for _ in range(20)]
    row = eventually(lambda: (throttle(b) or {}).get("failures") in ("20", "21") and throttle(b))
    assert (row["address"], row["refused"]) == (HERE, "f") and int(row["delay_ms"]) > 100000, row
    assert guesses[-1].quiet()
    login(b, "app2")
    login(b, source=ELSEWHERE)
    login(b)
    assert throttle(b) is None, "a success forgets the failures"
    assert b.console("RESET_THROTTLE") == []
    assert b.console("SHOW THROTTLE") == []
    assert refusal(b, password="wrong").sqlstate == "28P01"
    assert limits(b)["max_unauthenticated_connections"] >= 10, "each one that waits holds its place"
    for c in guesses:
        c.close()
    nobody_left(b)


def test_delayed_answers_come(guarded):
    """What was held is said: the same words as at once."""
    b = guarded(failed_login_threshold=1, failed_login_delay_max=1)
    errors = in_threads(12, lambda _: refusal(b, password="wrong"))
    assert {(e.sqlstate, e.text) for e in errors} == {("28P01", 'password authentication failed for user "app"')}
    assert ends(b)["authentication_failed"] == 12
    nobody_left(b)


@pytest.mark.limit(120)
def test_a_storm_of_wrong_passwords(guarded):
    """Beyond some hundred no proof of this user from this address is looked at, and nobody else suffers."""
    b = guarded(failed_login_threshold=1, failed_login_delay_max=600, client_login_timeout=600)
    held, ahead = [], wire.startup({"user": "app", "database": "e2e"}) + wire.password("wrong")
    while not ends(b)["too_many_failed_logins"]:
        held += [come(b).send(ahead) for _ in range(250)]
        login(b, "app2")
        login(b, source=ELSEWHERE)
    errors = wire.errors(message for c in held for message in said_so_far(c))
    refused = [error for error in errors if error.sqlstate == "28000"]
    assert refused and all("too many failed logins" in error.text for error in refused)
    login(b, "app2")
    login(b, source=ELSEWHERE)
    b.console("RESET_THROTTLE")
    login(b)


def test_unknown_users_are_throttled_alike(guarded):
    """T3: the throttle does not tell who exists."""
    b = guarded(failed_login_threshold=1, failed_login_delay_max=3000)
    for user in ("app", "nobody"):
        guesses = [guess(b, user) for _ in range(6)]
        eventually(lambda: (throttle(b, user=user) or {}).get("failures") in ("5", "6"))
        assert guesses[-1].quiet()
    assert throttle(b, user="nobody")["delay_ms"] == throttle(b)["delay_ms"]


@pytest.mark.short
def test_reload_turns_the_throttle_off(guarded):
    b = guarded(failed_login_threshold=1, failed_login_delay_max=3000)
    held = [guess(b) for _ in range(5)]
    b.settings["failed_login_threshold"] = 0
    b.reload()
    assert refusal(b, password="wrong").sqlstate == "28P01"
    for c in held:
        c.close()


# What may be said before the login ------------------------------------------------------------------------------------

def connected(b):
    return come(b)


def declined(b):
    c = come(b).send(wire.ssl_request())
    assert c.read_byte() == b"N"
    return c


def in_the_middle_of_scram(b):
    c = asked(b)
    c.send(wire.sasl_initial("SCRAM-SHA-256", b"n,,n=,r=abcdefghijklmnop"))
    assert c.recv().tag == "R"
    return c


STATES = {"connected": (connected, "plain"), "declined": (declined, "plain"), "plain": (asked, "plain"),
          "md5": (asked, "md5"), "scram": (asked, "scram-sha-256"), "scram_final": (in_the_middle_of_scram, "scram-sha-256")}


@pytest.mark.parametrize("state", STATES)
def test_every_message_in_every_state(guarded, state):
    """T2, T15: whatever is said in place of what is due ends the connection, and nobody gets in or gets another name."""
    enter, auth_type = STATES[state]
    b = guarded(auth_type=auth_type)
    messages = [wire.frame(chr(tag), b"app\0") for tag in range(1, 256) if chr(tag) != "p"]
    if enter in (connected, declined):
        messages.append(wire.password(PASSWORD))
    else:
        messages += [wire.startup({"user": "app2", "database": "e2e"}), wire.startup({"user": "app", "database": "e2e"}),
                     wire.ssl_request(), wire.gssenc_request(), wire.cancel_request(1, b"abcd")]
    for message in messages:
        c = enter(b)
        c.send_if_open(message + wire.password(PASSWORD) + wire.query("select 1")).half_close()
        said = c.until_closed()
        assert set(wire.tags(said)) <= {"E"}, (message[:20], said)
        assert all(error.sqlstate == "08P01" and error.severity == "FATAL" for error in wire.errors(said))
    nobody_left(b)
    login(b)


@pytest.mark.parametrize("state", ["plain", "md5", "scram", "scram_final"])
def test_lengths_of_the_answer(guarded, state):
    """T7: a length that cannot be, or that nobody needs, is refused before its bytes are waited for."""
    enter, auth_type = STATES[state]
    b = guarded(auth_type=auth_type)
    most = {"plain": 65536, "md5": 256}.get(state, 4096)
    for length in (0, 1, 3, most + 5, 65541, 2**31 - 1, 2**31, 2**32 - 1):
        c = enter(b)
        c.send_if_open(b"p" + struct.pack("!I", length))
        assert wire.sqlstates(c.until_closed()) == ["08P01"], length
    for length in (4, 5, 20):  # too little to be an answer
        c = enter(b)
        c.send_if_open(b"p" + struct.pack("!I", length) + b"\0" * (length - 4)).half_close()
        assert set(wire.sqlstates(c.until_closed())) <= {"08P01", "28P01"}
    login(b)


def test_the_longest_password(guarded):
    """Class 41: a token of 60,000 bytes arrives in pieces and is right."""
    token = "t" * 60000
    b = guarded()
    b.userlist["app2"] = token
    b.reload()
    login(b, "app2", token)


@pytest.mark.parametrize("size", [63, 64, 1000, 4900])
def test_long_names(guarded, size):
    """T1: an error that says so, and the broker lives."""
    b = guarded()
    name = "n" * size
    for error in (refusal(b, user=name), refusal(b, database=name)):
        assert error.severity == "FATAL" and error.sqlstate in ("28P01", "28000", "3D000"), error.fields
    assert b.alive
    login(b)


def test_cancel_keys_of_other_sizes(guarded):
    """T34: only the whole key of a client cancels; longer and shorter ones are nobody's."""
    b = guarded()
    for version, size in ((wire.PROTOCOL_3_0, 4), (wire.PROTOCOL_3_2, 32)):
        c = come(b).login("app", "e2e", PASSWORD, version=version)
        assert len(c.key) == size
        c.send(wire.query("select pg_sleep(600)"))
        eventually(lambda: b.pool()["sv_active"] == 1)
        for key in (c.key + b"\0", c.key + c.key, c.key * (256 // size), c.key[:-1] + bytes([c.key[-1] ^ 1]),
                    b"\0" * size, c.key[:4] if size > 4 else c.key + bytes(28)):
            cancel(b.transaction_port, c.pid, key)
        assert c.quiet()
        cancel(b.transaction_port, c.pid, c.key)
        assert wire.sqlstates(c.until("Z")) == ["57014"]
        c.terminate()
