"""Who may log in, what a refused login looks like, and how the broker logs in to the server."""

import base64
import random
import shutil
import signal
import threading

import psycopg
import pytest

from harness import raw, scram, wire
from harness.broker import IS_PGBOUNCER
from harness.certificates import self_signed
from harness.postgres import LONG_NAME
from harness.raw import Closed, Raw, Refused
from harness.system import Task, eventually, make_directory, random_seed

PASSWORD = "correct horse"
TYPES = ["plain", "md5", "scram-sha-256"]
SECRETS = {"plain": PASSWORD, "md5": scram.md5("app", PASSWORD), "scram": scram.secret(PASSWORD)}

# An md5 hash cannot serve a SCRAM exchange; every other pair works (an md5 auth_type falls back to SCRAM by the secret).
IMPOSSIBLE = {("scram-sha-256", "md5")}


def userlist(secret):
    return {"app": secret, "admin": "admin secret", "app2": PASSWORD, "stats": "stats secret"}


def login(b, user="app", password=PASSWORD, database="e2e", port=None):
    with b.connect(port or b.transaction_port, user, database, password) as c:
        return c.value("select current_user")


def refusal(b, user="app", password=PASSWORD, database="e2e", port=None):
    return raw.refusal(port or b.transaction_port, user, password, database)


def wrong_password(*args, **kwargs):
    """28P01, where PgBouncer says 08P01."""
    assert refusal(*args, **kwargs).sqlstate == ("08P01" if IS_PGBOUNCER else "28P01")


def transcript(b, user, password, database="e2e"):
    """What a client sees of a failed login, without what is random by design."""
    c = Raw(b.transaction_port).startup(user=user, database=database)
    try:
        c.finish_login(user, password)
    except Refused:
        pass
    except Closed:
        pass
    out = []
    for message in c.greeting:
        if message.tag == "R":
            method = message.body[:4]
            text = message.body[4:]
            if method == b"\0\0\0\x0b":
                text = b",".join(part[:2] + b"*" * len(part) if part[:1] in b"rs" else part for part in text.split(b","))
            elif method == b"\0\0\0\x05":
                text = b"salt"
            out.append(("R", method, text))
        else:
            fields = {k: v for k, v in message.fields.items() if k not in "FLR"}
            out.append((message.tag, {k: v.replace(user, "USER") for k, v in fields.items()}))
    return out


# Methods and secrets --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("auth_type", TYPES)
def test_methods_and_secrets(broker, auth_type, kind):
    """T3: the right password logs in, the wrong one and the unknown user do not, and read the same."""
    b = broker(auth_type=auth_type, userlist=userlist(SECRETS[kind]))
    if (auth_type, kind) in IMPOSSIBLE:
        wrong_password(b)
        return
    assert login(b) == "app"
    assert login(b, port=b.session_port) == "app"
    for wrong in ("wrong", "", PASSWORD + " ", PASSWORD[:-1], SECRETS["md5"]):
        wrong_password(b, password=wrong)
    wrong_password(b, user="nobody_here")
    wrong_password(b, user="app2", password="wrong")
    assert login(b) == "app"


@pytest.mark.newer
@pytest.mark.parametrize("auth_type, kind", [("plain", "plain"), ("plain", "scram"), ("md5", "plain"), ("md5", "md5"),
                                             ("scram-sha-256", "plain"), ("scram-sha-256", "scram")])
def test_unknown_user_reads_as_a_wrong_password(broker, auth_type, kind):
    """T3: message for message, but for the name."""
    b = broker(auth_type=auth_type, userlist=userlist(SECRETS[kind]))
    for wrong in ("wrong", ""):
        assert transcript(b, "nobody_here", wrong) == transcript(b, "app", wrong)
    assert transcript(b, "nobody_here", "x", "no_such_db") == transcript(b, "app", "x", "e2e")


def salt_of(b, user):
    with Raw(b.transaction_port).startup(user=user, database="e2e") as c:
        c.recv()
        first = c.send(wire.sasl_initial("SCRAM-SHA-256", scram.Client("x").first())).recv().body[4:].decode()
        return dict(part.split("=", 1) for part in first.split(","))["s"]


@pytest.mark.ours
def test_salt_of_an_unknown_user_is_stable(broker):
    """T3: a salt that changes from login to login would tell that the user does not exist."""
    b = broker(auth_type="scram-sha-256", userlist=userlist(SECRETS["scram"]))
    assert salt_of(b, "nobody_here") == salt_of(b, "nobody_here")
    assert salt_of(b, "app") == salt_of(b, "app")
    assert salt_of(b, "nobody_here") != salt_of(b, "somebody_else")


@pytest.mark.ours
def test_salt_of_an_unknown_user_outlives_a_restart(broker):
    """T3: as the salt of a stored secret does. It comes from the private key; without one a restart makes another."""
    directory = make_directory()
    one, other = self_signed(directory, "one"), self_signed(directory, "other")
    settings = {"auth_type": "scram-sha-256", "userlist": userlist(SECRETS["scram"])}

    def salts(certificate=None):
        tls = {"client_tls_sslmode": "prefer", "client_tls_cert_file": certificate.cert,
               "client_tls_key_file": certificate.key} if certificate else {}
        b = broker(**settings, **tls)
        return [salt_of(b, user) for user in ("nobody_here", "somebody_else", "app")]

    first, again, of_other, bare = salts(one), salts(one), salts(other), salts()
    assert first == again and len({*first, *of_other, *bare}) == 7 and first[2] == of_other[2] == bare[2]
    shutil.rmtree(directory)


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_trust(broker, mode):
    b = broker(auth_type="trust")
    with b.connect(getattr(b, mode + "_port")) as c:
        assert c.value("select current_user") == "app"
    assert refusal(b, user="nobody_here").sqlstate in ("28P01", "28000", "08P01")


def test_any(broker, postgres):
    """auth_type any: whoever comes is the user of the [databases] line."""
    b = broker(auth_type="any", databases={
        "e2e": f"host={postgres.sockets} port={postgres.port} dbname=e2e user=app2"})
    assert login(b, user="whoever") == "app2"


def test_quotes_in_names_and_passwords(broker, postgres):
    """The format of userlist.txt: a quote is doubled."""
    postgres.sql('create role "we""ird" login')
    odd = 'pass"word""'
    b = broker(auth_type="plain", userlist={**userlist(PASSWORD), 'we"ird': odd, "app": odd})
    assert login(b, password=odd) == "app"
    wrong_password(b, password="password")
    wrong_password(b, user='we"ird', password="x")
    postgres.sql('drop role "we""ird"')


@pytest.mark.newer
@pytest.mark.parametrize("length", [127, 1000, 4096, 20000, 60000])
@pytest.mark.parametrize("auth_type", ["plain", "scram-sha-256"])
def test_long_passwords(broker, auth_type, length):
    """class 41: passwords of up to 65,535 bytes, as tokens of cloud providers are."""
    long = "p" * length
    b = broker(auth_type=auth_type, userlist=userlist(long))
    assert login(b, password=long) == "app"
    wrong_password(b, password=long[:-1])


def test_password_message_beyond_the_limit(broker):
    """T7: refused, and nobody else notices."""
    b = broker(auth_type="plain", userlist=userlist(PASSWORD))
    c = Raw(b.transaction_port).startup(user="app", database="e2e")
    c.recv()
    c.send_if_open(wire.password("x" * (1 << 20)))
    assert set(wire.tags(c.until_closed())) <= {"E"}
    assert login(b) == "app"


# Unknown databases and long names -------------------------------------------------------------------------------------

@pytest.mark.short
@pytest.mark.ours
@pytest.mark.parametrize("auth_type", TYPES)
def test_unknown_database_only_after_authentication(broker, auth_type):
    """3D000 is told to those who have proven who they are; others hear of their password only (T3)."""
    b = broker(auth_type=auth_type, userlist=userlist(PASSWORD))
    error = refusal(b, database="no_such_db")
    assert error.sqlstate == "3D000" and "no such database: no_such_db" in error.text
    wrong_password(b, database="no_such_db", password="wrong")
    wrong_password(b, database="no_such_db", user="nobody_here")
    if not IS_PGBOUNCER:
        assert b.log.count("(no such database, and the user is not in auth_file)") == 1 and "no such user" not in b.log
        wrong_password(b, user="nobody_here")
        assert "(no such user)" in b.log


@pytest.mark.ours
def test_unknown_database_with_trust(broker):
    error = refusal(broker(), database="no_such_db")
    assert error.sqlstate == "3D000" and "no such database: no_such_db" in error.text


@pytest.mark.parametrize("length", [63, 64, 127, 128, 1000, 8000])
@pytest.mark.parametrize("auth_type", ["trust", "scram-sha-256"])
def test_long_names(broker, auth_type, length):
    """T1 (CVE-2012-4575): names of any length end in an error, and the process stays up."""
    b = broker(auth_type=auth_type, userlist=userlist(PASSWORD))
    for kwargs in ({"user": "n" * length}, {"database": "n" * length}):
        c = Raw(b.transaction_port)
        with pytest.raises((Refused, Closed)):
            c.login(**{"user": "app", "database": "e2e", **kwargs}, password=PASSWORD)
    assert login(b) == "app"


def test_name_of_63_bytes_works(broker):
    b = broker(userlist={LONG_NAME: "", "admin": ""})
    assert login(b, user=LONG_NAME) == LONG_NAME


# The console ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("auth_type", TYPES)
def test_console_asks_for_the_password_too(broker, auth_type):
    """T16: the admin database is no way around authentication. (Every auth_type: test_console_doors.py.)"""
    b = broker(auth_type=auth_type, userlist=userlist(PASSWORD))
    wrong_password(b, "admin", "wrong", "pgbouncer", b.listen_port)
    wrong_password(b, "nobody_here", "wrong", "pgbouncer", b.listen_port)
    assert refusal(b, "app", PASSWORD, "pgbouncer", b.listen_port)
    with b.connect(b.listen_port, "admin", "pgbouncer", "admin secret") as c:
        assert wire.rows(c.query("show version"))


# Hostile exchanges ----------------------------------------------------------------------------------------------------

def begin_scram(b, user="app"):
    c = Raw(b.transaction_port).startup(user=user, database="e2e")
    assert c.recv().body[:4] == b"\0\0\0\x0a"
    return c


def refused_exchange(c):
    said = c.until_closed()
    assert set(wire.tags(said)) <= {"E"} and len(said) <= 1, said
    for error in said:
        assert error.severity == "FATAL" and error.sqlstate in ("28P01", "08P01", "28000"), error.fields


FIRST = ["", "n", "n,", "n,,", "n,,n=", "n,,n=,r=", "n,,r=abc", "n,,n=,r=abc,", "y,,n=,r=", "p=tls-server-end-point,,n=,r=abc",
         "p=,,n=,r=abc", "x,,n=,r=abc", "n,a=other,n=,r=abc", "n,,m=ext,n=,r=abc", "n,,n=app,n=app,r=abc", "n,,n=,r=a,r=b",
         "n,,n=,r=\x01\x02", "n,,n==,r=abc", "n,,n=" + "u" * 10000 + ",r=abc", "n,,n=,r=" + "r" * 30000, "\0\0\0\0",
         ",,,,,,", "=====", "n,,n=,r=abc\0", "n" * 50000]


@pytest.mark.parametrize("data", FIRST, ids=lambda d: repr(d[:24]))
def test_scram_client_first(broker, data):
    """T13: no first message, however odd, ends in a crash; most end in a refusal."""
    b = broker(auth_type="scram-sha-256", userlist=userlist(SECRETS["scram"]))
    c = begin_scram(b)
    c.send(wire.sasl_initial("SCRAM-SHA-256", data.encode("latin-1")))
    answer = c.send(wire.frame("p", b"c=biws,r=abc,p=AAAA")).until_closed()
    assert "Z" not in wire.tags(answer) and wire.tags(answer) in ("E", "RE", "", "R")
    assert login(b) == "app"


def finals():
    good_proof = base64.b64encode(b"p" * 32).decode()
    for text in ("", "c=biws", "r={r}", "c=biws,r={r}", "p={p}", "c=biws,p={p}", "r={r},p={p}", "c=biws,r={r},p=",
                 "c=biws,r={r},p=AAAA", "c=biws,r={r},p=!!!!", "c=biws,r=other,p={p}", "c=eSws,r={r},p={p}",
                 "c=,r={r},p={p}", "c=biws,r={r},p={p},", "c=biws,r={r},x=1,p={p}", "c=biws,r={r},p={p},p={p}",
                 "c=biws,r={r},p={p}\0", "r={r},c=biws,p={p}", ",,,", "c", "c=", "p", "=", "\0", "c=biws,r={r},p=" + "A" * 9000,
                 "c=biws,r={r}" + ",x=y" * 3000 + ",p={p}"):
        yield text.replace("{p}", good_proof)


@pytest.mark.parametrize("text", finals(), ids=lambda d: repr(d[:24]))
def test_scram_client_final(broker, text):
    """T13 (CVE-2026-19888): every attribute missing, doubled, empty or malformed."""
    b = broker(auth_type="scram-sha-256", userlist=userlist(SECRETS["scram"]))
    c = begin_scram(b)
    first = c.send(wire.sasl_initial("SCRAM-SHA-256", scram.Client(PASSWORD).first())).recv().body[4:].decode()
    nonce = dict(part.split("=", 1) for part in first.split(","))["r"]
    c.send(wire.sasl_response(text.replace("{r}", nonce).encode("latin-1")))
    refused_exchange(c)
    assert login(b) == "app"


def test_scram_bytes_at_random(broker):
    """T13"""
    b = broker(auth_type="scram-sha-256", userlist=userlist(SECRETS["scram"]))
    seed = random_seed()
    rng = random.Random(seed)
    for _ in range(150):
        c = begin_scram(b)
        message = bytearray(wire.sasl_initial("SCRAM-SHA-256", scram.Client(PASSWORD).first()))
        for _ in range(rng.randrange(1, 4)):
            message[rng.randrange(5, len(message))] = rng.randrange(256)
        c.send(bytes(message))
        c.send_if_open(wire.sasl_response(rng.randbytes(rng.randrange(0, 80))))
        c.half_close()
        assert "Z" not in wire.tags(c.until_closed())
    assert login(b) == "app"


INTRUDERS = {
    "startup": wire.startup({"user": "admin", "database": "e2e"}),
    "ssl": wire.ssl_request(),
    "cancel": wire.cancel_request(1, b"1234"),
    "query": wire.query("select 1"),
    "parse": wire.run("select 1") + wire.sync(),
    "sync": wire.sync(),
    "copy": wire.copy_data(b"x"),
    "function": wire.function_call(177, []),
    "empty password": wire.frame("p"),
    "zero length": b"p\0\0\0\0",
    "length 3": b"p\0\0\0\3",
    "huge": b"p\x7f\xff\xff\xff",
    "negative": b"p\xff\xff\xff\xff",
}


@pytest.mark.parametrize("what", INTRUDERS)
@pytest.mark.parametrize("auth_type", TYPES)
def test_anything_else_in_the_place_of_a_password(broker, auth_type, what):
    """T2, T7, T15: no message is answered before the login is over, and nobody becomes somebody else."""
    b = broker(auth_type=auth_type, userlist=userlist(PASSWORD))
    c = Raw(b.transaction_port).startup(user="app", database="e2e")
    c.recv()
    c.send_if_open(INTRUDERS[what])
    c.half_close()
    refused_exchange(c)
    assert login(b) == "app"


@pytest.mark.parametrize("what", INTRUDERS)
@pytest.mark.parametrize("database", ["e2e", "no_such_db"])
def test_anything_else_in_the_middle_of_scram(broker, database, what):
    """T15 (CVE-2026-107350): a second startup during SCRAM, also for a database that does not exist."""
    b = broker(auth_type="scram-sha-256", userlist=userlist(PASSWORD))
    c = Raw(b.transaction_port).startup(user="app", database=database)
    c.recv()
    c.send(wire.sasl_initial("SCRAM-SHA-256", scram.Client(PASSWORD).first())).recv()
    c.send_if_open(INTRUDERS[what])
    c.half_close()
    refused_exchange(c)
    assert login(b) == "app"


def test_query_sent_along_with_the_password(broker, postgres):
    """A client may pipeline its first query behind its password; it is executed after the login, not before."""
    b = broker(auth_type="plain", userlist=userlist(PASSWORD))
    postgres.sql("drop table if exists early; create table early (who text); grant all on early to public", "e2e")
    for password in ("wrong", PASSWORD):
        c = Raw(b.transaction_port).startup(user="app", database="e2e")
        c.recv()
        c.send(wire.password(password) + wire.query(f"insert into early select current_user || ' {password}'"))
        if password == "wrong":
            refused_exchange(c)
    c.until("Z"), c.until("Z")
    assert postgres.sql("select * from early", "e2e") == [[f"app {PASSWORD}"]]
    postgres.sql("drop table early", "e2e")


def test_query_sent_along_with_the_startup(broker):
    """T4: with trust the whole conversation may come in one segment."""
    b = broker()
    c = Raw(b.transaction_port)
    c.send(wire.startup({"user": "app", "database": "e2e"}) + wire.query("select 'early'"))
    c.finish_login("app")
    assert wire.rows(c.until("Z")) == [["early"]]


# Towards the server ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("user", ["md5er", "scrammer", "plainer"])
def test_server_wants_a_password_that_the_user_list_has(broker, user):
    b = broker(userlist={user: user + "pw", "admin": ""})
    assert login(b, user=user) == user


@pytest.mark.parametrize("user", ["md5er", "scrammer", "plainer"])
def test_server_wants_a_password_of_the_database_line(broker, postgres, user):
    b = broker(databases={"e2e": f"host=127.0.0.1 port={postgres.port} dbname=e2e user={user} password={user}pw"})
    assert login(b) == user


def test_server_takes_an_md5_secret(broker):
    b = broker(auth_type="md5", userlist={"md5er": scram.md5("md5er", "md5erpw"), "admin": "a"})
    assert login(b, user="md5er", password="md5erpw") == "md5er"


@pytest.mark.short
@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_scram_pass_through(broker, mode):
    """auth_file holds the SCRAM secret only; the client's proof gives the key with which the broker logs in."""
    b = broker(auth_type="scram-sha-256", userlist={"onlyscram": scram.secret("onlyscrampw"), "admin": "a"})
    port = getattr(b, mode + "_port")
    assert login(b, user="onlyscram", password="onlyscrampw", port=port) == "onlyscram"
    wrong_password(b, user="onlyscram", password="wrong", port=port)
    assert login(b, user="onlyscram", password="onlyscrampw", port=port) == "onlyscram"


@pytest.mark.ours
@pytest.mark.parametrize("secret, sqlstate", [("wrong", "28P01"), ("", "28000")], ids=["wrong", "none"])
def test_server_refuses_the_password(broker, secret, sqlstate):
    """It cannot heal by itself, so who waits is told at once: the server's own 28P01, or that there is no secret."""
    b = broker(userlist={"scrammer": secret, "admin": ""}, query_wait_timeout=600)
    with pytest.raises((Refused, AssertionError)) as failure:
        login(b, user="scrammer")
    assert sqlstate in str(failure.value)


@pytest.mark.ours
def test_database_that_the_server_does_not_have(broker, postgres):
    b = broker(databases={"e2e": f"host={postgres.sockets} port={postgres.port} dbname=not_on_the_server"},
               query_wait_timeout=600)
    with pytest.raises((Refused, AssertionError)) as failure:
        login(b)
    assert "3D000" in str(failure.value) and "not_on_the_server" in str(failure.value)


@pytest.mark.ours
def test_server_refuses_by_its_hba(broker, postgres):
    """28000 of the server reaches the client."""
    postgres.sql("create role unlisted login")
    b = broker(userlist={"unlisted": "", "admin": ""}, query_wait_timeout=600)
    with pytest.raises((Refused, AssertionError)) as failure:
        login(b, user="unlisted")
    assert "28000" in str(failure.value)
    postgres.sql("drop role unlisted")


# Changes and secrecy --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("auth_type", ["plain", "md5", pytest.param("scram-sha-256", marks=pytest.mark.ours)])
def test_password_changes_with_a_reload(broker, auth_type):
    b = broker(auth_type=auth_type, userlist=userlist(PASSWORD))
    assert login(b) == "app"
    b.userlist["app"] = "new password"
    b.reload()
    assert login(b, password="new password") == "app"
    wrong_password(b)
    del b.userlist["app"]
    b.reload()
    wrong_password(b, password="new password")


@pytest.mark.ours
def test_passwords_rotate_under_load(broker):
    """auth_file gets a new password and SIGHUP comes while everybody logs in, with the limits on failed logins as they are by
    default: nobody with a valid password is refused, also beside one who goes on with the old password from the same address.
    The first two come by libpq."""
    b = broker(auth_type="scram-sha-256", userlist=userlist("password 0"), workers=2)
    valid, changing, stop, logins = ["password 0"], threading.Event(), threading.Event(), [0] * 4

    def by_libpq(user, password):
        with psycopg.connect(host="127.0.0.1", port=b.transaction_port, dbname="e2e", user=user, password=password) as c:
            return c.execute("select current_user").fetchone()[0]

    def log_in(number):
        user, enters = ("app", "app2")[number % 2], by_libpq if number < 2 else lambda *who: login(b, *who)
        while not stop.is_set():
            password, unsure = valid[0], changing.is_set()
            try:
                assert enters(user, password if user == "app" else PASSWORD) == user
            except (Refused, psycopg.OperationalError) as error:
                # Between the signal and the end of the reload either password may be the right one.
                assert user == "app" and 'password authentication failed for user "app"' in str(error)
                assert unsure or changing.is_set() or valid[0] != password, error
            else:
                logins[number] += 1

    def more(*numbers):
        before = list(logins)
        eventually(lambda: all(logins[n] > before[n] + 2 for n in numbers) or any(not t.is_alive() for t in tasks), "clients log in")
    tasks = [Task(log_in, number) for number in range(len(logins))]
    for rotation in (1, 2):
        more(0, 1, 2, 3)
        changing.set()
        b.userlist["app"] = f"password {rotation}"
        b.write_files()
        b.signal(signal.SIGHUP)
        more(1, 3)
        b.console("RELOAD")  # behind the signal's, and then there is nothing of the old in any worker:
        b.console("SHOW CLIENTS")
        old, valid[0] = valid[0], b.userlist["app"]
        changing.clear()
        for _ in range(8):
            wrong_password(b, password=old)
        more(0, 1, 2, 3)
    stop.set()
    for task in tasks:
        task.result()


@pytest.mark.ours
@pytest.mark.parametrize("auth_type", TYPES)
def test_no_secret_is_ever_shown(broker, postgres, auth_type):
    """T18, I14: neither in the log at its most verbose, nor on the console, nor in an error."""
    secrets = ["planted-client-secret", "planted-server-secret", "planted-wrong-secret"]
    b = broker(auth_type=auth_type, userlist=userlist(secrets[0]), verbose=3, databases={
        "e2e": f"host={postgres.sockets} port={postgres.port} dbname=e2e",
        "other": f"host=127.0.0.1 port={postgres.port} dbname=e2e user=plainer password={secrets[1]}"})
    assert login(b, password=secrets[0]) == "app"
    shown = [str(refusal(b, password=secrets[2]).fields)]
    try:
        login(b, password=secrets[0], database="other")
    except (Refused, AssertionError, Closed, TimeoutError) as failure:
        shown.append(str(failure))
    for what in ("clients", "servers", "pools", "databases", "users", "config", "lists"):
        shown.append(str(b.console(f"show {what}")))
    shown.append(b.all_text())
    for secret in secrets:
        for text in shown:
            assert secret not in text
