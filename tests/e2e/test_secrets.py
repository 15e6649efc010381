"""I14, T18: no password, and nothing that is as good as one, in core dumps, logs, SHOW or error texts.

Texts that nobody could guess are planted wherever the broker learns secrets. Then its memory is searched as a core dump
would have it, and so is every text that it writes. That the search finds what is there is shown by the pages that no dump
has: the user list must be in them.
"""

import base64
import hashlib
import hmac
import re
import resource
import secrets
import shutil
import ssl
import subprocess

import pytest

from harness import memory, scram, wire
from harness.broker import REPOSITORY
from harness.certificates import Authority
from harness.directory import BASE, Directory
from harness.program import prepared
from harness.raw import Raw, Refused
from harness.system import as_service_user, eventually, make_directory
from test_auth_query import asking, server  # noqa: F401  (fixtures)
from test_directory import with_ldap, with_pam
from test_hba import run
from test_link import GRANT, STAND_IN

pytestmark = pytest.mark.ours

SALT = b"0123456789abcdef"
TABLES = re.findall(r'^BERTH_SHOW\(\w+, "([^"]+)"', (REPOSITORY / "broker/admin/commands.def").read_text(), re.M)
# On the server; their passwords are those of harness/postgres.py.
SERVER_USERS = ("plainer", "md5er", "scrammer")


def hmac_of(key, text):
    return hmac.new(key, text, hashlib.sha256).digest()


def derived(name, password, salt=SALT, iterations=4096):
    """What SCRAM makes of a password, and can log in with. (A stored key cannot: it only tells who knows the password.)"""
    salted = scram.salted(password, salt, iterations)
    return {f"{name}, salted": salted, f"{name}, client key": hmac_of(salted, b"Client Key"),
            f"{name}, server key": hmac_of(salted, b"Server Key")}


def server_salt(postgres, user):
    """(salt, iterations) of a role's secret."""
    secret = postgres.value(f"select rolpassword from pg_authid where rolname = '{user}'")
    iterations, salt = secret.split("$")[1].split(":")
    return base64.b64decode(salt), int(iterations)


def in_pieces(b, user, password, cut):
    """A login by clear password whose message comes in two pieces."""
    client = Raw(b.transaction_port).startup(user=user, database="e2e")
    client.recv()
    message = wire.password(password)
    client.send(message[:cut])
    assert client.quiet(0.02)
    client.send(message[cut:])
    return client


class Planted:
    """A broker that has been told many secrets, and what they are: {where it was told: bytes}."""

    def __init__(self, broker, postgres, auth_type):
        # A short one, which a std::string would keep in itself, a long one, and one of a user who never comes.
        self.passwords = {"app": secrets.token_hex(6), "app2": "long-" + secrets.token_hex(1500),
                          "app3": "hashed-" + secrets.token_hex(12), "nobody": "idle-" + secrets.token_hex(12),
                          "admin": "admin-" + secrets.token_hex(12)}
        userlist = dict(self.passwords, app3=scram.secret(self.passwords["app3"], salt=SALT))
        where = f"host={postgres.sockets} port={postgres.port} dbname=e2e"
        databases = {"e2e": where, **{user: f"{where} user={user} password={user}pw" for user in SERVER_USERS}}
        self.b = broker(auth_type=auth_type, userlist=userlist, databases=databases, verbose=9, log_pooler_errors=1)
        self.secrets = {name: text.encode() for name, text in self.passwords.items()}
        self.secrets.update({f"of the server, {user}": f"{user}pw".encode() for user in SERVER_USERS})
        self.secrets.update(derived("app3", self.passwords["app3"]))
        self.secrets.update(derived("scrammer", "scrammerpw", *server_salt(postgres, "scrammer")))
        self.secrets["md5er, hash"] = scram.md5("md5er", "md5erpw")[3:].encode()
        self.secrets["app3, as written"] = userlist["app3"].split("$", 2)[2].encode()
        self.wrong = "wrong-" + secrets.token_hex(12)
        self.secrets["a guess"] = self.wrong.encode()

    def use(self):
        """Logins of all kinds; the clients stay."""
        b, clients = self.b, []
        for user in ("app", "app2", "app3"):
            clients.append(b.connect(user=user, password=self.passwords[user]))
            assert clients[-1].value("select current_user") == user
            with pytest.raises(Refused):
                b.connect(user=user, password=self.wrong)
        for database in SERVER_USERS:
            clients.append(b.connect(user="app", database=database, password=self.passwords["app"]))
            assert clients[-1].value("select current_user") == database
        assert b.console("SHOW VERSION")
        return clients


@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
def test_no_core_dump_has_a_secret(broker, postgres, auth_type):
    """T18: the memory that a core dump would have, after logins by every method."""
    planted = Planted(broker, postgres, auth_type)
    b = planted.b
    clients = planted.use()
    if auth_type == "plain":
        for cut in (3, 12, 700):  # in the head; behind it; where the long one has filled a buffer
            with in_pieces(b, "app2", planted.passwords["app2"], cut) as client:
                client.finish_login("app2")
    b.console("RELOAD")
    b.console("SET query_timeout = 77")
    assert memory.find(b.pid, planted.secrets, dumped=True) == []
    kept = memory.find(b.pid, {name: planted.secrets[name] for name in planted.passwords if name != "app3"}, dumped=False)
    assert len(kept) == 4, kept
    for client in clients:
        client.close()


def test_no_core_dump_of_a_login_in_flight_has_a_secret(broker, postgres):
    """Half a password has come, and another one has been told to a server that does not answer."""
    planted = Planted(broker, postgres, "plain")
    b = planted.b
    message = wire.password(planted.passwords["app2"])
    with Raw(b.transaction_port).startup(user="app2", database="e2e") as client:
        client.recv()
        client.send(message[:1000])
        assert client.quiet(0.05)
        half = message[5:900]
        found = memory.find(b.pid, {**planted.secrets, "half": half}, dumped=True)
        assert [place for place in found if not place.startswith("half")] == []
        client.send(message[1000:])
        client.finish_login("app2")
        assert memory.find(b.pid, {**planted.secrets, "half": half}, dumped=True) == []


def logins(b, people, wrong):
    """Whoever is one of `people` gets in, by the right password alone; the clients stay."""
    clients = []
    for user, password in people.items():
        clients.append(b.connect(user=user, password=password))
        assert clients[-1].value("select current_user") == user
        with pytest.raises(Refused):
            b.connect(user=user, password=wrong)
    return clients


def in_no_core_dump(b, planted, kept):
    """Nothing of `planted` is in the memory that a core dump has. What is `kept` must be elsewhere, so that the search has
    looked at what a dump would have without the broker's care."""
    assert memory.find(b.pid, {name: text.encode() for name, text in planted.items()}, dumped=True) == []
    found = memory.find(b.pid, {name: planted[name].encode() for name in kept}, dumped=False)
    assert {place.split(" at 0x")[0] for place in found} == set(kept), found


# Roles of the server's that log in with the password that the broker has been told.
PEOPLE = {"plainer": "plainerpw", "scrammer": "scrammerpw"}


def test_no_core_dump_has_what_pam_was_told(broker):
    """T18: pam_wrapper's module reads the passwords of all users, and neither it nor libpam overwrites what it frees."""
    idle = "idle-" + secrets.token_hex(12)
    wrong = "wrong-" + secrets.token_hex(12)
    b = with_pam(broker(launch=False, auth_type="pam"), {**PEOPLE, "nobody": idle, "admin": "a"})
    clients = logins(b, PEOPLE, wrong)
    in_no_core_dump(b, {**PEOPLE, "nobody": idle, "a guess": wrong}, kept=["nobody"])
    for client in clients:
        client.close()


def test_no_core_dump_has_what_a_directory_was_told(broker):
    """T18: liblber keeps what it has sent."""
    wrong = "wrong-" + secrets.token_hex(12)
    people = Directory(PEOPLE)
    try:
        b = with_ldap(broker, f'ldapserver=127.0.0.1 ldapport={people.port} ldapprefix="uid=" ldapsuffix=",ou=people,{BASE}"')
        clients = logins(b, PEOPLE, wrong)
        in_no_core_dump(b, {**PEOPLE, "a guess": wrong}, kept=["a guess"])
        for client in clients:
            client.close()
    finally:
        people.remove()


@pytest.mark.parametrize("kind", ["md5", "scram"])
def test_no_core_dump_has_what_auth_query_knows(asking, server, kind):  # noqa: F811
    """T18: the password of auth_user, what PostgreSQL answered, and the password of who was looked up."""
    looker, password = "looker-" + secrets.token_hex(12), "found-" + secrets.token_hex(12)
    wrong = "wrong-" + secrets.token_hex(12)
    secret = scram.secret(password) if kind == "scram" else scram.md5("found", password)
    server.sql(f"drop role if exists found; create role found login password '{secret}'")
    server.sql(f"alter role looker password '{scram.secret(looker)}'")
    b = asking(auth_type="plain", userlist={"looker": looker})
    clients = logins(b, {"found": password}, wrong)
    planted = {"looker": looker, "found": password, "a guess": wrong, "answer": secret[3:] if kind == "md5" else secret}
    in_no_core_dump(b, planted, kept=["looker", "answer"])
    for client in clients:
        client.close()


def test_no_text_has_a_secret(broker, postgres):
    """T18: the log at its most verbose, every table of the console, error texts, and what `--check` says."""
    planted = Planted(broker, postgres, "plain")
    b = planted.b
    clients = planted.use()
    texts = []
    for table in TABLES:
        answer = b.console.connection.query(f"SHOW {table}")
        assert not wire.errors(answer), table
        texts += [f"{table}: {message.body!r}" for message in answer]
    for user, password in (("app", planted.wrong), ("nobody", planted.wrong), ("stranger", planted.passwords["app"])):
        with pytest.raises(Refused) as refused:
            b.connect(user=user, password=password)
        texts.append(str(refused.value.error.fields))
    # Secrets where they do not belong: a line of the user list without its quotes, a parameter of a database that is wrong.
    b.userlist["torn"] = ""
    b.write_files()
    torn = "torn-" + secrets.token_hex(12)
    planted.secrets["torn"] = torn.encode()
    with open(b.auth_file, "a") as file:
        file.write(f'"x" "{torn}\n"{torn}\n')
    with open(b.ini, "a") as file:
        file.write(f"\n[databases]\nbad = host=x password='{torn}\nworse = port=1 password={torn} pool_size=many\n")
    answer = b.console.connection.query("RELOAD")
    assert wire.errors(answer)
    texts += [str(message.fields) for message in wire.errors(answer)]
    status, checked = run(b, "--check", b.ini)
    assert status == 1 and "pool_size" in checked
    texts += [checked, b.all_text()]
    assert "login failed" in texts[-1]  # it is verbose
    for name, secret in planted.secrets.items():
        for text in texts:
            assert secret.decode("latin-1") not in text, (name, text[:200])
    for client in clients:
        client.close()


def test_no_core_dump_has_what_the_link_knows(broker, own_postgres):
    """The link's user, whose password libpq keeps, and the console's secret, which it has sent to the database."""
    own_postgres.sql(STAND_IN + GRANT, database="e2e")
    password = "link-" + secrets.token_hex(12)
    b = broker(server=own_postgres, link="auto", link_user="app", userlist={"app": password, "admin": ""})
    secret = eventually(lambda: own_postgres.sql("select secret from berth.broker_registration", database="e2e"),
                        "the broker is registered")[0][0]
    planted = {"link user": password.encode(), "console": secret.encode()}
    assert memory.find(b.pid, planted, dumped=True) == []
    assert len(memory.find(b.pid, planted, dumped=False)) >= 2


def private_numbers(key):
    """{name: bytes} of an EC or RSA key."""
    text = subprocess.run(["openssl", "pkey", "-in", key, "-noout", "-text"], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = re.findall(r"^(priv|prime1|prime2|privateExponent|exponent1|exponent2|coefficient):((?:\s+[0-9a-f:]+\n)+)", text, re.M)
    return {name: bytes.fromhex(re.sub(r"[\s:]", "", digits)).lstrip(b"\0") for name, digits in found}


def traffic_key(secret):
    """What TLS 1.3 encrypts records with (RFC 8446, 7.3), of AES-128 with SHA-256."""
    return hmac_of(secret, b"\0\x10\x09tls13 key\0\x01")[:16]


def keys_of_connections(keylog):
    """What a file in the format of SSLKEYLOGFILE has: whoever knows one of these reads what was recorded."""
    found = {}
    for line in re.findall(r"^[A-Z].*", keylog.read_text(), re.M):
        kind, client, text = line.split()
        secret = bytes.fromhex(text)
        found[f"{kind} of {client[:8]}"] = secret
        if "_TRAFFIC_SECRET_" in kind:
            found[f"{kind} of {client[:8]}, key"] = traffic_key(secret)
    return found


@pytest.mark.parametrize("version, algorithm", [(ssl.TLSVersion.TLSv1_2, "rsa"), (ssl.TLSVersion.TLSv1_3, "ec")])
def test_no_core_dump_has_a_secret_of_tls(broker, version, algorithm):
    """The server's private key, the password that came through TLS, and the keys of living connections."""
    authority_root = make_directory()
    server = Authority(authority_root).issue("localhost", hosts=["localhost"], algorithm=algorithm)
    password = "tls-" + secrets.token_hex(12)
    b = broker(auth_type="plain", userlist={"app": password, "admin": ""}, client_tls_sslmode="allow",
               client_tls_key_file=server.key, client_tls_cert_file=server.cert)
    clients, session = [], None
    for resumed in (False, False, True):
        client = Raw(b.transaction_port)
        assert client.send(wire.ssl_request()).read_byte() == b"S"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if not resumed else context
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = context.maximum_version = version
        context.keylog_filename = authority_root / "keylog"
        client.sock = context.wrap_socket(client.sock, session=session if resumed else None)
        clients.append(client.login("app", "e2e", password))
        assert client.sock.session_reused == resumed
        session = client.sock.session
    body = "".join(server.key.read_text().splitlines()[1:-1])
    planted = {"password": password.encode(), "key, PEM": body[20:60].encode()}
    numbers = private_numbers(server.key)
    for name, number in numbers.items():
        planted.update({name: number, f"{name}, reversed": number[::-1]})
    connections = keys_of_connections(authority_root / "keylog")
    assert len(connections) >= 3
    assert memory.find(b.pid, {**planted, **connections}, dumped=True) == []
    assert memory.find(b.pid, {name: number[::-1] for name, number in numbers.items()}, dumped=False), "where OpenSSL keeps them"
    kept = {place.split(" at 0x")[0] for place in memory.find(b.pid, connections, dumped=False)}
    wanted = "key" if version == ssl.TLSVersion.TLSv1_3 else "CLIENT_RANDOM"
    assert sum(wanted in name for name in kept) >= 3, kept
    assert clients[0].value("select 1") == "1"
    for client in clients:
        client.close()
    shutil.rmtree(authority_root)


def test_limited_address_space(broker):
    """Without room for a heap of its own OpenSSL has ordinary memory: the log says what that means, and all else works."""
    b = prepared(broker)
    with open(b.output_path, "ab") as out:
        b.process = subprocess.Popen([str(b.binary), str(b.ini)], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/",
                                     preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30)), **as_service_user())
    assert b.wait_ready()
    assert "the address space is limited (ulimit -v, LimitAS): keys of TLS connections are in core dumps" in b.log
    with b.connect(b.listen_port) as client:
        assert client.value("select 1") == "1"
