"""auth_type hba: which line of auth_hba_file decides, what it asks for, and what becomes of a file with mistakes."""

import os
import pwd
import re
import signal
import subprocess

import psycopg
import pytest

from harness import scram, wire
from harness.broker import sanitizer_environment
from harness.psql import client_environment, psql
from harness.raw import Raw, Refused
from harness.system import PG_BIN, as_service_user, eventually, write
from test_auth import transcript

pytestmark = pytest.mark.ours

PASSWORD = "correct horse"
SECRETS = {"plain": PASSWORD, "md5": scram.md5("app", PASSWORD), "scram": scram.secret(PASSWORD)}
CONSOLE = "host pgbouncer admin 127.0.0.1/32 trust\n"


def prepared(broker, rules, ident=None, userlist=None, files=(), **settings):
    """A broker with these rules that is not started. `ident` and `files` stand beside the rules."""
    made = broker(launch=False, auth_type="hba",
                  userlist=userlist or {"app": PASSWORD, "app2": PASSWORD, "app3": PASSWORD, "admin": ""}, **settings)
    made.hba = made.root / "hba.conf"
    made.settings["auth_hba_file"] = str(made.hba)
    if ident is not None:
        made.settings["auth_ident_file"] = str(write(made.root / "ident.conf", ident))
    for name, text in dict(files).items():
        write(made.root / name, text)
    write(made.hba, rules)
    return made


def started(broker, rules, *args, **kwargs):
    return prepared(broker, rules, *args, **kwargs).start()


def login(b, user="app", password=PASSWORD, database="e2e", local=False, port=None, **params):
    c = Raw(port or b.transaction_port, str(b.root) if local else "127.0.0.1")
    with c.login(user, database, password, **params):
        return c.value("select current_user")


def refusal(b, *args, **kwargs):
    with pytest.raises(Refused) as failure:
        login(b, *args, **kwargs)
    assert failure.value.error.severity == "FATAL"
    return failure.value.error


def run(made, *arguments):
    done = subprocess.run([str(made.binary), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60, cwd="/", env=sanitizer_environment(),
                          **as_service_user())
    return done.returncode, done.stdout


def psql_as(system_user, b, user, database="e2e", fails=False):
    """psql over the Unix socket, as a user of the system (root's tests only), or as the tests' own."""
    account = pwd.getpwnam(system_user)
    change = {} if account.pw_uid == os.getuid() else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    url = f"host={b.root} port={b.transaction_port} user={user} dbname={database}"
    done = subprocess.run([str(PG_BIN / "psql"), "-X", "-A", "-t", "-w", url, "-c", "select current_user"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60,
                          cwd="/", env=client_environment(), **change)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return (done.stderr if fails else done.stdout).strip()


# Methods --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize("method, asked", [("password", 3), ("plain", 3), ("md5", 5), ("scram-sha-256", 10)])
@pytest.mark.parametrize("local", [False, True])
def test_methods_ask_for_a_password(broker, method, asked, kind, local):
    """Both ways in, each kind of secret; the right password, a wrong one, and what the client is asked for."""
    b = started(broker, f"local all all {method}\nhost all all 127.0.0.1/32 {method}\n",
                userlist={"app": SECRETS[kind], "admin": ""})
    if (method, kind) == ("scram-sha-256", "md5"):
        assert refusal(b, local=local).sqlstate == "28P01"
        return
    assert login(b, local=local) == "app"
    assert refusal(b, password="wrong", local=local).sqlstate == "28P01"
    c = Raw(b.transaction_port, str(b.root) if local else "127.0.0.1").startup(user="app", database="e2e")
    request = c.until("R")[-1]
    assert request.body[:4] == bytes([0, 0, 0, 10 if (method, kind) == ("md5", "scram") else asked])
    c.close()


def test_psql_and_psycopg(broker):
    b = started(broker, CONSOLE + "host e2e app 127.0.0.0 255.0.0.0 scram-sha-256\nhost e2e app2 all trust\n")
    assert psql(b.url(password="correct%20horse"), "select current_user") == "app"
    assert "password authentication failed" in psql(b.url(password="wrong"), "select 1", fails=True)
    assert psql(b.url(user="app2"), "select current_user") == "app2"
    with psycopg.connect(b.url(password="correct%20horse")) as conn:
        assert conn.execute("select current_user").fetchone() == ("app",)
    with pytest.raises(psycopg.OperationalError, match="no pg_hba.conf entry for host"):
        psycopg.connect(b.url(user="app3"))


def test_trust_is_for_users_of_auth_file_only(broker):
    b = started(broker, "host all all all trust\n")
    assert login(b, password=None) == "app"
    assert refusal(b, user="nobody_here", password=None).sqlstate == "28P01"


@pytest.mark.parametrize("method", ["password", "md5", "scram-sha-256"])
def test_an_unknown_user_reads_as_a_wrong_password(broker, method):
    """T3."""
    b = started(broker, f"host all all all {method}\n")
    wrong = transcript(b, "app", "wrong")
    assert wrong[-1][1]["C"] == "28P01"
    assert transcript(b, "nobody_here", "wrong") == wrong


def test_an_unknown_database_is_told_after_the_password(broker):
    b = started(broker, "host all all all scram-sha-256\n")
    assert refusal(b, database="none", password="wrong").sqlstate == "28P01"
    assert refusal(b, database="none").sqlstate == "3D000"


# Which rule -----------------------------------------------------------------------------------------------------------

@pytest.mark.short
def test_the_first_rule_decides(broker):
    """A rule that fits ends the search, whatever comes of it."""
    b = started(broker, CONSOLE + "host e2e app all scram-sha-256\nhost all app all trust\nhost e2e app2 all reject\n"
                                  "host all app2 127.0.0.1/32 trust\nlocal sameuser all trust\nhostssl all app3 all trust\n")
    assert refusal(b, password="wrong").sqlstate == "28P01"
    assert login(b) == "app"
    assert login(b, database="e2e2", password=None) == "app"
    assert refusal(b, user="app2").text == \
        'pg_hba.conf rejects connection for host "127.0.0.1", user "app2", database "e2e", no encryption'
    assert login(b, user="app2", database="e2e2", password=None) == "app2"
    assert refusal(b, user="app3").sqlstate == "28000", "hostssl fits nobody without TLS"
    error = refusal(b, local=True)
    assert (error.sqlstate, error.text) == \
        ("28000", 'no pg_hba.conf entry for host "[local]", user "app", database "e2e", no encryption')
    ends = {row["reason"]: int(row["count"]) for row in b.console("SHOW DISCONNECTS")}
    assert ends["refused_by_hba"] == 3


def test_the_log_says_which_line_and_why(broker):
    """What the client must not learn (T3): the operator finds it at the usual verbosity."""
    b = started(broker, CONSOLE + "host e2e app2 all reject\nhost e2e all all scram-sha-256\nlocal all app peer\n")
    for who, why in ((dict(user="app", password="wrong"), "wrong password, {}:3"),
                     (dict(user="nobody_here", password="wrong"), "no such user, {}:3"),
                     (dict(user="app2"), "{}:2"), (dict(user="app", database="e2e2"), "no line fits of {}"),
                     (dict(user="app", local=True), None)):
        said = refusal(b, **who).fields
        assert "hba.conf:" not in str(said) and "D" not in said, "not for the client"
        why = why and f"({why.format(b.hba)})"
        text = said["M"] + " " + (why or '(it is "')
        eventually(lambda: any("WARNING" in line and text in line for line in b.log.splitlines()), text)
    assert re.search(rf'it is "[^"]+" who is there, {re.escape(str(b.hba))}:4\)', b.log)


def test_no_rule_reads_as_in_postgres(broker, postgres):
    b = started(broker, CONSOLE)
    with pytest.raises(Refused) as there:
        Raw(postgres.port).login("no_such_user", "e2e")
    here = refusal(b, user="no_such_user")
    assert (here.sqlstate, here.text) == (there.value.sqlstate, there.value.text)


def test_files_of_names(broker):
    b = started(broker, "host @dbs @users all trust\n",
                files={"dbs": 'e2e, "other"\n', "users": "# team\napp\n@more\n", "more": "app3"})
    assert [login(b, user, None) for user in ("app", "app3")] == ["app", "app3"]
    assert refusal(b, user="app2").sqlstate == "28000"
    assert refusal(b, database="e2e2").sqlstate == "28000"


def test_replication_is_no_database(broker):
    """`all` does not let physical replication in; replication=database is a connection to its database."""
    b = started(broker, "host all app all trust\nhost replication app2,postgres all trust\n",
                userlist={"app": "", "app2": "", "postgres": ""})
    with b.connect(b.session_port, "postgres", replication="true") as c:
        assert wire.rows(c.query("IDENTIFY_SYSTEM"))
    error = refusal(b, password=None, port=b.session_port, replication="true")
    assert (error.sqlstate, error.text) == \
        ("28000", 'no pg_hba.conf entry for replication connection from host "127.0.0.1", user "app", no encryption')
    assert refusal(b, user="app2", password=None, port=b.session_port).sqlstate == "28000"
    assert refusal(b, user="app2", password=None, port=b.session_port, replication="database").sqlstate == "28000"


def test_a_rule_for_replication_opens_nothing_else(broker):
    """Neither the console, whatever its clients ask for, nor a database, in any spelling of false."""
    b = started(broker, "host replication all all trust\nhost all all all scram-sha-256\n",
                userlist={"app": PASSWORD, "admin": PASSWORD})
    for name in ("pgbouncer", "pgberth"):
        assert refusal(b, "admin", "wrong", database=name, port=b.listen_port, replication="true").sqlstate == "28P01"
    for value in ("f", "FALSE", "off", "oF", "n", "No", "0"):
        assert login(b, port=b.session_port, replication=value) == "app"
        assert refusal(b, password="wrong", port=b.session_port, replication=value).sqlstate == "28P01"


@pytest.mark.parametrize("value", ["o", "2", "falsehood", "Database", "on "])
def test_replication_is_read_as_postgresql_reads_it(broker, postgres, value):
    with pytest.raises(Refused) as there:
        Raw(postgres.port).login("app", "e2e", replication=value)
    b = started(broker, "host all all all trust\nhost replication all all trust\n")
    here = refusal(b, password=None, port=b.session_port, replication=value)
    assert (here.sqlstate, here.text) == (there.value.sqlstate, there.value.text)


def test_the_console_by_either_name(broker):
    """A rule for the console holds for its second name, and its owner needs none."""
    b = started(broker, "host pgbouncer admin all reject\nhost all all all trust\n")
    for name in ("pgbouncer", "pgberth"):
        assert refusal(b, user="admin", password=None, database=name, port=b.listen_port).sqlstate == "28000"
    url = f"host={b.root} port={b.listen_port} user=pgbouncer dbname=pgbouncer"
    done = subprocess.run([str(PG_BIN / "psql"), "-X", "-A", "-t", url, "-c", "show version"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60, cwd="/", env=client_environment(), **as_service_user())
    assert done.returncode == 0, done.stderr


# Peer -----------------------------------------------------------------------------------------------------------------

def test_peer_without_a_map(broker):
    """The system's user must be the user; the kernel says who it is, not the client."""
    me = pwd.getpwuid(os.getuid()).pw_name
    b = started(broker, "local all all peer\n", userlist={"app": "", me: ""})
    refused = refusal(b, local=True, password=None)
    assert (refused.sqlstate, refused.text) == ("28000", 'Peer authentication failed for user "app"')
    unknown = refusal(b, user="nobody_here", local=True, password=None)
    assert (unknown.sqlstate, unknown.text) == ("28000", 'Peer authentication failed for user "nobody_here"')
    assert refusal(b, database="none", user=me, local=True, password=None).sqlstate == "3D000", "it was let in"


@pytest.mark.skipif(os.getuid() != 0, reason="needs to become other users")
def test_peer_with_a_map(broker):
    b = started(broker, "local all app,app2 peer map=ops\nlocal all all peer\n",
                ident="ops nobody app\nops daemon all\nother postgres app\n")
    assert psql_as("nobody", b, "app") == "app"
    assert 'Peer authentication failed for user "app2"' in psql_as("nobody", b, "app2", fails=True)
    assert [psql_as("daemon", b, user) for user in ("app", "app2")] == ["app", "app2"]
    assert 'Peer authentication failed for user "app"' in psql_as("postgres", b, "app", fails=True), "another map's line"
    assert 'Peer authentication failed for user "app3"' in psql_as("daemon", b, "app3", fails=True), "a rule without a map"


def test_a_user_must_be_in_auth_file_for_peer(broker):
    me = pwd.getpwuid(os.getuid()).pw_name
    b = started(broker, "local all all peer\n", userlist={"app": ""})
    assert refusal(b, user=me, local=True, password=None).text == f'Peer authentication failed for user "{me}"'


# Files with mistakes --------------------------------------------------------------------------------------------------

def test_a_file_with_mistakes_does_not_start(broker):
    """T20, T25: every line that cannot be obeyed, with file, line and reason; --check says the same."""
    made = prepared(broker, "# one\nhost all all all ldap\nlocal all all trust\nlocal all +dbas peer\n"
                            "host all all samenet md5\nlocal all all peer map=x\nhost all all all cert\n",
                    ident="x y\n")
    made.settings["listen_port"] = 6432
    made.write_files()
    for arguments in ((made.ini,), ("--check", made.ini)):
        status, text = run(made, *arguments)
        text += made.log
        assert status == 1
        for line, reason in ((2, "ldap needs ldapbasedn"), (4, "+dbas is not supported"),
                             (5, "samenet is not supported"), (6, "auth_ident_file has no such map"),
                             (7, "cert works for hostssl only")):
            assert f"{made.hba}:{line}: " in text and reason in text, (line, text)
        assert f"{made.root}/ident.conf:1: expected three words" in text
    write(made.hba, "local all all trust\n")
    write(made.root / "ident.conf", "")
    assert run(made, "--check", made.ini) == (0, f"{made.ini}: fine\n")


def test_a_file_that_is_absent_or_empty_does_not_start(broker):
    made = prepared(broker, "# nothing\n")
    made.settings["listen_port"] = 6432
    made.write_files()
    status, text = run(made, "--check", made.ini)
    assert status == 1 and f"{made.hba}: it has no rule" in text
    made.hba.unlink()
    status, text = run(made, "--check", made.ini)
    assert status == 1 and f'cannot read "{made.hba}"' in text


@pytest.mark.short
@pytest.mark.parametrize("how", ["RELOAD", "SIGHUP"])
def test_reload(broker, how):
    """New rules count for new logins; a file with a mistake leaves those that run, and the log says why."""
    b = started(broker, CONSOLE + "host all app all trust\n")

    def reload(rules):
        write(b.hba, rules)
        if how == "SIGHUP":
            b.signal(signal.SIGHUP)
            return ""
        answer = b.console.connection.query("RELOAD")
        return "".join(error.text for error in wire.errors(answer))

    kept = b.connect()
    assert reload(CONSOLE + "host all app all reject\nhost all app2 all trust\n") == ""
    eventually(lambda: "auth_hba_file: changed, 3 rules now" in b.log, "the new rules")
    assert refusal(b, password=None).sqlstate == "28000"
    assert login(b, "app2", None) == "app2"
    assert kept.value("select 1") == "1", "who is in stays"

    said = reload(CONSOLE + "host all app all trust\nhost all all all gss\nhost all app2 all reject\n")
    eventually(lambda: "reload failed, the running configuration stays" in b.log, "the refusal")
    assert f"{b.hba}:3: method gss is not supported" in b.log
    assert how == "SIGHUP" or said.startswith("RELOAD failed")
    assert refusal(b, password=None).sqlstate == "28000"
    assert login(b, "app2", None) == "app2"

    assert reload(CONSOLE + "host all app all trust\n") == ""
    eventually(lambda: "auth_hba_file: changed, 2 rules now" in b.log, "the corrected rules")
    assert login(b, password=None) == "app"
    kept.terminate()


def test_set_reads_no_rules(broker):
    b = started(broker, CONSOLE + "host all app all reject\n")
    answer = b.console.connection.query(f"SET auth_hba_file = '{b.root}/other'")
    assert wire.errors(answer)[0].text == "SET failed"
    assert refusal(b).sqlstate == "28000"


# What servers are logged in to with -----------------------------------------------------------------------------------

def test_an_older_clear_password_does_not_go_before_a_newer_md5_secret(broker, postgres):
    """One client tells the password, another one only proves that it has it; between their logins the password changes."""
    rules = CONSOLE + "local e2e md5er password\nhost e2e md5er 127.0.0.1/32 md5\n"
    b = prepared(broker, rules, userlist={"md5er": scram.md5("md5er", "md5erpw"), "admin": ""}).start()
    assert login(b, "md5er", "md5erpw", local=True) == "md5er"
    try:
        b.userlist["md5er"] = scram.md5("md5er", "new")
        postgres.sql(f"alter role md5er password '{b.userlist['md5er']}'")
        b.reload()
        b.console("RECONNECT")
        assert login(b, "md5er", "new") == "md5er"
    finally:
        postgres.sql(f"alter role md5er password '{scram.md5('md5er', 'md5erpw')}'")
