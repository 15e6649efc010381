"""The admin console: exact columns and types (exporters depend on them), commands, rights, both protocols."""

import psycopg
import psycopg2
import pytest

from harness import wire
from harness.broker import IS_PGBOUNCER
from harness.raw import Raw, Refused, cancel
from harness.system import eventually, in_threads

OIDS = {"b": 16, "s": 25, "T": 25, "i": 23, "q": 20, "N": 1700}

_COUNTS = "server_assignment_count xact_count query_count"
_TIMES = "xact_time query_time wait_time"
_PARSES = "client_parse_count server_parse_count bind_count"
_SOCKET = ("type user database replication state addr port local_addr local_port connect_time request_time wait wait_us "
           "close_needed ptr link remote_pid tls application_name prepared_statements id")


def _stats():
    names = f"{_COUNTS} {{0}} {{1}} {_TIMES} {_PARSES} client_login_count".split()
    total = ["total_" + n for n in names]
    total[3:5] = ["total_received", "total_sent"]
    average = ["avg_" + n for n in names]
    average[3:5] = ["avg_recv", "avg_sent"]
    return " ".join(["database", *total, *average])


# Contract of PgBouncer 1.26.1: the letters are the types in order, then the columns.
COLUMNS = {
    "STATS": ("s" + "N" * 24, _stats()),
    "STATS_TOTALS": ("s" + "N" * 12, f"database {_COUNTS} bytes_received bytes_sent {_TIMES} {_PARSES} client_login_count"),
    "STATS_AVERAGES": ("s" + "N" * 12, f"database {_COUNTS} bytes_received bytes_sent {_TIMES} avg_client_parse_count "
                                       "avg_server_parse_count avg_bind_count avg_client_login_count"),
    "TOTALS": ("sN", "name value"),
    "CLIENTS": ("ssssssisiTTiiississii", _SOCKET),
    "SERVERS": ("ssssssisiTTiiississii", _SOCKET),
    "POOLS": ("ss" + "i" * 13 + "ss", "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req "
              "sv_active sv_active_cancel sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us pool_mode "
              "load_balance_hosts"),
    "LISTS": ("si", "list items"),
    "USERS": ("ssssiiii", "name pool_size reserve_pool_size pool_mode max_user_connections current_connections "
              "max_user_client_connections current_client_connections"),
    "DATABASES": ("ssissiiiissiiiiii", "name host port database force_user pool_size min_pool_size reserve_pool_size "
                  "server_lifetime pool_mode load_balance_hosts max_connections current_connections max_client_connections "
                  "current_client_connections paused disabled"),
    "CONFIG": ("ssss", "key value default changeable"),
    "STATE": ("ss", "key value"),
    "MEM": ("siiii", "name size used free memtotal"),
    "VERSION": ("s", "version"),
}
if not IS_PGBOUNCER:
    COLUMNS["DISCONNECTS"] = ("sssN", "kind reason text count")
    COLUMNS["BROKER"] = ("ssssss" + "q" * 7 + "sb", "id name version started_at now pool_mode workers clients clients_active "
                         "clients_waiting servers servers_active max_client_conn link paused")
    COLUMNS["LATENCY"] = ("sss" + "q" * 7, "database user kind count sum_us p50_us p95_us p99_us p999_us max_us")
    COLUMNS["ERRORS"] = ("ssssq", "database user source sqlstate count")
    COLUMNS["SERVER_HISTORY"] = ("iqssqsisssqq", "server_pid server_id database user client_id client_addr client_port "
                                 "application_name linked_at released_at transactions queries")
    COLUMNS["CLIENT_COUNTERS"] = ("qsssississ" + "q" * 7 + "s", "client_id database user client_addr client_port "
                                  "application_name state server_pid connected_at transaction_started_at wait_us query_us "
                                  "xact_us transactions queries bytes_in bytes_out features")
    COLUMNS["ADVICE_FACTS"] = ("ssss", "name database user value")
    COLUMNS["LIMITS"] = ("sqq", "name maximum current")
    COLUMNS["HELPERS"] = ("sii" + "q" * 7, "name threads threads_max queue queue_max running done refused waiting_us longest_wait_us")
    COLUMNS["THROTTLE"] = ("sssqqb", "kind address user failures delay_ms refused")
    COLUMNS["QUEUE"] = ("qssssqq", "client_id database user client_addr application_name waiting_us position")
EXTENDED = pytest.param("extended", marks=pytest.mark.ours)


def ask(console, sql, protocol="simple"):
    if protocol == "simple":
        return console.connection.query(sql)
    return console.connection.ask(wire.parse("", sql) + wire.bind() + wire.describe("P") + wire.execute() + wire.sync())


def fails(console, sql, text="", sqlstate=None):
    """The command is refused, and the console session lives on."""
    answer = console.connection.query(sql)
    error = wire.only_error(answer)
    assert wire.tags(answer).endswith("EZ") and error.severity == "ERROR" and text in error.text, error.fields
    assert sqlstate is None or error.sqlstate == sqlstate
    assert console("show version")
    return error


def tag(console, sql):
    answer = console.connection.query(sql)
    assert not wire.errors(answer), [e.fields for e in wire.errors(answer)]
    return wire.command_tags(answer)[-1]


# SHOW -----------------------------------------------------------------------------------------------------------------

@pytest.mark.newer
@pytest.mark.parametrize("protocol", ["simple", EXTENDED])
@pytest.mark.parametrize("what", COLUMNS)
def test_columns_and_types(broker, what, protocol):
    b = broker()
    clients = [b.connect(), b.connect(database="e2e2", user="app2"), b.session()]
    for c in clients:
        c.query("select 1")
    clients[0].query("select 1/0")
    clients[0].query("begin")
    if what == "QUEUE":
        b.console("pause e2e2")
        clients[1].send(wire.query("select 1"))
        eventually(lambda: b.pool("e2e2", "app2")["cl_waiting"] == 1)
    if what == "THROTTLE":
        with pytest.raises(Refused):
            b.connect(user="nobody")
    types, names = COLUMNS[what]
    answer = ask(b.console, "SHOW " + what, protocol)
    head = wire.find(answer, "T")
    assert [n for n, _ in head.columns] == names.split()
    assert [oid for _, oid in head.columns] == [OIDS[t] for t in types]
    assert wire.rows(answer) and wire.command_tags(answer) == ["SHOW"]
    for row in wire.rows(answer):
        for kind, value in zip(types, row):
            if kind in "iqN" and value is not None:
                int(value)


@pytest.mark.parametrize("sql", ["show pools", "SHOW POOLS;", "  show\n pools ; ", 'show "pools"', "SELECT POOLS"])
def test_spelling(broker, sql):
    b = broker()
    b.connect().query("select 1")
    assert [r["database"] for r in b.console(sql) if r["user"] == "app"] == ["e2e"]


def test_help(broker):
    answer = broker().console.connection.query("show help")
    assert wire.tags(answer) == "NCZ"
    assert "SHOW HELP|CONFIG|DATABASES" in answer[0].fields["D"].replace("\n", "").replace("\t", "") or \
        "SHOW" in answer[0].fields["D"]


def test_version(broker):
    (row,) = broker().console("show version")
    assert row["version"].startswith("PgBouncer 1.")


def test_login_parameters(broker):
    """What drivers look at when they connect to the console."""
    c = broker().console.connection
    assert c.parameters["server_version"].endswith("/bouncer")
    assert {k: c.parameters[k] for k in ("client_encoding", "DateStyle", "standard_conforming_strings")} == \
        {"client_encoding": "UTF8", "DateStyle": "ISO", "standard_conforming_strings": "on"}


@pytest.mark.ours
def test_second_name_of_the_console(broker, postgres):
    """pgberth, unless a database of that name is configured."""
    b = broker()
    with b.connect(b.listen_port, "admin", "pgberth") as c:
        assert wire.rows(c.query("show version"))
    b = broker(databases={"pgberth": f"host={postgres.sockets} port={postgres.port} dbname=e2e"})
    with b.connect(b.listen_port, "app", "pgberth") as c:
        assert c.value("select current_database()") == "e2e"


def test_console_through_every_port(broker):
    b = broker()
    for port in (b.listen_port, b.transaction_port, b.session_port):
        with b.connect(port, "admin", "pgbouncer") as c:
            assert wire.rows(c.query("show version"))


def test_show_clients_and_servers(broker, postgres):
    b = broker()
    c = b.connect(application_name="seen")
    c.query("begin")
    pid = c.value("select pg_backend_pid()")
    (client,) = b.clients(user="app")
    (server,) = b.servers(user="app")
    assert (client["type"], client["state"], client["database"]) == ("C", "active", "e2e")
    assert (server["type"], server["state"], server["remote_pid"]) == ("S", "active", pid)
    assert client["link"] == server["ptr"] and server["link"] == client["ptr"]
    assert (client["addr"], int(client["port"])) == ("127.0.0.1", c.sock.getsockname()[1])
    assert client["application_name"] == "seen"
    other = b.connect()
    other.query("begin"), other.query("commit")
    c.query("commit")
    assert {s["state"] for s in b.servers(user="app")} == {"idle"}


def test_show_pools_counts(broker):
    b = broker(default_pool_size=2)
    held = [b.connect() for _ in range(2)]
    for c in held:
        c.query("begin")
    waiting = [b.connect() for _ in range(3)]
    for c in waiting:
        c.send(wire.query("select 1"))
    eventually(lambda: b.pool()["cl_waiting"] == 3)
    pool = b.pool()
    assert (pool["cl_active"], pool["sv_active"], pool["sv_idle"], pool["pool_mode"]) == (2, 2, 0, "transaction")
    for c in held:
        c.query("commit")
    for c in waiting:
        c.until("Z")
    eventually(lambda: (b.pool()["cl_waiting"], b.pool()["sv_active"], b.pool()["sv_idle"]) == (0, 0, 2))


@pytest.mark.newer
def test_counters(broker):
    """xact_count, query_count and the counts of statements are what was done."""
    b = broker(default_pool_size=2)
    totals = lambda: {r["database"]: r for r in b.console("show stats_totals")}.get("e2e") or {}
    number = lambda name: int(totals().get(name) or 0)
    before = {n: number(n) for n in ("xact_count", "query_count", "bytes_received", "bytes_sent")}
    c = b.connect()
    for _ in range(10):
        c.query("select 1")
    c.query("begin"), c.query("select 1"), c.query("select 2"), c.query("commit")
    eventually(lambda: number("query_count") - before["query_count"] == 14, "14 queries are counted")
    assert number("xact_count") - before["xact_count"] == 11
    assert number("bytes_received") > before["bytes_received"] and number("bytes_sent") > before["bytes_sent"]
    c.ask(wire.parse("s", "select 1") + wire.sync())
    for _ in range(5):
        c.ask(wire.rerun("s") + wire.sync())
    eventually(lambda: number("bind_count") == 5 and number("client_parse_count") == 1)
    assert number("client_login_count") >= 1


def test_show_databases_and_users(broker, postgres):
    b = broker(databases={"e2e": f"host=127.0.0.1 port={postgres.port} dbname=e2e user=app pool_size=7",
                          "e2e2": f"host={postgres.sockets} port={postgres.port} dbname=e2e2 pool_mode=session"},
               users={"app2": "pool_mode=session max_user_connections=9"})
    rows = {r["name"]: r for r in b.console("show databases")}
    assert (rows["e2e"]["host"], int(rows["e2e"]["port"]), rows["e2e"]["force_user"], int(rows["e2e"]["pool_size"])) == \
        ("127.0.0.1", postgres.port, "app", 7)
    assert rows["e2e2"]["pool_mode"] == "session" and "pgbouncer" in rows
    users = {r["name"]: r for r in b.console("show users")}
    assert users["app2"]["pool_mode"] == "session" and int(users["app2"]["max_user_connections"]) == 9


def test_show_lists_has_what_exporters_read(broker):
    rows = {r["list"]: int(r["items"]) for r in broker().console("show lists")}
    for name in ("databases", "users", "pools", "free_clients", "used_clients", "login_clients", "free_servers",
                 "used_servers", "dns_names", "dns_zones", "dns_queries"):
        assert name in rows


@pytest.mark.ours
def test_show_mem_has_the_buffers(broker):
    b = broker()
    clients = [b.connect() for _ in range(3)]
    clients[0].send(wire.query("select repeat('x', 20000000)"))  # and does not read
    used = lambda: {r["name"]: {k: int(v) for k, v in r.items() if k != "name"} for r in b.console("show mem")}
    eventually(lambda: used()["iobuf_cache"]["used"] > 0, "a buffer")
    rows = used()
    assert rows["iobuf_cache"]["memtotal"] >= rows["iobuf_cache"]["used"] * rows["iobuf_cache"]["size"] > 0
    assert rows["conn_cache"]["used"] >= 5  # the clients, the console and a server
    for row in ("conn_cache", "client_cache", "server_cache"):
        assert rows[row]["memtotal"] == (rows[row]["used"] + rows[row]["free"]) * rows[row]["size"] > 0
    clients[0].until("Z")
    eventually(lambda: used()["iobuf_cache"]["used"] == 0, "the buffer given back")


@pytest.mark.ours
def test_show_disconnects(broker, postgres):
    """Why sessions ended: each reason of the log has its counter."""
    b = broker(max_user_client_connections=3)
    admin = b.console  # connected before anything is counted

    def ended():
        lines = [line for line in b.log.splitlines() if "closing because" in line]  # before the counters: they may go on
        rows = admin("show disconnects")
        for row in rows:
            logged = sum(f" {row['kind'][0].upper()}-" in line and f"because: {row['text']} (age" in line for line in lines)
            assert logged <= int(row["count"]), row
        return {(row["kind"], row["reason"]): int(row["count"]) for row in rows if row["count"] != "0"}

    before = ended()
    clients = [b.connect() for _ in range(3)]
    with pytest.raises(Refused):
        b.connect()
    with pytest.raises(Refused):
        b.connect(database="nowhere")
    with pytest.raises(Refused):
        b.connect(user="stranger")
    clients[0].query("select 1")
    postgres.end_backends()
    clients[0].terminate()
    clients[1].close()
    admin(f"kill_client {b.clients(user='app')[-1]['id']}")
    eventually(lambda: not b.clients(user="app"))
    expected = {("client", reason): 1 for reason in (
        "max_user_client_connections", "no_such_database", "authentication_failed", "client_close_request",
        "client_unexpected_eof", "admin_forced_disconnect")}
    seen = eventually(lambda: (lambda now: ("server", "fatal_while_idle") in now and now)(ended()), "the end of the server")
    grown = {key: count - before.get(key, 0) for key, count in seen.items() if key[0] == "client"}
    assert {key: count for key, count in grown.items() if count} == expected


def test_show_config(broker):
    rows = {r["key"]: r for r in broker(default_pool_size=9).console("show config")}
    assert rows["default_pool_size"]["value"] == "9" and rows["default_pool_size"]["default"] == "20"
    assert rows["max_client_conn"]["value"] == "1000" and int(rows["max_user_connections"]["value"]) == 0
    assert list(rows) == sorted(rows) and {r["changeable"] for r in rows.values()} == {"yes", "no"}


def test_show_state(broker):
    b = broker()
    state = lambda: {r["key"]: r["value"] for r in b.console("show state")}
    assert state()["active"] == "yes" and state()["paused"] == "no"
    b.console("pause")
    assert state()["active"] == "no" and state()["paused"] == "yes"
    b.console("resume")
    assert state()["active"] == "yes" and state()["paused"] == "no"


# Commands -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("sql, expected", [
    ("reload", "RELOAD"), ("pause", "PAUSE"), ("pause e2e", "PAUSE"), ("disable e2e", "DISABLE"), ("enable e2e", "ENABLE"),
    ("reconnect", "RECONNECT"), ("reconnect e2e", "RECONNECT"), ("wait_close", "WAIT_CLOSE"), ("wait_close e2e", "WAIT_CLOSE"),
    ("kill e2e", "KILL"), ("set default_pool_size = 7", "SET default_pool_size=7"),
    ("set default_pool_size to '8'", "SET default_pool_size=8"), ("set extra_float_digits = 2", "SET"),
    ("set datestyle to 'iso'", "SET"), ("set client_encoding to 'UTF8'", "SET")])
@pytest.mark.newer
def test_command_tags(broker, sql, expected):
    assert tag(broker().console, sql) == expected


@pytest.mark.parametrize("sql", ["garbage", "show nothing", "show", "pause e2e e2e2",
                                 "set nothing = 1", "pause no_such_db", "kill no_such_db", "disable no_such_db",
                                 "reconnect no_such_db", "wait_close no_such_db", "resume no_such_db", "kill_client",
                                 "kill_client 999999", "resume", "resume e2e", "set max_client_conn = many",
                                 "x" * 500, "set default_pool_size = " + "9" * 500, 'show "pools', "pause " + "n" * 500,
                                 pytest.param("x" * 50000, marks=pytest.mark.ours)], ids=lambda sql: sql[:30])
def test_commands_that_are_refused(broker, sql):
    """An error, and the session lives on."""
    fails(broker().console, sql)


def test_set_changes_and_is_seen(broker):
    b = broker(default_pool_size=1)
    b.console("set default_pool_size = 2")
    assert {r["key"]: r["value"] for r in b.console("show config")}["default_pool_size"] == "2"
    one, two = b.connect(), b.connect()
    one.query("begin"), two.query("begin")
    assert one.value("select pg_backend_pid()") != two.value("select pg_backend_pid()")


@pytest.mark.ours
def test_set_from_two_workers_at_once(broker):
    """Both values are kept, however the two cross."""
    b = broker(workers=2)
    consoles = [b.new_console() for _ in range(4)]
    keys = ("query_timeout", "client_idle_timeout", "server_lifetime", "server_idle_timeout")
    for value in range(100, 130):
        in_threads(4, lambda n: consoles[n](f"set {keys[n]} = {value}"))
        shown = {r["key"]: r["value"] for r in consoles[value % 4]("show config")}
        assert [shown[key] for key in keys] == [str(value)] * 4
    for console in consoles:
        console.close()


def test_pause_and_resume(broker):
    """PAUSE waits for the transactions in progress; what comes meanwhile waits and is answered after RESUME."""
    b = broker()
    c, late = b.connect(), b.connect()
    c.query("begin")
    console = b.new_console()
    console.connection.send(wire.query("pause"))
    late.send(wire.query("select 'late'"))
    eventually(lambda: b.pool()["cl_waiting"] == 1)
    assert console.connection.quiet(0.05) and late.quiet(0.05)
    assert c.query("select 1")[-1].status == "T"
    c.query("commit")
    assert wire.command_tags(console.connection.until("Z")) == ["PAUSE"]
    assert late.quiet(0.05) and not b.servers(user="app")
    b.console("resume")
    assert wire.rows(late.until("Z")) == [["late"]]


def test_pause_of_one_database(broker):
    b = broker()
    c, other = b.connect(), b.connect(database="e2e2")
    b.console("pause e2e")
    c.send(wire.query("select 'paused'"))
    assert other.value("select 'served'") == "served"
    assert {r["name"]: r["paused"] for r in b.console("show databases")}["e2e"] == "1"
    assert c.quiet(0.05)
    b.console("resume e2e")
    assert wire.rows(c.until("Z")) == [["paused"]]


@pytest.mark.ours
def test_resume_while_a_pause_waits(broker):
    """#715: the PAUSE that waits gets an end too."""
    b = broker()
    c = b.connect()
    c.query("begin")
    pausing = b.new_console()
    pausing.connection.send(wire.query("pause"))
    eventually(lambda: {r["key"]: r["value"] for r in b.console("show state")}["active"] == "no" or
               not pausing.connection.quiet(0.01))
    b.console("resume")
    assert pausing.connection.until("Z")[-1].status == "I"
    assert c.query("commit")[-1].status == "I"


def test_disable_and_enable(broker):
    b = broker()
    c = b.connect()
    b.console("disable e2e")
    with pytest.raises(Refused) as failure:
        b.connect()
    assert "e2e" in failure.value.text
    assert c.value("select 'existing'") == "existing"
    assert b.connect(database="e2e2").value("select 1") == "1"
    b.console("enable e2e")
    assert b.connect().value("select 'new'") == "new"


def test_reconnect_and_wait_close(broker, postgres):
    """Every server is replaced as soon as it is free; WAIT_CLOSE returns when the last old one is gone."""
    b = broker()
    busy, c = b.connect(), b.connect()
    busy.query("begin")
    old = {busy.value("select pg_backend_pid()"), c.value("select pg_backend_pid()")}
    b.console("reconnect e2e")
    console = b.new_console()
    console.connection.send(wire.query("wait_close e2e"))
    assert c.value("select pg_backend_pid()") not in old
    assert console.connection.quiet(0.05)
    assert busy.value("select pg_backend_pid()") in old
    busy.query("commit")
    assert wire.command_tags(console.connection.until("Z")) == ["WAIT_CLOSE"]
    assert busy.value("select pg_backend_pid()") not in old
    eventually(lambda: not set(map(int, old)) & set(postgres.backends()))


def test_kill_and_resume(broker):
    """KILL drops clients and servers at once; new clients wait until RESUME."""
    b = broker()
    c, other = b.connect(), b.connect(database="e2e2")
    c.query("begin")
    b.console("kill e2e")
    assert set(wire.tags(c.until_closed())) <= {"E"}
    assert not b.servers(database="e2e")
    assert other.value("select 'served'") == "served"
    late = Raw(b.transaction_port).startup(user="app", database="e2e").send(wire.query("select 'late'"))
    while not late.quiet(0.1):  # the login itself may be answered, the query may not
        late.greeting.append(late.recv())
    assert set(wire.tags(late.greeting)) <= set("RSKZ")
    b.console("resume e2e")
    answer = late.until("C")
    assert wire.rows(answer) == [["late"]]


def test_kill_client(broker):
    b = broker()
    c, other = b.connect(application_name="doomed"), b.connect()
    c.query("begin")
    (row,) = b.clients(application_name="doomed")
    assert tag(b.console, f"kill_client {row['id']}") == "KILL_CLIENT"
    said = c.until_closed()
    assert set(wire.tags(said)) <= {"E"}
    assert other.value("select 'served'") == "served"
    assert not b.clients(application_name="doomed")


def test_cancel_of_pause_is_resume(broker):
    """Ctrl-C on a console that waits for its PAUSE."""
    b = broker()
    c = b.connect()
    c.query("begin")
    console = b.new_console()
    console.connection.send(wire.query("pause"))
    assert console.connection.quiet(0.1)
    cancel(b.listen_port, console.connection.pid, console.connection.key)
    eventually(lambda: {r["key"]: r["value"] for r in b.console("show state")}["paused"] == "no")
    c.query("commit")
    assert c.value("select 'resumed'") == "resumed"


@pytest.mark.parametrize("how", ["shutdown", "shutdown wait_for_clients", "shutdown wait_for_servers"])
@pytest.mark.newer
def test_shutdown(broker, how):
    b = broker()
    console = b.new_console()
    console.connection.send(wire.query(how))
    console.connection.sock.settimeout(1)
    if how.endswith("clients"):
        console.connection.until("Z")
        console.connection.terminate()
    assert b.wait_exit() == 0


# Rights ---------------------------------------------------------------------------------------------------------------

ADMIN_ONLY = ["reload", "pause", "pause e2e", "resume", "disable e2e", "enable e2e", "reconnect", "wait_close", "kill e2e",
              "kill_client 1", "set verbose = 1", "shutdown", "shutdown wait_for_clients"]
if not IS_PGBOUNCER:
    ADMIN_ONLY.append("reset_throttle")


@pytest.mark.parametrize("sql", ADMIN_ONLY)
def test_stats_user_may_not(broker, sql):
    """T10 (CVE-2026-6667): every command but SHOW is for admins."""
    b = broker()
    c = b.connect()
    fails(b.new_console("stats"), sql, "admin access needed")
    assert b.alive and c.value("select 1") == "1"


@pytest.mark.newer
@pytest.mark.parametrize("what", COLUMNS)
def test_stats_user_may_show(broker, what):
    """T10"""
    broker().new_console("stats")("show " + what)


@pytest.mark.parametrize("user", ["app", "nobody_here"])
def test_others_may_not_connect(broker, user):
    """T10, T16"""
    b = broker()
    with pytest.raises(Refused) as refused:
        b.connect(b.listen_port, user, "pgbouncer")
    if not IS_PGBOUNCER and user in b.userlist:
        assert refused.value.error.fields["H"] == "Add the user to admin_users or stats_users."


# Protocols and drivers ------------------------------------------------------------------------------------------------

@pytest.mark.ours
def test_extended_protocol(broker):
    """Named statements, Describe before Bind, portals, errors skipped up to the Sync, pipelines."""
    console = broker().console.connection
    answer = console.ask(wire.parse("s", "show version") + wire.describe("S", "s") + wire.sync())
    assert wire.tags(answer) == "1tTZ"
    assert wire.tags(console.ask(wire.bind("p", "s") + wire.describe("P", "p") + wire.execute("p") + wire.sync())) == "2TDCZ"
    assert wire.tags(console.ask(wire.run("garbage") + wire.run("show version") + wire.sync())).endswith("EZ")
    answer = console.ask(wire.run("show version") + wire.run("show state") + wire.close("S", "s") + wire.sync())
    assert wire.tags(answer).replace("D", "") == "12C12C3Z"
    assert wire.tags(console.query("show version")) == "TDCZ"


@pytest.mark.ours
def test_psycopg3_on_the_console(broker):
    """class: psycopg#817, npgsql#3316: extended protocol with the driver's own BEGIN left out."""
    b = broker()
    with psycopg.connect(f"postgresql://admin@127.0.0.1:{b.listen_port}/pgbouncer", autocommit=True) as conn:
        assert conn.execute("show version").fetchone()[0].startswith("PgBouncer")
        assert conn.execute("show pools").description[0].name == "database"
        assert conn.execute("show lists").fetchall()
        with pytest.raises(psycopg.Error):
            conn.execute("garbage")
        assert conn.execute("show state").fetchall()


def test_psycopg2_on_the_console(broker):
    b = broker()
    conn = psycopg2.connect(f"postgresql://admin@127.0.0.1:{b.listen_port}/pgbouncer")
    conn.autocommit = True
    cursor = conn.cursor()
    cursor.execute("show databases")
    assert {row[0] for row in cursor.fetchall()} == {"e2e", "e2e2", "pgbouncer"}
    conn.close()


def test_lib_pq_startup(broker):
    """The exporter's driver sends extra_float_digits in its startup packet and an empty query as ping."""
    b = broker(ignore_startup_parameters="extra_float_digits" if IS_PGBOUNCER else "")
    c = b.connect(b.listen_port, "admin", "pgbouncer", extra_float_digits="2", client_encoding="UTF8", datestyle="ISO, MDY")
    assert wire.rows(c.query("show stats"))


@pytest.mark.parametrize("garbage", [b"Q\0\0\0\3", b"Q\xff\xff\xff\xff", b"Q\0\0\0\6ab", b"\0" * 20,
                                     wire.copy_data(b"x"), wire.function_call(177, [])],
                         ids=["short", "negative", "unterminated", "zeros", "copy", "function"])
def test_garbage_on_the_console(broker, garbage):
    b = broker()
    console = b.new_console().connection
    console.send_if_open(garbage).half_close()
    assert set(wire.tags(console.until_closed())) <= {"E", "Z"}
    assert b.console("show version")
