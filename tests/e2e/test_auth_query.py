"""auth_user, auth_query, auth_dbname: users who are not in auth_file, whose secrets PostgreSQL is asked for."""

import socket

import pytest

from harness import raw, scram, wire
from harness.postgres import Postgres
from harness.raw import Raw, Refused
from harness.system import eventually, write
from test_auth import transcript

pytestmark = pytest.mark.ours

SECRETS = {"md5": scram.md5("ann", "annpw"), "scram": scram.secret("annpw")}
WEIRD = ['we"ird', "o'brien", "né e", "$1", "x" * 63, "\\", "--", "ДБ"]
AUTH_BACKENDS = "application_name = 'pgberth auth_query'"

# In place of the extension's function in C: as that one, another number once any role has changed.
STAND_IN = """
create schema if not exists berth;
create or replace function berth.role_generation() returns bigint language sql security definer as
  $$ select sum(hashtextextended(a::text, 0))::numeric % 1000000007 from pg_authid a $$;
grant usage on schema berth to public; grant execute on all functions in schema berth to public;
"""
# A lookup that keeps a diary, and can be held up by a lock on it.
DIARY = """
create table diary (who text, search_path text, application text, encoding text, backend int);
create function lookup(who text, out name text, out secret text) language plpgsql security definer as $$
begin
  insert into public.diary values (who, pg_catalog.current_setting('search_path'), pg_catalog.current_setting('application_name'),
                                   pg_catalog.current_setting('client_encoding'), pg_catalog.pg_backend_pid());
  select rolname, rolpassword into name, secret from pg_catalog.pg_authid where rolname = who and rolcanlogin;
end $$;
grant execute on function lookup to public;
"""
LOOKUP = "select name, secret from public.lookup($1)"


@pytest.fixture(scope="module")
def server():
    """Every role but those of the harness has to give a password. `looker` is no superuser and may read pg_authid."""
    cluster = Postgres()
    with open(cluster.data / "pg_hba.conf", "a") as hba:
        hba.write("local all all md5\nhost all all 127.0.0.1/32 md5\n")
    cluster.sql("select pg_reload_conf()")
    cluster.sql(f"create role looker login password '{scram.secret('lookerpw')}'")
    for database in ("e2e", "e2e2"):
        cluster.sql("grant select on pg_authid to looker", database)
    cluster.sql(DIARY, "e2e")
    eventually(lambda: cluster.sql("select count(*) from pg_hba_file_rules where user_name = '{all}'")[0][0] != "0", "the rules are there")
    yield cluster
    cluster.remove()


@pytest.fixture(autouse=True)
def roles(server):
    """ann, with her password as SCRAM; others are the test's own."""
    server.sql("drop role if exists ann; create role ann login")
    server.sql(f"alter role ann password '{SECRETS['scram']}'")
    server.sql("truncate diary; drop schema if exists berth cascade", "e2e")
    yield
    server.end_backends()


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def lookers(b):
    return {row["database"]: {k: int(v) if v.isdigit() else v for k, v in row.items()} for row in b.console("SHOW AUTH_QUERY")}


def told(b, database="e2e", **expected):
    """SHOW AUTH_QUERY says so; it may be a moment late."""
    def same():
        row = lookers(b).get(database, {})
        return all(row.get(k) == v for k, v in expected.items()) and row
    return eventually(same, f"SHOW AUTH_QUERY tells {expected}")


@pytest.fixture
def asking(broker, server):
    """A broker that has `looker` look up who is not in its file."""
    def start(**settings):
        settings = {"auth_type": "scram-sha-256", "auth_user": "looker", "admin_users": "admin", **settings}
        userlist = {"looker": "lookerpw", "admin": "adminpw", **settings.pop("userlist", {})}
        return broker(server=settings.pop("server", server), userlist=userlist, **settings)
    return start


def login(b, user="ann", password="annpw", database="e2e", port=None, **params):
    with b.connect(port or b.transaction_port, user, database, password, **params) as c:
        return c.value("select current_user")


def refusal(b, user="ann", password="annpw", database="e2e", port=None):
    return raw.refusal(port or b.transaction_port, user, password, database)


def wrong_password(*args, **kwargs):
    assert refusal(*args, **kwargs).sqlstate == "28P01"


def cannot_be_looked_up(b, *args, **kwargs):
    """The client learns no more than that; the log says why."""
    error = refusal(b, *args, **kwargs)
    assert (error.sqlstate, error.text) == ("57P03", "auth_query failed: the user cannot be looked up")
    assert set(error.fields) <= set("SVCMFLR")


def start_login(b, user, database="e2e", **params):
    return Raw(b.transaction_port).startup(user=user, database=database, **params)


def diary(server):
    return server.sql("select who, search_path, application, encoding from diary", "e2e")


# Methods and secrets --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("auth_type, kind", [("plain", "md5"), ("plain", "scram"), ("md5", "md5"), ("md5", "scram"),
                                             ("scram-sha-256", "scram")])
def test_methods_and_secrets(asking, server, auth_type, kind):
    """T3: whoever is looked up logs in as those of auth_file do, at the broker and at the server; the unknown user reads as a
    wrong password, message for message."""
    server.sql(f"alter role ann password '{SECRETS[kind]}'")
    b = asking(auth_type=auth_type)
    assert login(b) == "ann"
    assert login(b, port=b.session_port) == "ann"
    for wrong in ("wrong", "", "annpw ", SECRETS[kind]):
        wrong_password(b, password=wrong)
    wrong_password(b, user="nobody_here")
    for wrong in ("wrong", ""):
        assert transcript(b, "nobody_here", wrong) == transcript(b, "ann", wrong)
    assert transcript(b, "nobody_here", "x", "no_such_db") == transcript(b, "ann", "x")
    assert login(b) == "ann"


def test_nothing_of_the_environment(broker, server):
    """libpq's variables and files of passwords: the broker connects with what its configuration says, and with nothing else."""
    b = broker(launch=False, server=server, auth_type="scram-sha-256", auth_user="looker", userlist={"looker": "lookerpw"})
    found = write(b.root / ".pgpass", "*:*:*:looker:lookerpw\n")
    found.chmod(0o600)
    b.environment = {"HOME": str(b.root), "PGPASSFILE": str(found), "PGOPTIONS": "-c role=nobody_here", "PGREQUIREPEER": "nobody",
                     "PGSERVICE": "none", "PGSSLMODE": "verify-full", "PGPASSWORD": "lookerpw"}
    b.start()
    assert login(b) == "ann"
    b.stop()
    b.userlist = {"looker": ""}
    b.write_files()
    b.start()
    cannot_be_looked_up(b)


def test_clear_secrets(asking, server):
    """From a table of the operator's own. A hash does not serve for SCRAM if it is md5."""
    server.sql("drop table if exists people; create table people (name text, secret text); insert into people values ('ann', 'annpw')",
               "e2e")
    server.sql("grant select on people to looker", "e2e")
    b = asking(auth_query="select name, secret from people where name = $1")
    assert login(b) == "ann"
    wrong_password(b, password="people")
    server.sql(f"update people set secret = '{SECRETS['md5']}'", "e2e")
    wrong_password(b)


def test_first_unknown_user_looks_like_postgresql_makes_secrets(asking):
    """T3: before anybody was found."""
    b = asking(auth_type="md5")
    before = transcript(b, "nobody_here", "x")
    assert before == transcript(b, "ann", "x")


def test_trust_still_wants_a_user(asking, server):
    server.sql("alter role app password 'x'")  # trusted by PostgreSQL, too
    b = asking(auth_type="trust")
    assert login(b, "app", "") == "app"
    wrong_password(b, user="nobody_here", password="")


def test_hba_decides_the_method(asking, server, broker):
    made = asking(auth_type="hba", launch=False)
    made.settings["auth_hba_file"] = str(made.root / "hba.conf")
    (made.root / "hba.conf").write_text("host pgbouncer admin 127.0.0.1/32 trust\nhost e2e ann 127.0.0.1/32 scram-sha-256\n"
                                        "host e2e2 ann 127.0.0.1/32 reject\nhost all all 127.0.0.1/32 password\n")
    made.start()
    assert login(made) == "ann"
    assert refusal(made, database="e2e2").sqlstate == "28000"
    wrong_password(made, user="nobody_here")
    told(made, queries=2)
    assert lookers(made).keys() == {"e2e"}  # who is rejected is not looked up


def test_auth_file_goes_first(asking):
    b = asking(auth_type="md5", userlist={"ann": "another"})
    wrong_password(b)
    assert lookers(b) == {}


# Who may not ----------------------------------------------------------------------------------------------------------

def test_who_may_not(asking, server):
    """No password, an expired one (T5), and no right to log in read like a wrong password."""
    server.sql("create role bare login; create role late login valid until '2020-01-01'; create role group_ nologin")
    server.sql(f"alter role late password '{SECRETS['scram']}'; alter role group_ password '{SECRETS['scram']}'")
    try:
        b = asking()
        for user in ("bare", "late", "group_"):
            wrong_password(b, user=user)
            wrong_password(b, user=user, password="")
        for end in ("infinity", "294276-12-31"):  # PostgreSQL's last day is farther from 1970 than 64 bits count microseconds
            server.sql(f"alter role late valid until '{end}'")
            assert login(b, "late") == "late"
    finally:
        server.sql("drop role bare; drop role late; drop role group_")


def test_valid_until_ends_while_it_is_remembered(asking, server):
    """T5: by time alone, no role changes."""
    server.sql(STAND_IN, "e2e")
    server.sql("do $$ begin execute format('alter role ann valid until %L', clock_timestamp() + interval '1500 ms'); end $$")
    b = asking()
    assert login(b) == "ann"
    told(b, cache="extension")
    eventually(lambda: server.value("select rolvaliduntil < clock_timestamp() from pg_roles where rolname = 'ann'") == "t",
               "the password expires")
    wrong_password(b)


# T6 -------------------------------------------------------------------------------------------------------------------

def test_no_parameter_of_a_client_is_looked_up_with(asking, server):
    """T6: its search_path, encoding and application_name stay its own."""
    b = asking(auth_query=LOOKUP)
    with b.connect(user="ann", password="annpw", options="-c search_path=evil", application_name="evil",
                   client_encoding="LATIN1") as c:
        assert c.value("show search_path") == "evil"
    assert diary(server) == [["ann", "pg_catalog,public,pg_temp", "pgberth auth_query", "UTF8"]]


def test_nobody_gets_between(asking, server):
    """T6: tables, functions and operators that shadow PostgreSQL's, where the default and an unqualified query would find them."""
    server.sql(f"""create role mallory login;
      create table public.pg_authid (rolname name, rolpassword text, rolvaliduntil timestamptz, rolcanlogin bool);
      insert into public.pg_authid values ('ann', '{scram.secret("mallory")}', null, true);
      create function public.yes(name, text) returns bool language sql as 'select true';
      create function public.yes(name, name) returns bool language sql as 'select true';
      create operator public.= (leftarg = name, rightarg = text, function = public.yes);
      create operator public.= (leftarg = name, rightarg = name, function = public.yes);
      create function public.now() returns timestamptz language sql as $$ select '1900-01-01'::timestamptz $$;
      grant all on public.pg_authid to public""", "e2e")
    try:
        for query in (None, "SELECT rolname, rolpassword FROM pg_authid WHERE rolname=$1"):
            b = asking(**({"auth_query": query} if query else {}))
            for path in ("public", "public, pg_catalog"):
                with pytest.raises(Refused) as failure:
                    b.connect(user="ann", password="mallory", options="-c search_path=" + path.replace(" ", "\\ "))
                assert failure.value.sqlstate == "28P01"
            assert login(b) == "ann"
    finally:
        server.sql("drop table public.pg_authid; drop operator public.= (name, text), public.= (name, name); drop role mallory; "
                   "drop function public.yes(name, text), public.yes(name, name), public.now()", "e2e")


@pytest.mark.parametrize("workers", [1, 2])
def test_names(asking, server, workers):
    """Any name that PostgreSQL allows, as a parameter; what is no text is no user."""
    b = asking(workers=workers)
    for name in WEIRD:
        server.sql(f"create role {quoted(name)} login password '{scram.secret('pw')}'")
    try:
        for name in WEIRD:
            assert login(b, name, "pw") == name
            wrong_password(b, user=name + "x" if len(name) < 60 else name[:-1], password="pw")
        with pytest.raises(Refused) as failure:
            c = Raw(b.transaction_port)
            c.send(wire.startup({"user": b"\xff\xfe", "database": "e2e"}))
            c.finish_login("x", "x")
        assert failure.value.sqlstate == "28P01"
    finally:
        for name in WEIRD:
            server.sql(f"drop role {quoted(name)}")


# Where and as whom ----------------------------------------------------------------------------------------------------

def test_each_database_may_have_its_own(asking, server):
    at = f"host={server.sockets} port={server.port}"
    server.sql("create or replace function only_ann(who text, out name text, out secret text) language sql as "
               "$$ select 'ann', 'from_e2e2' $$", "e2e2")
    b = asking(auth_user="", databases={
        "e2e": f"{at} dbname=e2e auth_user=looker",
        "other": f"{at} dbname=e2e auth_user=app auth_query='select name, secret from only_ann($1)' auth_dbname=e2e2",
        "closed": f"{at} dbname=e2e",
        "e2e2": f"{at} dbname=e2e2"})
    assert login(b) == "ann"
    wrong_password(b, password="from_e2e2")
    wrong_password(b, database="closed")
    wrong_password(b, database="other")
    with pytest.raises(Refused) as failure:  # the broker lets her in, PostgreSQL has another password
        b.connect(user="ann", password="from_e2e2", database="other")
    assert failure.value.sqlstate == "28P01" and "ann" in failure.value.text
    told(b, "e2e2", user="app", server_database="e2e2")
    told(b, "e2e", user="looker", server_database="e2e")
    assert lookers(b).keys() == {"e2e", "e2e2"}


def test_console(asking, server):
    """T16: users of the console are looked up in auth_dbname, and admin_users says who is one."""
    b = asking(admin_users="admin, ann", auth_dbname="e2e2")
    with Raw(b.listen_port) as c:
        c.login("ann", "pgbouncer", "annpw")
        assert wire.rows(c.query("SHOW VERSION"))
    wrong_password(b, database="pgbouncer", password="x")
    told(b, "e2e2", queries=2)
    assert lookers(b).keys() == {"e2e2"}
    wrong_password(b, user="nobody_here", database="pgbouncer")
    server.sql(f"drop role if exists plain_user; create role plain_user login password '{SECRETS['scram']}'")
    assert refusal(b, user="plain_user", database="pgbouncer").sqlstate == "28000"
    server.sql("drop role plain_user")
    b = asking(admin_users="admin, ann")
    wrong_password(b, database="pgbouncer")


def test_the_console_says_which_query_and_which_database_is_missing(asking, server):
    b = asking(databases={"e2e": f"host={server.sockets} port={server.port}",
                          "own": f"host={server.sockets} port={server.port} dbname=e2e auth_query='{LOOKUP}' auth_dbname=nowhere",
                          "e2e2": f"host={server.sockets} port={server.port} auth_query='{LOOKUP}' auth_dbname=e2e"})
    assert login(b) == "ann"
    told(b, "e2e", query="default")
    cannot_be_looked_up(b, database="own")
    wrong_password(b, database="made_up")
    why = 'auth_dbname: database "nowhere" is not configured'
    told(b, "nowhere", state="missing", failures=1, error=why)
    assert lookers(b).keys() == {"e2e", "nowhere"}
    assert login(b, database="e2e2") == "ann"
    rows = lambda: {(row["database"], row["query"]) for row in b.console("SHOW AUTH_QUERY")}
    eventually(lambda: rows() == {("e2e", "default"), ("e2e", LOOKUP), ("nowhere", "")}, "each query has its row")
    b.reload()
    eventually(lambda: "nowhere" not in lookers(b), "a reload may have configured it")


def test_disabled(asking):
    """DISABLE of auth_dbname, as in PgBouncer: nobody is looked up there, also if she is remembered."""
    b = asking(auth_dbname="e2e2", auth_query_cache_ttl=3600)
    assert login(b) == "ann"
    b.console("DISABLE e2e2")
    error = refusal(b)
    assert (error.sqlstate, error.text) == ("57P03", "authentication database is disabled")
    assert 'authentication database "e2e2" is disabled' in b.log
    assert login(b, "looker", "lookerpw") == "looker", "who is in auth_file needs no lookup"
    b.console("ENABLE e2e2")
    assert login(b) == "ann"


def test_database_that_the_server_does_not_have(asking, server):
    """With the entry *, a name that a stranger made up reads like a wrong password."""
    b = asking(databases={"*": f"host={server.sockets} port={server.port}"})
    wrong_password(b, database="no_such_database")
    assert login(b) == "ann"


def test_made_up_databases_displace_no_real_one(asking, server):
    """With the entry *, whose server says nothing: those who ask for names that strangers make up wait, the first ones for its
    answer, the others for them; and a database that has answered keeps its connections and what it remembers."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as silent:
        b = asking(auth_query_cache_ttl=3600, server_connect_timeout=3600, query_wait_timeout=1, databases={
            "e2e": f"host={server.sockets} port={server.port}",
            "*": f"host=127.0.0.1 port={silent.getsockname()[1]}"})
        assert login(b) == "ann"
        strangers = [start_login(b, "ann", f"made_up_{n}") for n in range(150)]
        eventually(lambda: len(lookers(b)) == 33, "32 of them are asked for")
        assert login(b) == "ann"
        told(b, queries=1, hits=1)
        reasons = set()
        for c in strangers:
            with pytest.raises(Refused) as failure:
                c.finish_login("ann", "annpw")
            reasons.add((failure.value.sqlstate, failure.value.text))
        assert reasons <= {("57P03", "auth_query failed: the user cannot be looked up"),
                           ("53300", "auth_query waits for too many other databases: the user cannot be looked up now")}
        assert login(b) == "ann"


def test_made_up_databases_do_not_fill_the_log(asking, server):
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        b = asking(databases={"*": f"host=127.0.0.1 port={deaf.getsockname()[1]}"})
        for n in range(150):
            cannot_be_looked_up(b, database=f"made_up_{n}")
        assert 10 <= b.log.count("made_up_") <= 150  # up to three lines for each, else


def test_reload(asking, server):
    """Another query, another user and another password count at once, and nothing is remembered."""
    server.sql(STAND_IN, "e2e")
    b = asking()
    assert login(b) == "ann" and login(b) == "ann"
    told(b, queries=1, hits=1)
    b.reload()
    assert login(b) == "ann"
    told(b, queries=2, hits=1)
    b.settings["auth_query"] = "select rolname, null from pg_roles where rolname = $1"
    b.reload()
    wrong_password(b)
    b.settings["auth_query"] = None
    b.userlist["looker"] = "changed"
    server.sql("alter role looker password 'changed'")
    try:
        b.reload()
        assert login(b) == "ann"
    finally:
        server.sql(f"alter role looker password '{scram.secret('lookerpw')}'")


# When it cannot be known ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("query, why", [
    ("select rolname from pg_roles where rolname = $1", "returns 1 columns, not 2"),
    ("select rolname, '' , '' from pg_roles where rolname = $1", "returns 3 columns, not 2"),
    ("select $1, 'annpw' from generate_series(1, 2)", "returns more than one row"),
    ("select $1, 'annpw' from generate_series(1, 100000)", "returns more than one row"),
    ("select 'app', 'annpw' where $1 <> ''", "returns another user"),
    ("select $1, 1/0", "division by zero"),
    ("select nothing from nowhere where a = $1", "does not exist"),
    ("set application_name to x", ""),
])
def test_query_that_fails(asking, query, why):
    b = asking(auth_query=query)
    cannot_be_looked_up(b)
    cannot_be_looked_up(b, user="nobody_here")
    assert why in told(b, failures=2)["error"] and why in b.log


def test_no_row_and_no_name_are_no_user(asking):
    for query in ("select 'ann', 'annpw' where $1 = ''", "select null, 'annpw' where $1 <> ''"):
        wrong_password(asking(auth_query=query))


def test_server_that_is_down(asking, server, own_postgres):
    """Nobody is let in or called unknown while it is down; afterwards it goes on by itself."""
    own_postgres.sql(f"create role ann login password '{SECRETS['scram']}'")
    b = asking(server=own_postgres, auth_user="postgres", server_login_retry=1)
    with open(own_postgres.data / "pg_hba.conf", "a") as hba:
        hba.write("local all all md5\n")
    own_postgres.sql("select pg_reload_conf()")
    assert eventually(lambda: login(b), "she is let in") == "ann"
    own_postgres.stop()
    cannot_be_looked_up(b)
    cannot_be_looked_up(b, user="nobody_here")
    assert told(b, state="waiting")["error"]
    own_postgres.start()
    assert login(b) == "ann"
    own_postgres.sql(f"select pg_terminate_backend(pid) from pg_stat_activity where {AUTH_BACKENDS}")
    assert login(b) == "ann"


# Many at once ---------------------------------------------------------------------------------------------------------

class Held:
    """While it lasts no lookup comes to an end."""

    def __init__(self, server):
        self.server = server

    def __enter__(self):
        self.lock = self.server.connect(database="e2e")
        self.lock.query("begin; lock table diary")
        return self

    def release(self):
        if self.lock:
            self.lock.terminate()
            self.lock = None

    def __exit__(self, *_):
        self.release()


def finished(b, held, clients, users, waiting):
    """Lets go once all of them wait, and logs all in."""
    told(b, waiting=waiting)
    held.release()
    for c, user in zip(clients, users):
        c.finish_login(user, "pw" if user != "ann" else "annpw")
    for c in clients:
        c.close()


@pytest.mark.short
def test_logins_of_one_user_share_a_query(asking, server):
    """200 at once are two queries: the one under way when the others came may be older than they are."""
    b = asking(auth_query=LOOKUP)
    assert login(b) == "ann"
    with Held(server) as held:
        clients = [start_login(b, "ann") for _ in range(200)]
        finished(b, held, clients, ["ann"] * 200, 200)
    assert [row[0] for row in diary(server)] == ["ann"] * 3
    told(b, queries=3, connections=1)


@pytest.mark.short
def test_storm_of_users_has_few_connections(asking, server):
    users = [f"storm{n}" for n in range(60)]
    server.sql("; ".join(f"create role {u} login password '{scram.secret('pw', 1)}'" for u in users))
    try:
        b = asking(auth_query=LOOKUP, workers=2, server_idle_timeout=1)
        with Held(server) as held:
            clients = [start_login(b, user) for user in users]
            told(b, waiting=len(users))
            told(b, connections=2)
            finished(b, held, clients, users, len(users))
        assert sorted(row[0] for row in diary(server)) == sorted(users)
        assert len(server.sql("select distinct backend from diary", "e2e")) <= 2
        eventually(lambda: not server.backends(where=AUTH_BACKENDS), "what is not needed is closed")
    finally:
        server.end_backends()
        server.sql("; ".join(f"drop role {u}" for u in users))


@pytest.mark.short
def test_clients_that_leave_or_wait_too_long(asking, server):
    """Meanwhile a parked login may go, and ends after client_login_timeout."""
    b = asking(auth_query=LOOKUP, client_login_timeout=2)
    with Held(server) as held:
        gone = start_login(b, "ann")
        torn = start_login(b, "ann")
        patient = start_login(b, "ann")
        told(b, waiting=3)
        gone.close()
        torn.send(wire.terminate())
        with pytest.raises(Refused) as failure:
            patient.finish_login("ann", "annpw")
        assert failure.value.text == "client_login_timeout"
        held.release()
    assert login(b) == "ann"


@pytest.mark.short
def test_nobody_is_looked_up_for_those_who_have_left(asking, server):
    """One address that connects, makes a name up and leaves, again and again."""
    b = asking(auth_query=LOOKUP, workers=1)
    with Held(server) as held:
        first = start_login(b, "ann")
        told(b, waiting=1, queries=1)
        others = [start_login(b, "looker2"), start_login(b, "looker3")]  # the other connection, and one who waits
        told(b, waiting=3, queries=2)
        for n in range(100):
            start_login(b, f"made_up_{n}").close()
        eventually(lambda: len(b.clients()) <= 3 + 1, "they have left")  # and the console
        last = start_login(b, "ann")
        eventually(lambda: lookers(b)["e2e"]["waiting"] >= 4, "it waits")
        held.release()
        for c in (first, last):
            c.finish_login("ann", "annpw")
        for n, c in enumerate(others):
            with pytest.raises(Refused):
                c.finish_login(f"looker{n + 2}", "x")
    told(b, waiting=0)
    assert sorted(row[0] for row in diary(server)) == ["ann", "ann", "looker2", "looker3"]
    for c in (first, last):
        c.close()


# What is remembered ---------------------------------------------------------------------------------------------------

@pytest.mark.short
def test_changed_passwords_count_at_once(asking, server):
    """With the extension: remembered while no role changes, and never longer."""
    server.sql(STAND_IN, "e2e")
    b = asking()
    for n in range(12):
        server.sql(f"alter role ann password '{scram.secret(f'pw{n}', 1)}'")
        wrong_password(b, password=f"pw{n - 1}")
        assert login(b, password=f"pw{n}") == "ann"
        assert login(b, password=f"pw{n}") == "ann"
    told(b, cache="extension", queries=12, hits=24)
    server.sql("alter role ann nologin")
    wrong_password(b, password="pw11")


def test_an_older_clear_password_does_not_go_before_newer_keys(asking, server):
    """The password is changed between a login that tells it and one that proves it."""
    made = asking(auth_type="hba", launch=False)
    made.settings["auth_hba_file"] = str(made.root / "hba.conf")
    (made.root / "hba.conf").write_text("local e2e ann password\nhost e2e ann 127.0.0.1/32 scram-sha-256\n"
                                        "host pgbouncer admin 127.0.0.1/32 trust\n")
    made.start()
    with Raw(made.transaction_port, str(made.root)).login("ann", "e2e", "annpw") as c:
        assert c.value("select current_user") == "ann"
    server.sql(f"alter role ann password '{scram.secret('newpw')}'")
    made.console("RECONNECT")
    assert login(made, password="newpw") == "ann"


def test_nothing_is_remembered_without_the_extension(asking, server):
    b = asking()
    for n in range(4):
        assert login(b) == "ann"
    told(b, cache="none", cached=0, queries=4)


def test_time_to_live(asking, server):
    """auth_query_cache_ttl: an old password lets in for so long; a new one is refused once, and then known."""
    b = asking(auth_query_cache_ttl=3600)
    assert login(b) == "ann" and login(b) == "ann"
    told(b, cache="time", queries=1, hits=1)
    server.sql(f"alter role ann password '{scram.secret('new')}'")
    wrong_password(b, password="new")
    assert login(b, password="new") == "ann"
