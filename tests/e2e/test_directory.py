"""auth_type pam and ldap, and the methods of those names in auth_hba_file: who is let in, what the directory is asked, and
that one which hangs holds up nobody else."""

import os
import socket
import subprocess

import psycopg
import pytest

from harness import scram, wire
from harness.broker import sanitizer_environment
from harness.certificates import Authority
from harness.directory import ADMIN, ADMIN_PASSWORD, BASE, Directory, pam_environment
from harness.psql import psql
from harness.raw import Raw
from harness.system import Task, as_service_user, eventually, write
from test_hba import CONSOLE, login, prepared, refusal

pytestmark = pytest.mark.ours

PEOPLE = {"app": "correct horse", "app2": "p,a+s=s", "reader": "r", "scrammer": "scrammerpw", "md5er": "another one"}


@pytest.fixture(scope="module")
def directory():
    made = Directory(PEOPLE)
    yield made
    made.remove()


@pytest.fixture
def silent():
    """A server that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield listener.getsockname()[1]


def with_ldap(broker, options, **settings):
    """Nobody stands in auth_file but who looks after the broker."""
    made = prepared(broker, CONSOLE + f"host all all all ldap {options}\n", userlist={"admin": ""}, **settings)
    return made.start()


# LDAP -----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("options", [
    f'ldapserver=127.0.0.1 ldapport={{port}} ldapprefix="uid=" ldapsuffix=",ou=people,{BASE}"',
    f'ldapserver=127.0.0.1 ldapport={{port}} ldapbasedn="{BASE}"',
    f'ldapserver="127.0.0.1 127.0.0.1" ldapport={{port}} ldapbasedn="{BASE}" '
    '"ldapsearchfilter=(|(uid=$username)(mail=$username))"',
    f'ldapurl="ldap://127.0.0.1:{{port}}/{BASE}?uid?sub"',
], ids=["simple", "search", "filter", "url"])
def test_whom_the_directory_knows(broker, directory, options):
    b = with_ldap(broker, options.format(port=directory.port))
    assert login(b, "app", PEOPLE["app"]) == "app"
    assert login(b, "app2", PEOPLE["app2"]) == "app2"
    for user, password in (("app", "wrong"), ("nobody_here", "x"), ("app", PEOPLE["app2"])):
        error = refusal(b, user, password)
        assert (error.sqlstate, error.fields["M"]) == ("28000", f'LDAP authentication failed for user "{user}"')


def test_search_by_a_reader(broker):
    """ldapbinddn and ldapbindpasswd, which nothing repeats: neither SHOW CONFIG nor the log."""
    closed = Directory(PEOPLE, open_to_all=False)
    try:
        where = f'ldapserver=127.0.0.1 ldapport={closed.port} ldapbasedn="{BASE}"'
        secret = '"' + ADMIN_PASSWORD.replace('"', '""') + '"'
        b = broker(launch=False, auth_type="ldap", verbose=2, auth_ldap_options=f'{where} ldapbinddn="{ADMIN}" ldapbindpasswd={secret}',
                   admin_users="app")
        b.start()
        assert login(b, "app", PEOPLE["app"]) == "app"
        console = Raw(b.listen_port).login("app", "pgbouncer", PEOPLE["app"])
        shown = {row[0]: row[1] for row in wire.rows(console.query("show config"))}
        assert shown["auth_ldap_options"] == f'{where} ldapbinddn="{ADMIN}" ldapbindpasswd=***'
        b.settings["auth_ldap_options"] = f'{where} ldapbinddn="uid=reader,ou=people,{BASE}" ldapbindpasswd=r'
        b.write_files()
        console.query("reload")
        assert login(b, "app2", PEOPLE["app2"]) == "app2"
        b.settings["auth_ldap_options"] = where  # as nobody it finds nobody
        b.write_files()
        console.query("reload")
        assert refusal(b, "app", PEOPLE["app"]).sqlstate == "28000"
        for value in (f"'{where} ldapbinddn=x ldapbindpasswd=untold'", f"'{where} LDAPBindPasswd=untold'", "'ldapbindpasswd=untold",
                      "'ldapbindpasswd=\"untold'"):
            console.query(f"set auth_ldap_options = {value}")
        assert "SET auth_ldap_options=" in b.all_text() and "untold" not in b.all_text()
        assert "of" in ADMIN_PASSWORD and ADMIN_PASSWORD not in b.all_text() and "ldapbindpasswd=r" not in b.all_text()
    finally:
        closed.remove()


@pytest.mark.parametrize("user", ["*", "app)(uid=*", "a*", "app\\2a", "app,ou=people", "app2)(|(uid=app"])
def test_a_name_is_only_a_name(broker, directory, user):
    """Injection: the right password of somebody else, by a name that means more than a name."""
    for options in (f'ldapbasedn="{BASE}"', f'ldapprefix="uid=" ldapsuffix=",ou=people,{BASE}"'):
        b = with_ldap(broker, f"ldapserver=127.0.0.1 ldapport={directory.port} {options}")
        assert refusal(b, user, PEOPLE["app"]).sqlstate == "28000"


def test_an_empty_password_never_binds(broker, directory):
    """A directory takes a bind without a password for one without a name, which succeeds."""
    b = with_ldap(broker, f'ldapserver=127.0.0.1 ldapport={directory.port} ldapprefix="uid=" ldapsuffix=",ou=people,{BASE}"')
    asked = directory.log().count(" BIND ")
    assert refusal(b, "app", "").sqlstate == "28000"
    assert directory.log().count(" BIND ") == asked


@pytest.mark.short
def test_the_password_serves_for_the_server_too(broker, directory):
    b = with_ldap(broker, f'ldapserver=127.0.0.1 ldapport={directory.port} ldapbasedn="{BASE}"')
    assert login(b, "scrammer", PEOPLE["scrammer"]) == "scrammer"


def test_the_password_stays_with_its_database(broker, directory, postgres):
    """What was proved for one database is not told to the server of another, whose entry has a user of the same name."""
    where = f"host=127.0.0.1 port={postgres.port} dbname=e2e"
    rules = CONSOLE + "host other app2 all trust\n" \
        f'host e2e all all ldap ldapserver=127.0.0.1 ldapport={directory.port} ldapbasedn="{BASE}"\n'
    b = prepared(broker, rules, userlist={"admin": "", "app2": ""},
                 databases={"e2e": where, "other": where + " user=scrammer"}).start()
    assert login(b, "scrammer", PEOPLE["scrammer"]) == "scrammer"
    assert refusal(b, "app2", None, database="other").sqlstate == "28000"
    assert "there is no secret for this user" in b.log


def test_the_password_does_not_go_before_the_one_of_auth_file(broker, directory):
    """Two passwords for two ways in: the server knows the one whose hash stands in auth_file."""
    rules = CONSOLE + "local e2e md5er md5\n" \
        f'host e2e md5er all ldap ldapserver=127.0.0.1 ldapport={directory.port} ldapbasedn="{BASE}"\n'
    b = prepared(broker, rules, userlist={"admin": "", "md5er": scram.md5("md5er", "md5erpw")}).start()
    assert login(b, "md5er", PEOPLE["md5er"]) == "md5er"
    assert login(b, "md5er", "md5erpw", local=True) == "md5er"


def test_a_directory_that_is_down(broker, directory):
    b = with_ldap(broker, f'ldapserver=127.0.0.1 ldapport=1 ldapbasedn="{BASE}"')
    assert refusal(b, "app", PEOPLE["app"]).sqlstate == "28000"
    assert "nobody can say whether the password is right" in b.log


def test_a_directory_that_is_down_does_not_fill_the_log(broker):
    b = prepared(broker, CONSOLE + f'host all all all ldap ldapserver=127.0.0.1 ldapport=1 ldapbasedn="{BASE}"\n',
                 userlist={"admin": ""}, workers=1, verbose=0).start()
    for _ in range(300):
        assert refusal(b, "app", "x").sqlstate == "28000"
    assert 1 <= b.log.count("nobody can say whether the password is right") < 100
    eventually(lambda: "more connections were refused before they had logged in" in b.log)


def busy(b, lane):
    row = next(row for row in b.console("show helpers") if row["name"] == lane)
    return row["running"], row["queue"]


def hung(b, lane, user, password):
    """Clients whose passwords are asked about: more than there are threads for it. Meanwhile everything else goes on: the other
    kinds of login, queries, the console; and one of them may leave."""
    waiting = [Raw(b.transaction_port).startup(user=user, database="e2e") for _ in range(12)]
    for client in waiting:
        assert client.until("R")[-1].body[:4] == bytes([0, 0, 0, 3])
        client.send(wire.password(password))
    eventually(lambda: busy(b, lane) == ("8", "4"), "all threads are taken, and four logins wait")
    assert login(b, "app", None) == "app"
    assert login(b, "app2") == "app2"  # its key is derived meanwhile
    with psycopg.connect(b.url(user="app2", password="correct%20horse")) as conn:
        assert conn.execute("select 1").fetchone() == (1,)
    waiting.pop(0).close()
    assert login(b, "app2") == "app2"
    return waiting


def test_a_directory_that_hangs(broker, silent):
    """T12, but for a directory: who waits for it holds up nobody else."""
    rules = CONSOLE + "host all app all trust\nhost all app2 all scram-sha-256\n" \
        f'host all all all ldap ldapserver=127.0.0.1 ldapport={silent} ldapbasedn="{BASE}"\n'
    b = prepared(broker, rules, client_login_timeout=60).start()
    for client in hung(b, "ldap", "reader", "r"):
        client.close()


# LDAP inside of TLS ---------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def encrypted():
    """Its certificate names 127.0.0.1, and not localhost (which the LDAP library takes for the machine's name)."""
    made = Directory(PEOPLE, tls_address="127.0.0.1")
    yield made
    made.remove()


WAYS = ["ldapscheme=ldaps ldapport={tls_port}", "ldaptls=1 ldapport={port}"]


def over_tls(broker, encrypted, way, host, roots, **more):
    where = way.format(port=encrypted.port, tls_port=encrypted.tls_port)
    return with_ldap(broker, f'ldapserver={host} {where} ldapprefix="uid=" ldapsuffix=",ou=people,{BASE}"',
                     environment={"LDAPTLS_CACERT": str(roots), **more})


@pytest.mark.parametrize("way", WAYS, ids=["ldaps", "starttls"])
def test_tls_towards_the_directory(broker, encrypted, way):
    b = over_tls(broker, encrypted, way, "127.0.0.1", encrypted.authority.cert)
    asked = encrypted.log().count("TLS established")
    assert login(b, "app", PEOPLE["app"]) == "app"
    assert encrypted.log().count("TLS established") == asked + 1
    assert refusal(b, "app", "wrong").sqlstate == "28000"
    assert encrypted.log().count("TLS established") == asked + 2
    assert "nobody can say" not in b.log


@pytest.mark.parametrize("wrong", ["root", "name"])
@pytest.mark.parametrize("way", WAYS, ids=["ldaps", "starttls"])
def test_a_directory_that_cannot_prove_itself(broker, encrypted, way, wrong):
    """No password goes there, also if the environment or a ldap.conf says that certificates do not matter."""
    other = Authority(encrypted.root, f"Other Root {way[:7]} {wrong}")
    roots, host = (other.cert, "127.0.0.1") if wrong == "root" else (encrypted.authority.cert, "localhost")
    b = over_tls(broker, encrypted, way, host, roots, LDAPTLS_REQCERT="never")
    asked = encrypted.log().count(" BIND ")
    assert refusal(b, "app", PEOPLE["app"]).sqlstate == "28000"
    assert "nobody can say whether the password is right" in b.log
    assert encrypted.log().count(" BIND ") == asked


@pytest.mark.parametrize("way", WAYS, ids=["ldaps", "starttls"])
def test_nothing_of_the_working_directory(broker, encrypted, way):
    """T20: whoever may write where somebody starts the broker does not say by which roots a directory proves itself."""
    where = way.format(port=encrypted.port, tls_port=encrypted.tls_port)
    rule = f'host all all all ldap ldapserver=127.0.0.1 {where} ldapprefix="uid=" ldapsuffix=",ou=people,{BASE}"\n'
    made = prepared(broker, CONSOLE + rule, userlist={"admin": ""})
    write(made.root / "ldaprc", f"TLS_CACERT {encrypted.authority.cert}\n")

    def launch():
        with open(made.output_path, "ab") as out:
            made.process = subprocess.Popen([str(made.binary), str(made.ini)], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                            cwd=made.root, env=sanitizer_environment(), **as_service_user())

    made.launch = launch
    made.start()
    asked = encrypted.log().count(" BIND ")
    assert refusal(made, "app", PEOPLE["app"]).sqlstate == "28000"
    assert "nobody can say whether the password is right" in made.log
    assert encrypted.log().count(" BIND ") == asked


# PAM ------------------------------------------------------------------------------------------------------------------

def with_pam(made, users, services=("pgbouncer",), **more):
    made.environment = pam_environment(made.root, users, services, **more)
    made.environment["ASAN_OPTIONS"] = "verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", "")
    return made.start()


def test_auth_type_pam(broker):
    """As PgBouncer: the service is pgbouncer, and auth_file is not looked at."""
    b = with_pam(broker(launch=False, auth_type="pam"), {**PEOPLE, "admin": "a"})
    assert login(b, "app", PEOPLE["app"]) == "app"
    assert psql(b.url(user="app2", password="p%2Ca%2Bs%3Ds"), "select current_user") == "app2"
    assert login(b, "scrammer", PEOPLE["scrammer"]) == "scrammer"
    for user, password in (("app", "wrong"), ("nobody_here", "x"), ("app", "")):
        error = refusal(b, user, password)
        assert (error.sqlstate, error.fields["M"]) == ("28000", f'PAM authentication failed for user "{user}"')
    assert PEOPLE["app"] not in b.all_text()


def test_pam_by_a_rule(broker):
    rules = CONSOLE + "host all app2 all pam pamservice=shop\nhost all all all pam\nlocal all all pam pam_use_hostname=0\n"
    made = prepared(broker, rules, userlist={"admin": ""})
    b = with_pam(made, PEOPLE, ("shop", "pgbouncer"))
    for user in ("app", "app2"):
        assert login(b, user, PEOPLE[user]) == user
        assert refusal(b, user, "wrong").sqlstate == "28000"
    assert login(b, "app", PEOPLE["app"], local=True) == "app"
    assert refusal(b, "app", "wrong", local=True).sqlstate == "28000"


def test_a_module_that_hangs(broker):
    """T12, but for PAM: it may block for as long as it likes, and who waits for it gets in when it goes on."""
    made = prepared(broker, CONSOLE + "host all app all trust\nhost all app2 all scram-sha-256\nhost all all all pam\n",
                    client_login_timeout=60)
    gate = made.root / "gate"
    os.mkfifo(gate)
    gate.chmod(0o666)
    b = with_pam(made, PEOPLE, waits_for=gate)
    waiting = hung(b, "pam", "scrammer", PEOPLE["scrammer"])
    assert busy(b, "pam")[0] == "8", "nothing but the module ends it"

    def reads_on():
        try:
            os.close(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            pass  # nobody reads it at the moment
        return busy(b, "pam") == ("0", "0")
    eventually(reads_on, "every login has been asked about")
    for client in waiting:
        with client.finish_login("scrammer"):
            assert client.value("select current_user") == "scrammer"
