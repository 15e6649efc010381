"""Two workers: everything that is said of one pool holds for the process, not for each thread."""

import os
import signal
import tempfile

import pytest

from harness import wire
from harness.psql import pgbench
from harness.raw import Refused, cancel
from harness.system import eventually, in_threads

pytestmark = pytest.mark.ours
PID = "select pg_backend_pid()"


@pytest.fixture
def two(broker):
    def start(**settings):
        return broker(workers=2, **settings)
    return start


def threads_cpu(b):
    """CPU ticks of each thread of the process, by its name."""
    out = []
    for task in os.listdir(f"/proc/{b.pid}/task"):
        text = open(f"/proc/{b.pid}/task/{task}/stat").read()
        name, rest = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
        out.append((name, int(rest[11]) + int(rest[12])))
    return out


def test_one_limit(two, postgres):
    """I8: a pool of three is three servers, whichever workers its clients are on."""
    b = two(default_pool_size=3)
    clients = [b.connect() for _ in range(20)]
    for c in clients:
        c.send(wire.query(PID + " from pg_sleep(0.02)"))
    assert len({wire.scalar(c.until("Z")) for c in clients}) <= 3
    assert len(postgres.backends(where="usename = 'app'")) <= 3


def test_one_server_serves_both_workers(two):
    """An idle server travels to the worker that has a waiter."""
    b = two(default_pool_size=1)
    clients = [b.connect() for _ in range(10)]
    pids = set()
    for _ in range(20):
        for c in clients:
            pids.add(c.value(PID))
    assert len(pids) == 1


def test_nobody_starves(two):
    """I9, class 42: twenty clients over one server, all of them come to an end."""
    b = two(default_pool_size=1)

    def work(number):
        with b.connect() as c:
            for turn in range(50):
                assert c.value(f"select '{number}.{turn}'") == f"{number}.{turn}"

    in_threads(20, work)


def test_max_client_conn_is_one_limit(two):
    b = two(max_client_conn=7)
    clients = [b.connect() for _ in range(7)]
    for _ in range(6):
        with pytest.raises(Refused) as failure:
            b.connect()
        assert failure.value.sqlstate == "53300" and "max_client_conn" in failure.value.text
    clients.pop().terminate()
    eventually(lambda: connects(b))


def connects(b):
    try:
        b.connect().terminate()
        return True
    except Refused:
        return False


def test_both_workers_serve(two):
    """Clients are spread, and both threads do a share of the work."""
    b = two(default_pool_size=8)
    clients = [b.connect() for _ in range(16)]

    def work(number):
        for turn in range(400):
            assert clients[number].value(f"select {turn}") == str(turn)

    in_threads(16, work)
    busy = sorted((ticks, name) for name, ticks in threads_cpu(b))
    assert len(busy) >= 2
    print(busy)
    assert busy[-2][0] > 0, f"only one thread has worked: {busy}"


def test_statements_and_settings_across_workers(two):
    """class 22, 25, I5: a server that travels takes along what is known about it."""
    b = two(default_pool_size=2, max_prepared_statements=3)

    def work(number):
        style = ["ISO, MDY", "ISO, DMY", "German, DMY"][number % 3]
        with b.connect(DateStyle=style) as c:
            for n in range(4):
                c.ask(wire.parse(f"s{n}", f"select '{number}.{n}.' || $1::text, current_setting('datestyle')") + wire.sync())
            for turn in range(40):
                answer = c.ask(wire.rerun(f"s{turn % 4}", [turn]) + wire.sync())
                assert wire.rows(answer) == [[f"{number}.{turn % 4}.{turn}", style]]

    in_threads(12, work)


def test_cancel_across_workers(two, control):
    """The cancel request's connection lands on any worker; ten of them, so on both."""
    b = two(default_pool_size=4)
    clients = [b.connect() for _ in range(4)]
    for _ in range(5):
        for c in clients:
            c.send(wire.query("select pg_sleep(600)"))
        eventually(lambda: control.sql("select count(*) from pg_stat_activity where wait_event = 'PgSleep'") == [["4"]])
        for c in clients:
            cancel(b.transaction_port, c.pid, c.key)
        for c in clients:
            assert wire.sqlstates(c.until("Z")) == ["57014"]


def test_cancel_of_waiting_clients_across_workers(two):
    b = two(default_pool_size=1)
    holder = b.connect()
    holder.query("begin")
    clients = [b.connect() for _ in range(6)]
    for c in clients:
        c.send(wire.query("select 'never'"))
    eventually(lambda: b.pool()["cl_waiting"] == 6)
    for c in clients:
        cancel(b.transaction_port, c.pid, c.key)
        assert wire.sqlstates(c.until("Z")) == ["57014"]
    holder.query("commit")


def test_console_sees_everything(two):
    b = two(default_pool_size=4)
    clients = [b.connect(application_name=f"c{n}") for n in range(10)]
    for c in clients[:4]:
        c.query("begin")
    for c in clients[4:]:
        c.send(wire.query("select 1"))
    eventually(lambda: b.pool()["cl_waiting"] == 6)
    pool = b.pool()
    assert (pool["cl_active"], pool["sv_active"], pool["sv_idle"]) == (4, 4, 0)
    assert {r["application_name"] for r in b.clients(user="app")} == {f"c{n}" for n in range(10)}
    for c in clients[:4]:
        c.query("commit")
    for c in clients[4:]:
        c.until("Z")
    rows = [r for r in b.console("show stats_totals") if r["database"] == "e2e"]
    assert len(rows) == 1
    eventually(lambda: int([r for r in b.console("show stats_totals") if r["database"] == "e2e"][0]["query_count"]) == 14)


def test_commands_reach_both_workers(two):
    """PAUSE, RESUME, RECONNECT, KILL, DISABLE, RELOAD, SET."""
    b = two(default_pool_size=3)
    clients = [b.connect() for _ in range(8)]
    for c in clients:
        c.query("select 1")
    b.console("pause")
    assert not b.servers(user="app")
    for c in clients:
        c.send(wire.query("select 'resumed'"))
    eventually(lambda: b.pool()["cl_waiting"] == 8)
    b.console("resume")
    for c in clients:
        assert wire.rows(c.until("Z")) == [["resumed"]]
    old = {c.value(PID) for c in clients}
    b.console("reconnect")
    b.console("wait_close")
    assert not old & {c.value(PID) for c in clients}
    b.settings["default_pool_size"] = 1
    b.reload()
    b.console("disable e2e")
    for _ in range(4):
        with pytest.raises(Refused):
            b.connect()
    b.console("enable e2e")
    b.console("kill e2e")
    for c in clients:
        c.until_closed()
    b.console("resume e2e")
    assert b.connect().value("select 1") == "1"


def test_clients_leave_on_both_workers(two, control):
    """A ROLLBACK each, not a backend, wherever the client was."""
    b = two(default_pool_size=2)
    with b.connect() as c:
        c.query("begin")
        with b.connect() as d:
            pids = {c.value(PID), d.value(PID)}
        c.query("rollback")
    for how in ("close", "abort", "terminate"):
        for _ in range(10):
            c = b.connect()
            c.query("begin")
            assert c.value(PID) in pids
            getattr(c, how)()
    eventually(lambda: b.pool()["sv_active"] == 0)
    # A server that is being rolled back is active no more.
    eventually(lambda: not control.sql("select 1 from pg_stat_activity where state like 'idle in transaction%'"), "all is rolled back")


@pytest.mark.limit(150)
def test_pgbench_with_two_workers(two, postgres):
    """500 clients on 20 backends."""
    postgres.sql("create table if not exists hammered (n int primary key, c int); insert into hammered "
                 "select n, 0 from generate_series(1, 100) n on conflict do nothing", database="e2e", user="app")
    b = two(default_pool_size=20)
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write("\\set n random(1, 100)\nbegin;\nselect c from hammered where n = :n;\n"
                     "update hammered set c = c + 1 where n = :n;\ncommit;\n")
        script.flush()
        out = pgbench(b.url(), "-f", script.name, "-M", "extended", "-n", "-c", "200", "-j", "2", "-t", "5")
    assert "actually processed: 1000/1000" in out
    assert postgres.value("select sum(c) from hammered", "e2e") == "1000"
    postgres.sql("drop table hammered", database="e2e")


def test_shutdown_with_two_workers(two):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        b = two()
        clients = [b.connect() for _ in range(6)]
        for c in clients:
            c.query("select 1")
        b.signal(number)
        if number == signal.SIGTERM:
            for c in clients:
                assert c.value("select 'still'") == "still"
                c.terminate()
        assert b.wait_exit() in (0, 1)
