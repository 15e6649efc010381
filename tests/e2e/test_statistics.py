"""What the console shows beyond PgBouncer's tables: latency, errors, who had which server, each client's counters, who waits;
and a PAUSE that resumes by itself. Numbers are counted here too and must agree; of times only what must be true on any
machine is asked (a sleep takes no less than its time, an order, a sum)."""

import datetime

import pytest

from harness import wire
from harness.raw import Raw, Refused
from harness.system import eventually

pytestmark = pytest.mark.ours

QUANTILES = ("p50_us", "p95_us", "p99_us", "p999_us", "max_us")


def latency(b, kind, database="e2e"):
    """The numbers of one row of SHOW LATENCY, and its quantiles in order."""
    row = next(r for r in b.console("show latency") if (r["database"], r["user"], r["kind"]) == (database, "app", kind))
    return int(row["count"]), int(row["sum_us"]), [int(row[name]) for name in QUANTILES]


def errors(b):
    return {(r["database"], r["user"], r["source"], r["sqlstate"]): int(r["count"]) for r in b.console("show errors")}


def serial(b, connection):
    """`id` of a client, found by its port."""
    port = str(connection.sock.getsockname()[1])
    return next(r["id"] for r in b.clients() if r["port"] == port)


def instant(text):
    """ISO 8601 with microseconds and offset."""
    moment = datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z")
    assert moment.utcoffset() == datetime.timedelta(0)
    return moment


def history(b):
    return b.console("show server_history")


# BROKER ---------------------------------------------------------------------------------------------------------------

def test_broker_in_one_row(broker):
    b = broker(default_pool_size=2, max_client_conn=321, pool_mode="session", workers=2)
    before = b.console("show broker")[0]
    assert [before[k] for k in ("clients", "clients_active", "clients_waiting", "servers", "servers_active")] == ["0"] * 5
    clients = [b.connect() for _ in range(4)]
    for c in clients[:2]:
        c.query("begin")
    clients[2].send(wire.query("select 1"))
    eventually(lambda: b.console("show broker")[0]["clients_waiting"] == "1")
    other = b.connect(database="e2e2")
    other.query("select 1")
    row = b.console("show broker")[0]
    assert [row[k] for k in ("clients", "clients_active", "servers", "servers_active")] == ["5", "2", "3", "2"]
    assert (row["pool_mode"], row["workers"], row["max_client_conn"], row["paused"]) == ("session", "2", "321", "f")
    assert row["id"] == before["id"] and row["name"] and row["version"] in b.console("show berth version")[0]["version"]
    assert row["started_at"] == before["started_at"]
    assert instant(row["started_at"]) <= instant(before["now"]) <= instant(row["now"])
    for c in clients[:2]:
        c.query("commit")
    clients[2].until("Z")
    b.console("pause")
    assert b.console("show broker")[0]["paused"] == "t"


def test_broker_has_an_id_of_its_own(broker):
    assert len({broker().console("show broker")[0]["id"] for _ in range(3)}) == 3


# LATENCY --------------------------------------------------------------------------------------------------------------

def test_latency_counts_queries_and_transactions(broker):
    b = broker()
    c = b.connect()
    for _ in range(20):
        c.query("select 1")
    c.query("begin")
    c.query("select pg_sleep(0.05)")
    c.query("commit")
    assert latency(b, "query")[0] == 23 and latency(b, "transaction")[0] == 21 and latency(b, "wait")[0] == 21
    for kind in ("wait", "query", "transaction"):
        count, total, quantiles = latency(b, kind)
        assert quantiles == sorted(quantiles) and quantiles[-1] <= total, kind
    assert latency(b, "query")[2][-1] >= 50_000 <= latency(b, "transaction")[2][-1]
    assert latency(b, "query")[2][0] < 50_000  # of 23, one slept
    row = next(r for r in b.console("show stats") if r["database"] == "e2e")
    for kind, column in (("wait", "wait"), ("query", "query"), ("transaction", "xact")):
        assert latency(b, kind)[1] == int(row[f"total_{column}_time"]), kind


def test_latency_of_waits(broker):
    """Who waits for a server is in it with the time that it waited, who does not with 0."""
    b = broker(default_pool_size=1)
    first, second = b.connect(), b.connect()
    first.query("select 1")
    before = latency(b, "wait")
    first.query("begin")
    second.send(wire.query("select 'waited'"))
    eventually(lambda: b.pool()["cl_waiting"] == 1)
    first.query("select pg_sleep(0.05)")
    first.query("commit")
    assert wire.rows(second.until("Z")) == [["waited"]]
    count, total, quantiles = latency(b, "wait")
    assert count == before[0] + 2 and total >= before[1] + 50_000 and quantiles[-1] >= 50_000


def test_latency_of_a_pool_is_its_own(broker):
    b = broker()
    b.connect().query("select 1")
    b.connect(database="e2e2").query("begin")
    assert latency(b, "query") and latency(b, "query", "e2e2")[0] == 1
    assert latency(b, "transaction", "e2e2") == (0, 0, [0] * 5)


# ERRORS ---------------------------------------------------------------------------------------------------------------

def test_errors_of_postgresql(broker):
    b = broker()
    c = b.connect()
    assert errors(b) == {}
    for _ in range(3):
        c.query("select 1/0")
    c.query("select no_such_column")
    c.ask(wire.parse("", "select 1/$1::int") + wire.bind("", "", [b"0"]) + wire.execute() + wire.sync())
    c.query("begin; select 1")
    c.query("no sql at all")
    c.query("rollback")
    expected = {("e2e", "app", "server", "22012"): 4, ("e2e", "app", "server", "42703"): 1,
                ("e2e", "app", "server", "42601"): 1}
    assert errors(b) == expected
    b.connect(database="e2e2").query("select 1/0")
    assert errors(b) == {**expected, ("e2e2", "app", "server", "22012"): 1}


def test_errors_of_the_broker(broker):
    b = broker(default_pool_size=1, query_wait_timeout=1)
    with pytest.raises(Refused) as refused:
        b.connect(database="nowhere")
    holder = b.connect()
    holder.query("begin")
    late = b.connect()
    answer = late.query("select 1")
    mine = wire.only_error(answer).sqlstate
    assert errors(b) == {(None, None, "broker", refused.value.sqlstate): 1, ("e2e", "app", "broker", mine): 1}


def test_errors_fatal_of_a_backend(broker, control):
    """What an administrator of PostgreSQL ends is told to the client in PostgreSQL's words."""
    b = broker()
    c = b.connect()
    c.query("begin")
    pid = c.value("select pg_backend_pid()")
    control.sql(f"select pg_terminate_backend({pid})")
    c.until_closed()
    assert errors(b)[("e2e", "app", "server", "57P01")] == 1


# SERVER_HISTORY -------------------------------------------------------------------------------------------------------

def test_history_names_who_is_gone(broker):
    """The question: who held this backend when the lock was taken?"""
    b = broker(workers=1, default_pool_size=1)
    first = b.connect(application_name="billing")
    pid = first.value("select pg_backend_pid()")
    first.query("begin; select 1")
    first.query("commit")
    id_, port = serial(b, first), first.sock.getsockname()[1]
    first.terminate()
    eventually(lambda: not b.clients(user="app"))
    second = b.connect(application_name="reports")
    second.query("begin")
    rows = history(b)
    assert [r["application_name"] for r in rows] == ["billing", "reports"]
    for row in rows:
        assert row["server_pid"] == pid and row["server_id"] == b.servers(user="app")[0]["id"]
        assert (row["database"], row["user"], row["client_addr"]) == ("e2e", "app", "127.0.0.1")
    gone, here = rows
    assert gone["client_id"] == id_ and gone["client_port"] == str(port)
    assert (gone["transactions"], gone["queries"]) == ("2", "3")
    assert instant(gone["linked_at"]) <= instant(gone["released_at"]) <= instant(here["linked_at"])
    assert here["released_at"] is None and (here["transactions"], here["queries"]) == ("0", "1")
    second.query("set application_name = 'renamed'")
    assert history(b)[1]["application_name"] == "renamed"
    second.query("commit")
    assert history(b)[1]["released_at"] is not None


def test_history_keeps_the_last_sixteen(broker):
    b = broker(workers=1, default_pool_size=1)
    clients = [b.connect(application_name=f"client {n}") for n in range(20)]
    for c in clients:
        c.query("select 1")
    clients[-1].query("select 1")  # twice in a row: one entry
    rows = history(b)
    assert [r["application_name"] for r in rows] == [f"client {n}" for n in range(4, 20)]
    assert [r["queries"] for r in rows] == ["1"] * 15 + ["2"]
    clients[4].query("select 1")
    assert [r["application_name"] for r in history(b)][-2:] == ["client 19", "client 4"]


def test_history_of_a_session_and_of_a_client_that_breaks_off(broker):
    b = broker(workers=1, default_pool_size=1, transaction_reserve=0)
    first = b.session()
    first.query("select 1")
    first.query("select 2")
    assert [(r["transactions"], r["released_at"]) for r in history(b)] == [("2", None)]
    first.send(wire.query("select pg_sleep(60)"))
    eventually(lambda: b.console("show client_counters")[0]["state"] == "active")
    first.abort()
    eventually(lambda: history(b) and history(b)[0]["released_at"] is not None)


# CLIENT_COUNTERS ------------------------------------------------------------------------------------------------------

def test_client_counters(broker):
    b = broker()
    c, idle = b.connect(application_name="worker"), b.connect(application_name="idle")
    sent = [wire.query("select repeat('x', 10000)"), wire.query("begin"), wire.query("select pg_sleep(0.02)")]
    got = [m for data in sent for m in c.ask(data)]
    pid = c.value("select pg_backend_pid()")
    sent.append(wire.query("select pg_backend_pid()"))
    rows = {r["application_name"]: r for r in b.console("show client_counters")}
    row = rows["worker"]
    assert row["client_id"] == serial(b, c) and (row["database"], row["user"]) == ("e2e", "app")
    assert (row["client_addr"], row["client_port"]) == ("127.0.0.1", str(c.sock.getsockname()[1]))
    assert (row["state"], row["server_pid"]) == ("active", pid)
    assert (row["transactions"], row["queries"], row["features"]) == ("1", "4", "")
    assert int(row["bytes_in"]) == sum(map(len, sent))
    assert int(row["bytes_out"]) >= sum(len(m.body) + 5 for m in got)
    assert int(row["query_us"]) >= 20_000 and int(row["xact_us"]) > 0 and int(row["wait_us"]) >= 0
    assert instant(row["connected_at"]) <= instant(row["transaction_started_at"])
    c.query("commit")
    row = next(r for r in b.console("show client_counters") if r["application_name"] == "worker")
    assert (row["state"], row["server_pid"], row["transaction_started_at"]) == ("idle", "0", None)
    assert row["transactions"] == "2" and int(row["xact_us"]) >= 20_000
    assert [rows["idle"][k] for k in ("transactions", "queries", "bytes_in", "bytes_out", "wait_us")] == ["0"] * 5
    idle.close()


@pytest.mark.parametrize("sql, names", [
    ("select 1", ""), ("listen news", "listen"), ("prepare p as select 1", "prepare"),
    ("declare c cursor with hold for select 1", "hold_cursor"), ("set statement_timeout = '1h'", "set"),
    ("listen news; prepare q as select 1", "listen,prepare")])
def test_features_that_a_client_broke(broker, sql, names):
    b = broker(default_pool_size=1)
    c = b.connect()
    c.query(sql)
    assert [r["features"] for r in b.console("show client_counters")] == [names]
    c.query("unlisten *; deallocate all; close all")


def test_counters_over_a_unix_socket(broker):
    b = broker()
    c = Raw(b.transaction_port, str(b.root)).login("app", "e2e")
    c.query("select 1")
    shown = b.clients(user="app")[0]
    for row in (b.console("show client_counters")[0], history(b)[0]):
        assert (row["client_addr"], row["client_port"]) == (shown["addr"], shown["port"]) == ("unix", str(b.transaction_port))


# QUEUE ----------------------------------------------------------------------------------------------------------------

def test_queue_in_its_order(broker):
    b = broker(default_pool_size=1)
    holder, other = b.connect(), b.connect(database="e2e2")
    holder.query("begin")
    other.query("begin")
    assert b.console("show queue") == []
    waiting = []
    for number, database in enumerate(("e2e", "e2e", "e2e2", "e2e")):
        waiting.append(b.connect(database=database, application_name=f"waiter {number}"))
        waiting[-1].send(wire.query("select 1"))
        eventually(lambda: len(b.console("show queue")) == number + 1)
    rows = b.console("show queue")
    assert [r["application_name"] for r in rows] == [f"waiter {n}" for n in range(4)]
    assert [(r["database"], r["position"]) for r in rows] == [("e2e", "1"), ("e2e", "2"), ("e2e2", "1"), ("e2e", "3")]
    assert [r["client_id"] for r in rows] == [serial(b, c) for c in waiting]
    assert all((r["user"], r["client_addr"]) == ("app", "127.0.0.1") for r in rows)
    times = [int(r["waiting_us"]) for r in rows]
    assert times == sorted(times, reverse=True)
    holder.query("commit")
    other.query("commit")
    for c in waiting:
        c.until("Z")
    assert b.console("show queue") == []


# PAUSE FOR ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("command", ["pause for 300", "pause e2e for 300"])
def test_pause_resumes_by_itself(broker, command):
    b = broker()
    c = b.connect()
    c.query("select 1")
    console = b.new_console()
    assert wire.command_tags(console.connection.query(command)) == ["PAUSE"]
    console.close()  # the deadline outlives whoever has set it
    assert c.value("select 'served'") == "served"
    assert next(r for r in b.console("show databases") if r["name"] == "e2e")["paused"] == "0"
    assert {r["key"]: r["value"] for r in b.console("show state")}["paused"] == "no"
    assert "is over: resuming" in b.log


@pytest.mark.parametrize("command", ["pause for 100", "pause e2e for 100"])
def test_pause_that_cannot_end_in_its_time(broker, command):
    b = broker()
    c = b.connect()
    c.query("begin")
    console = b.new_console()
    error = wire.only_error(console.connection.query(command))
    assert error.sqlstate == "57014" and "deadline" in error.text
    assert c.query("commit")[-1].status == "I" and c.value("select 1") == "1"


def test_pause_for_no_time(broker):
    b = broker()
    for command in ("pause e2e for 0", "pause for 0"):
        assert wire.only_error(b.console.connection.query(command)).sqlstate == "22023"
    for command in ("pause e2e for", "pause e2e for ever", "pause e2e for -1", "resume e2e for 5"):
        assert "invalid command" in wire.only_error(b.console.connection.query(command)).text
    assert {r["name"]: r["paused"] for r in b.console("show databases")}["e2e"] == "0"
    ask = wire.parse("", "pause $1 for $2") + wire.bind("", "", [b"e2e", b"200"]) + wire.execute() + wire.sync()
    assert wire.command_tags(b.console.connection.ask(ask)) == ["PAUSE"]
    assert b.connect().value("select 1") == "1"


def test_advice_facts(broker):
    """Most servers in use at once, and the settings of the file that do nothing."""
    b = broker(default_pool_size=5, min_pool_size=5, job_name="mine", disable_pqexec=0)
    with b.connect() as one, b.connect() as two:
        one.query("begin")
        two.query("begin")
        two.query("rollback")
        one.query("rollback")
        two.query("select 1")
    facts = [(r["name"], r["database"], r["user"], r["value"]) for r in b.console("show advice_facts")]
    assert ("servers_peak", "e2e", "app", "2") in facts
    assert [f for f in facts if f[0] == "ignored_setting"] == [("ignored_setting", "", "", "job_name")]
