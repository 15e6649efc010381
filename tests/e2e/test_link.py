"""The link: the broker registers itself in the databases that have the extension, and the extension's login at the console.

Here the extension is a stand-in: the table and functions of its registration, as plain SQL. What the views make of it is
tested with the extension.
"""

import re
import shutil
import signal
import socket
import subprocess

import pytest

from harness import psql, wire
from harness.fake_server import FakeServer, data_row, random_salt, row_description
from harness.postgres import Postgres
from harness.raw import Closed, Raw, Refused
from harness.system import PG_BIN, eventually, free_port, make_directory, run_checked, spawn

pytestmark = pytest.mark.ours

STAND_IN = """
create schema berth;
create unlogged table berth.broker_registration(
  id text primary key, name text, version text, console text, secret text, started_at timestamptz, pid int,
  backend_start timestamptz, last_heartbeat timestamptz);
create function berth.register_broker(id text, name text, version text, console text, secret text, started_at timestamptz)
returns void language sql security definer as $$
  insert into berth.broker_registration
  select $1, $2, $3, $4, $5, $6, pid, backend_start, clock_timestamp() from pg_stat_activity where pid = pg_backend_pid()
  on conflict (id) do update set console = excluded.console, pid = excluded.pid, backend_start = excluded.backend_start,
  last_heartbeat = excluded.last_heartbeat $$;
create function berth.heartbeat(id text) returns boolean language sql security definer as $$
  with beaten as (update berth.broker_registration b set last_heartbeat = clock_timestamp() where b.id = $1 returning 1)
  select exists (select from beaten) $$;
create function berth.deregister_broker(id text) returns void language sql security definer as $$
  delete from berth.broker_registration b where b.id = $1 $$;
revoke execute on all functions in schema berth from public;
"""
GRANT = "grant usage on schema berth to app; grant execute on all functions in schema berth to app"
ALIVE = ("from berth.broker_registration r join pg_stat_activity a on a.pid = r.pid and a.backend_start = r.backend_start")
LINK_BACKENDS = "application_name = 'pgberth link'"
# Its last question was asked after LISTEN, so nothing will be missed. (query is the last one.)
LISTENS = LINK_BACKENDS + " and state = 'idle' and query like 'select case%' and xact_start is null"


@pytest.fixture(scope="module")
def server():
    """A cluster with the stand-in in e2e and e2e2; `plain` is without."""
    cluster = Postgres()
    cluster.sql("create database plain")
    for database in ("e2e", "e2e2"):
        cluster.sql(STAND_IN + GRANT, database=database)
    yield cluster
    cluster.remove()


@pytest.fixture(autouse=True)
def empty(server):
    """Each test begins without registrations of the one before."""
    for database in ("e2e", "e2e2"):
        server.sql("truncate berth.broker_registration", database=database)


@pytest.fixture
def linked(broker, server):
    """A broker with the link on, in front of `server`."""
    def start(**settings):
        return broker(server=server, **{"link": "auto", "link_user": "app", **settings})
    return start


def registered(server, database="e2e"):
    """The registrations whose backend lives: id, console, secret, last heartbeat."""
    return server.sql(f"select id, console, secret, last_heartbeat {ALIVE} order by id", database=database)


def comes_up(server, database="e2e"):
    return eventually(lambda: registered(server, database), f"the broker is registered in {database}")


def links(broker, **where):
    return [row for row in broker.console("SHOW LINKS") if all(row[k] == v for k, v in where.items())]


def link_lines(broker):
    return [line for line in broker.log.splitlines() if " link: " in line]


# Registration ---------------------------------------------------------------------------------------------------------

def test_registers_and_says_so(linked, server):
    broker = linked()
    [[identity, console, secret, _]] = comes_up(server)
    assert re.fullmatch("[0-9a-f]{64}", secret) and secret not in broker.log
    assert console == f"host={broker.root} port={broker.listen_port} dbname=pgberth user=pgberth_link"
    [[name, version, age]] = server.sql("select name, version, abs(extract(epoch from clock_timestamp() - started_at)) < 3600 "
                                        "from berth.broker_registration", database="e2e")
    assert name == f"{socket.gethostname()}:{broker.listen_port}" and version == "0.2.0" and age == "t"
    [row] = links(broker, database="e2e")
    assert row["state"] == "up" and row["registered_id"] == identity and row["console"] == console and not row["error"]
    assert all(secret not in str(row) for row in broker.console("SHOW CONFIG") + broker.console("SHOW LINKS"))


def test_two_databases_are_two_links_of_one_broker(linked, server):
    broker = linked()
    [[first, *_]], [[second, *_]] = comes_up(server), comes_up(server, "e2e2")
    assert first == second
    eventually(lambda: len(links(broker, state="up")) == 2)
    assert len(server.backends("e2e", LINK_BACKENDS)) == len(server.backends("e2e2", LINK_BACKENDS)) == 1


def test_two_brokers_in_front_of_one_database(linked, server):
    linked(), linked()
    eventually(lambda: len(registered(server)) == 2)


def test_the_backend_of_a_link_is_in_no_pool(linked, server):
    broker = linked(max_db_connections=1)
    comes_up(server)
    with broker.connect() as client:
        assert client.value("select 1") == "1"
    assert len(broker.servers(database="e2e")) == 1
    eventually(lambda: len(server.backends("e2e")) == 2, "the link's, the pool's, and no more of those who have asked")


def test_databases_of_the_fallback_while_they_have_servers(broker, server):
    made = broker(server=server, link="auto", link_user="app", server_idle_timeout=1,
                  databases={"*": f"host={server.sockets} port={server.port}"})
    assert links(made) == []
    with made.connect() as client:
        client.query("begin")
        comes_up(server)
        client.query("commit")
        eventually(lambda: not made.servers(database="e2e"))
        assert registered(server)  # the client is still there
    eventually(lambda: not server.backends("e2e"), "the pool is empty, and the link has left")
    assert server.sql("select * from berth.broker_registration", database="e2e") == [] and links(made) == []


# Ends -----------------------------------------------------------------------------------------------------------------

def test_a_killed_broker_leaves_no_living_row(linked, server):
    broker = linked()
    comes_up(server)
    broker.expected_exit = True
    broker.signal(signal.SIGKILL)
    broker.process.wait(30)
    eventually(lambda: not server.backends("e2e", LINK_BACKENDS), "its backend is gone")
    assert registered(server) == []  # although its row is there
    assert len(server.sql("select 1 from berth.broker_registration", database="e2e")) == 1
    broker.process = None


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_graceful_end_deregisters(linked, server, how):
    broker = linked()
    comes_up(server), comes_up(server, "e2e2")
    broker.signal(how)
    assert broker.wait_exit() == 0
    for database in ("e2e", "e2e2"):
        assert server.sql("select 1 from berth.broker_registration", database=database) == []


def test_the_end_does_not_wait_for_a_database_that_hangs(linked, server):
    broker = linked()
    comes_up(server)
    with server.connect(database="e2e") as holder:
        holder.query("begin; lock table berth.broker_registration in access exclusive mode")
        broker.signal(signal.SIGTERM)
        assert broker.wait_exit(timeout=20) == 0
        holder.query("rollback")


def test_a_restarted_server_is_told_again(linked, server):
    broker = linked()
    [[identity, *_]] = comes_up(server)
    server.stop()
    eventually(lambda: links(broker, database="e2e", state="waiting"))
    assert links(broker, database="e2e")[0]["error"]
    server.start()
    [[again, *_]] = comes_up(server)
    assert identity == again
    lines = [line for line in link_lines(broker) if '"e2e"' in line]
    assert len(lines) == 3, lines  # registered, lost, registered: however often it was tried


def test_a_link_whose_backend_is_ended_comes_back(linked, server):
    linked()
    [[identity, *_]] = comes_up(server)
    [old] = server.backends("e2e", LINK_BACKENDS)
    server.sql(f"select pg_terminate_backend({old})")
    eventually(lambda: server.backends("e2e", LINK_BACKENDS) not in ([], [old]))
    assert comes_up(server)[0][0] == identity


# Without --------------------------------------------------------------------------------------------------------------

def test_a_database_without_the_extension_costs_one_line(broker, server):
    made = broker(server=server, link="auto", link_user="app",
                  databases={"plain": f"host={server.sockets} port={server.port}"})
    eventually(lambda: links(made, state="absent"))
    eventually(lambda: not server.backends("plain"), "the connection was a short one")
    for _ in range(2):
        made.reload()  # asks again at once
        eventually(lambda: not server.backends("plain"))
    assert len(link_lines(made)) == 1 and "does not have the extension" in link_lines(made)[0]


def test_an_extension_that_comes_later_is_found(linked, server):
    server.sql("drop schema berth cascade", database="e2e2")
    try:
        broker = linked()
        eventually(lambda: links(broker, database="e2e2", state="absent"))
    finally:
        server.sql(STAND_IN + GRANT, database="e2e2")
    broker.console("RELOAD")
    comes_up(server, "e2e2")


def test_a_registration_that_is_lost_is_made_again(linked, server):
    """DROP EXTENSION and CREATE EXTENSION under a link: the next heartbeat finds out. A notification asks for one."""
    linked()
    comes_up(server)
    server.sql("truncate berth.broker_registration; notify pgberth", database="e2e")
    comes_up(server)


def test_an_extension_that_was_dropped_is_awaited(linked, server):
    """DROP EXTENSION, noticed, and only then CREATE EXTENSION: its notification is heard, long before the next question."""
    broker = linked()
    comes_up(server)
    server.sql("drop schema berth cascade; notify pgberth", database="e2e")  # the notification stands for the next heartbeat
    try:
        eventually(lambda: links(broker, database="e2e", state="absent") and server.backends("e2e", LISTENS), "it listens on")
    finally:
        server.sql(STAND_IN + GRANT + "; notify pgberth", database="e2e")
    comes_up(server)


def test_a_right_that_is_granted_is_noticed(linked, server):
    broker = linked(link_user="app2")
    eventually(lambda: links(broker, database="e2e", state="denied") and server.backends("e2e", LISTENS), "it listens")
    server.sql(GRANT.replace("to app", "to app2"), database="e2e")
    try:
        comes_up(server)
    finally:
        server.sql(GRANT.replace("grant", "revoke").replace("to app", "from app2"), database="e2e")


def test_a_notification_asks_for_a_heartbeat(linked, server):
    linked()
    [[_, _, _, before]] = comes_up(server)
    server.sql("notify pgberth", database="e2e")
    eventually(lambda: registered(server)[0][3] != before)


def test_off_means_no_connection(linked, server):
    broker = linked(link="off", log_connections=1)
    with broker.connect() as client:
        assert client.value("select 1") == "1"
    assert links(broker) == [] and link_lines(broker) == []
    assert not server.backends("e2e", LINK_BACKENDS)


def test_who_may_not_register_is_told_once(linked, server):
    broker = linked(link_user="app2")
    eventually(lambda: links(broker, database="e2e", state="denied"))
    assert registered(server) == []
    broker.console("RELOAD")  # asked again, and the same
    server.sql(GRANT.replace("to app", "to app2"), database="e2e")
    try:
        broker.console("RELOAD")
        comes_up(server)
    finally:
        server.sql(GRANT.replace("grant", "revoke").replace("to app", "from app2"), database="e2e")
    lines = [line for line in link_lines(broker) if '"e2e"' in line]
    assert len(lines) == 2 and "may not register" in lines[0] and "registered" in lines[1], lines


def test_without_a_user_there_is_no_link(linked, server):
    broker = linked(link_user=None)
    [row] = eventually(lambda: links(broker, database="e2e"))
    assert row["state"] == "nobody" and "link_user" in row["error"]
    assert len(link_lines(broker)) == 1
    assert not server.backends("e2e", LINK_BACKENDS)


@pytest.fixture
def standby(server):
    """A hot standby of `server`: (its directory, its port, ask)."""
    directory, port = make_directory(), free_port()
    run_checked([PG_BIN / "pg_basebackup", "-h", server.sockets, "-p", server.port, "-U", "postgres", "-D", directory / "data",
                 "-R", "-X", "stream", "-c", "fast", "--no-sync"])
    process = spawn([PG_BIN / "postgres", "-D", directory / "data", "-p", str(port), "-k", str(directory)], directory / "log")

    def ask(text):
        try:
            with Raw(port) as connection:
                return connection.login("postgres", "e2e").value(text)
        except (OSError, Refused, Closed):
            return None

    eventually(lambda: ask("select pg_is_in_recovery()") == "t", "the standby answers")
    yield directory, port, ask
    process.send_signal(signal.SIGQUIT)
    process.wait(30)
    shutil.rmtree(directory)


def test_a_standby_cannot_be_told_until_it_is_promoted(broker, server, standby):
    directory, port, ask = standby
    made = broker(server=server, link="auto", link_user="app", databases={"e2e": f"host={directory} port={port} dbname=e2e"})
    eventually(lambda: links(made, database="e2e", state="standby"))
    made.console("RELOAD")
    assert ask("select pg_promote()") == "t"
    made.console("RELOAD")  # else it is asked within a minute
    eventually(lambda: links(made, database="e2e", state="up"))
    assert ask("select count(*) from berth.broker_registration") == "1"
    assert len(link_lines(made)) == 2  # a standby, then registered


# Two ways to one database ---------------------------------------------------------------------------------------------

def two_spellings(server, first="localhost", second="127.0.0.1"):
    return {"one": f"host={first} port={server.port} dbname=e2e", "other": f"host={second} port={server.port} dbname=e2e"}


def test_two_spellings_of_one_server_are_one_registration(broker, server):
    made = broker(server=server, link="auto", link_user="app", databases=two_spellings(server))
    eventually(lambda: sorted(row["state"] for row in links(made)) == ["shared", "up"])
    [[identity, *_, before]] = comes_up(server)
    [backend] = eventually(lambda: server.backends("e2e", LINK_BACKENDS) if len(server.backends("e2e", LINK_BACKENDS)) == 1 else None)
    server.sql("notify pgberth", database="e2e")  # asks for a heartbeat, which finds the registration to be its own
    eventually(lambda: registered(server)[0][3] != before)
    assert server.sql("select id, pid from berth.broker_registration", database="e2e") == [[identity, str(backend)]]
    [row] = made.console("SHOW BROKER")
    assert row["link"] in ("up: one, other", "up: other, one")
    assert {row["server_started_at"] for row in links(made)} == {links(made)[0]["server_started_at"]} != {""}
    assert len([line for line in link_lines(made) if "another link has registered" in line]) == 1


def test_the_other_spelling_takes_over(broker, server):
    made = broker(server=server, link="auto", link_user="app", databases=two_spellings(server))
    eventually(lambda: sorted(row["state"] for row in links(made)) == ["shared", "up"])
    comes_up(server)
    [stays] = [row["database"] for row in links(made, state="shared")]
    made.databases = {stays: made.databases[stays]}
    made.reload()
    eventually(lambda: [(row["database"], row["state"]) for row in links(made)] == [(stays, "up")])
    comes_up(server)


# Settings -------------------------------------------------------------------------------------------------------------

def test_a_reload_turns_it_on_and_off(linked, server):
    broker = linked(link="off")
    broker.settings["link"] = "auto"
    broker.reload()
    comes_up(server)
    broker.console("SET link = 'off'")
    eventually(lambda: not server.backends("e2e", LINK_BACKENDS))
    assert server.sql("select 1 from berth.broker_registration", database="e2e") == []  # deregistered, not just gone
    broker.console("SET link = 'auto'")
    comes_up(server)


def test_another_user_is_another_connection(linked, server):
    broker = linked()
    comes_up(server)
    broker.settings["link_user"] = "postgres"
    broker.reload()
    eventually(lambda: server.backends("e2e", LINK_BACKENDS + " and usename = 'postgres'"))
    comes_up(server)
    assert len(server.backends("e2e", LINK_BACKENDS)) == 1


def test_one_database_by_connection_string(linked, server):
    broker = linked(link=f"host={server.sockets} port={server.port} dbname=e2e2 user=app")
    comes_up(server, "e2e2")
    assert registered(server) == [] and [row["database"] for row in links(broker)] == ["e2e2"]


def test_a_password_from_the_user_list(linked, broker, server):
    server.sql("grant app to scrammer")
    made = broker(server=server, link="auto", link_user="scrammer",
                  userlist={"admin": "", "scrammer": "scrammerpw"})
    comes_up(server)
    assert server.backends("e2e", LINK_BACKENDS + " and usename = 'scrammer'")
    made.userlist["scrammer"] = "wrong"
    made.reload()
    eventually(lambda: [r for r in links(made, database="e2e", state="waiting") if "password" in r["error"]])
    assert "wrong" not in made.log


@pytest.mark.parametrize("key, value", [("link", "yes"), ("link", "host=a password=secret"), ("link_console", "6432")])
def test_settings_that_cannot_be(broker, key, value):
    made = broker(launch=False, **{"link_user": "app", key: value})
    made.settings["listen_port"] = 1
    made.write_files()
    done = subprocess.run([str(made.binary), "--check", str(made.ini)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=30, check=False)
    assert done.returncode == 1 and re.search(rf"{key}: ", done.stdout + done.stderr) and "secret" not in done.stderr


def test_the_name_in_the_user_list_is_warned_about(broker):
    made = broker(userlist={"admin": "", "pgberth_link": "x"}, stats_users="stats, pgberth_link")
    assert len([line for line in made.log.splitlines() if "WARNING" in line and "pgberth_link" in line]) == 2


# The console's address ------------------------------------------------------------------------------------------------

def test_the_address_over_tcp(broker, server):
    made = broker(server=server, link="auto", link_user="app", unix_socket_dir="",
                  databases={"e2e": f"host=localhost port={server.port} dbname=e2e"})
    [[_, console, *_]] = comes_up(server)
    assert console == f"host=127.0.0.1 port={made.listen_port} dbname=pgberth user=pgberth_link"


def test_the_setting_says_where_the_console_is(linked, server):
    linked(link_console="host=10.1.2.3 port=1")
    [[_, console, *_]] = comes_up(server)
    assert console.startswith("host=10.1.2.3 port=1 dbname=")


def test_a_name_in_the_setting_is_looked_up_by_the_broker(linked, server):
    """A backend that looked it up could not be interrupted."""
    broker = linked(link_console="host=localhost port=1")
    [[_, console, *_]] = comes_up(server)
    assert re.fullmatch(r"host=localhost port=1 dbname=\w+ user=pgberth_link hostaddr=(127\.0\.0\.1|::1)", console)
    broker.settings["link_console"] = "host=name.invalid port=1"
    broker.reload()
    server.sql("truncate berth.broker_registration; notify pgberth", database="e2e")
    eventually(lambda: [row for row in links(broker, database="e2e", state="waiting") if "link_console" in row["error"]])


# The extension's login ------------------------------------------------------------------------------------------------

def test_the_database_can_ask_the_console(linked, server):
    """What the views do: the registered address and secret, by libpq."""
    broker = linked()
    [[identity, console, secret, _]] = comes_up(server)
    ask = lambda sql, password=secret, **how: psql.psql(f"{console} password={password}", sql, **how)
    assert "e2e" in ask("show links") and identity in ask("show links")
    assert ask("pause e2e") == "PAUSE" and ask("resume e2e") == "RESUME"
    assert "admin access needed" in ask("shutdown", fails=True)
    assert "password authentication failed" in ask("show pools", "wrong", fails=True)
    with pytest.raises(Refused):  # auth_type is trust, and does not count for this name
        broker.connect(broker.listen_port, "pgberth_link", "pgbouncer", "")
    assert secret not in broker.log


def fake_link(broker, fake):
    return broker(databases={"fake": fake.entry()}, link="auto", link_user="app", userlist={"app": "apppw", "admin": ""})


def test_a_server_that_wants_our_time_does_not_hold_up_the_end(broker):
    """T12: libpq derives keys where it reads, with as many rounds as the server says."""
    fake = FakeServer(login=lambda s: (s.scram(salt=random_salt(), iterations=2147483647), s.wait_closed()))
    try:
        b = fake_link(broker, fake)
        eventually(lambda: fake.sessions and fake.sessions[0].seen, "it has asked for them")
        b.signal(signal.SIGQUIT)
        assert b.wait_exit() == 0
        assert not b.pid_path.exists()
    finally:
        fake.stop()


def test_a_server_that_pours_rows_fills_no_memory(broker):
    def pour(session, message):
        if message.tag == "S":
            session.send(wire.frame("1") + wire.frame("2") + row_description(*"abcdefgh"))
            while True:  # until it is Gone
                session.send(data_row(*["x" * 2000] * 8) * 8)
    fake = FakeServer(answer=pour)
    try:
        b = fake_link(broker, fake)
        eventually(lambda: fake.sessions and fake.sessions[0].gone, "it is not listened to")
        assert "more than one row" in eventually(lambda: b.console("SHOW LINKS")[0]["error"], "SHOW LINKS says why")
        peak = re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{b.pid}/status").read())[1]
        assert int(peak) < 150 * 1024
        assert not fake.failures
    finally:
        fake.stop()
