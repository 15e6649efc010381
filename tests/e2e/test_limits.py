"""Limits on clients and servers (I8), waiting and its end."""

import pytest

from harness import wire
from harness.broker import IS_PGBOUNCER
from harness.raw import Refused
from harness.system import eventually

PID = "select pg_backend_pid()"


def begin(b, **kwargs):
    c = b.connect(**kwargs)
    c.query("begin")
    c.query("select 1")
    return c


def refused_with(b, text, **kwargs):
    with pytest.raises(Refused) as failure:
        b.connect(**kwargs)
    assert failure.value.text == text and failure.value.error.severity == "FATAL"
    assert failure.value.sqlstate == ("08P01" if IS_PGBOUNCER else "53300")


def waits(c, sql, b, **pool):
    c.send(wire.query(sql))
    eventually(lambda: b.pool(**pool)["cl_waiting"] >= 1, "the client waits")
    return c


def test_max_client_conn(broker):
    """53300 with PgBouncer's text; the console is still open to admins; who leaves makes room."""
    b = broker(max_client_conn=5)
    clients = [b.connect() for _ in range(5)]
    for _ in range(10):
        refused_with(b, "no more connections allowed (max_client_conn)")
    console = b.new_console()
    assert len([c for c in console("show clients") if c["user"] == "app"]) == 5
    clients[0].terminate()
    eventually(lambda: len([c for c in console("show clients") if c["user"] == "app"]) == 4)
    console.close()
    eventually(lambda: not refuses(b), "there is room again")
    assert clients[1].value("select 1") == "1"


def refuses(b):
    try:
        b.connect().terminate()
    except Refused:
        return True
    return False


def test_max_client_conn_and_a_storm(broker):
    """No slot is lost when many are refused at once (I12)."""
    b = broker(max_client_conn=10)
    for _ in range(3):
        held = []
        for _ in range(40):
            try:
                held.append(b.connect())
            except Refused as e:
                assert "max_client_conn" in e.text
        assert 9 <= len(held) <= 10
        for c in held:
            c.close()
        eventually(lambda: len(b.clients(user="app")) == 0)


def test_max_db_connections(broker, postgres):
    """I8: two users, two pools of five, three servers in all."""
    b = broker(max_db_connections=3, default_pool_size=5)
    clients = [begin(b), begin(b), begin(b, user="app2")]
    fourth = waits(b.connect(user="app2"), "select 'fourth'", b, user="app2")
    assert len(postgres.backends(where="usename in ('app', 'app2')")) == 3
    clients[2].query("commit")
    assert wire.rows(fourth.until("Z")) == [["fourth"]]
    assert len(postgres.backends(where="usename in ('app', 'app2')")) == 3


def test_an_idle_server_makes_room_under_max_db_connections(broker, postgres):
    """A waiter of one pool gets the place of another pool's idle server."""
    b = broker(max_db_connections=1)
    one, two = b.connect(), b.connect(user="app2")
    for _ in range(3):
        assert one.value("select current_user") == "app"
        assert two.value("select current_user") == "app2"
        assert len(postgres.backends(where="usename in ('app', 'app2')")) <= 1


@pytest.mark.newer
def test_max_user_connections(broker, postgres):
    """I8: one user, two databases, two servers in all."""
    b = broker(max_user_connections=2)
    one, two = begin(b), begin(b, database="e2e2")
    third = waits(b.connect(), "select 'third'", b)
    one.query("commit")
    assert wire.rows(third.until("Z")) == [["third"]]
    two.query("commit")


@pytest.mark.newer
@pytest.mark.parametrize("setting, other", [("max_db_client_connections", {"database": "e2e2"}),
                                            ("max_user_client_connections", {"user": "app2"})])
def test_client_limits_of_a_database_and_a_user(broker, setting, other):
    b = broker(**{setting: 3})
    clients = [b.connect() for _ in range(3)]
    with pytest.raises(Refused) as failure:
        b.connect()
    assert setting in failure.value.text
    b.connect(**other)
    clients[0].terminate()
    eventually(lambda: not refuses(b))


def test_settings_of_a_database_line(broker, postgres):
    base = f"host={postgres.sockets} port={postgres.port} dbname=e2e"
    b = broker(databases={"e2e": f"{base} pool_size=1", "limited": f"{base} max_db_connections=2",
                          "sessions": f"{base} pool_mode=session"}, default_pool_size=3)
    one = begin(b)
    two = waits(b.connect(), "select 1", b)
    one.query("commit")
    two.until("Z")
    with b.connect(b.listen_port, database="sessions") as c:
        pid = c.value(PID)
        assert c.value(PID) == pid
        assert b.pool("sessions")["sv_active"] == 1


@pytest.mark.newer
def test_settings_of_a_user(broker):
    b = broker(users={"app": "pool_size=1", "app2": "max_user_connections=1"}, default_pool_size=3)
    for user in ("app", "app2"):
        one = begin(b, user=user)
        two = waits(b.connect(user=user), "select 'two'", b, user=user)
        one.query("commit")
        assert wire.rows(two.until("Z")) == [["two"]]


def test_wildcard_database(broker, postgres):
    b = broker(databases={"*": f"host={postgres.sockets} port={postgres.port}"})
    assert b.connect(database="e2e2").value("select current_database()") == "e2e2"
    assert b.connect(database="e2e").value("select current_database()") == "e2e"


def test_reserve_pool(broker, postgres):
    """After reserve_pool_timeout a waiter gets a server beyond the pool's size, and no more than the reserve holds."""
    b = broker(default_pool_size=1, reserve_pool_size=1, reserve_pool_timeout=1)
    one, two = begin(b), b.connect()
    two.send(wire.query("begin"))
    assert two.until("Z")[-1].status == "T"
    three = waits(b.connect(), "select 'three'", b)
    assert len(postgres.backends(where="usename = 'app'")) == 2
    one.query("commit")
    assert wire.rows(three.until("Z")) == [["three"]]
    two.query("commit")


def test_min_pool_size(broker, postgres):
    """The set is filled before anybody asks, where the line says for which user."""
    b = broker(min_pool_size=3, databases={
        "e2e": f"host={postgres.sockets} port={postgres.port} dbname=e2e user=app"})
    b.connect().query("select 1")
    eventually(lambda: len(postgres.backends(where="usename = 'app'")) == 3)


@pytest.mark.ours
def test_min_pool_size_before_the_first_client(broker, postgres):
    broker(min_pool_size=3, databases={"e2e": f"host={postgres.sockets} port={postgres.port} dbname=e2e user=app"})
    eventually(lambda: len(postgres.backends(where="usename = 'app'")) == 3)


@pytest.mark.parametrize("round_robin", [0, 1])
def test_server_round_robin(broker, round_robin):
    """The most recently used server first, or the least recently used one (each worker has an order of its own)."""
    b = broker(workers=1, default_pool_size=3, server_round_robin=round_robin)
    held = [begin(b) for _ in range(3)]
    for c in held:
        c.query("commit")
    with b.connect() as c:
        pids = [c.value(PID) for _ in range(6)]
    assert len(set(pids)) == (3 if round_robin else 1), pids


# query_wait_timeout ---------------------------------------------------------------------------------------------------

@pytest.mark.ours
@pytest.mark.parametrize("request_", [wire.query("select 'late'"), wire.run("select 'late'") + wire.sync(),
                                      wire.run("select 'late'") * 5 + wire.sync()], ids=["simple", "extended", "batch"])
def test_query_wait_timeout_keeps_the_connection(broker, request_):
    """class 2, 5, 36: ERROR 53300, the rest of the batch swallowed up to its Sync, then ReadyForQuery."""
    b = broker(default_pool_size=1, query_wait_timeout=1)
    holder, c = begin(b), b.connect()
    for _ in range(2):
        answer = c.ask(request_)
        error = wire.only_error(answer)
        assert wire.tags(answer) == "EZ" and answer[-1].status == "I"
        assert (error.severity, error.sqlstate) == ("ERROR", "53300") and "query_wait_timeout" in error.text
    holder.query("commit")
    for n in range(5):
        assert c.value(f"select {n}") == str(n)


@pytest.mark.ours
def test_query_wait_timeout_in_the_middle_of_a_batch(broker):
    """class 2: the rest of the batch comes only after the timeout; nothing of it may be executed or answered."""
    b = broker(default_pool_size=1, query_wait_timeout=1)
    holder, c = begin(b), b.connect()
    c.send(wire.run("select 'first'"))
    assert c.recv().sqlstate == "53300"
    holder.query("commit")
    answer = c.ask(wire.run("select 'second'") + wire.sync())
    assert wire.tags(answer) == "Z"
    assert c.value("select 'third'") == "third"


@pytest.mark.ours
def test_query_wait_timeout_and_the_queries_behind_it(broker):
    """I2: every query of a pipeline has its own end."""
    b = broker(default_pool_size=1, query_wait_timeout=1)
    holder, c = begin(b), b.connect()
    c.send(wire.query("select 1") + wire.query("select 2"))
    assert wire.sqlstates(c.until("Z")) == ["53300"]
    holder.query("commit")
    assert wire.tags(c.until("Z")) in ("TDCZ", "EZ")
    assert c.value("select 'third'") == "third"


def test_query_wait_timeout_ends_the_wait(broker):
    b = broker(default_pool_size=1, query_wait_timeout=1)
    holder, c = begin(b), b.connect()
    c.send(wire.query("select 'late'"))
    assert "query_wait_timeout" in c.until("E")[-1].text
    assert holder.query("select 1")[-1].status == "T"


@pytest.mark.newer
def test_query_wait_notify(broker):
    """A NOTICE tells a waiting client that it waits; the answer follows whole."""
    b = broker(default_pool_size=1, query_wait_notify=1)
    holder, c = begin(b), b.connect()
    c.send(wire.query("select 'late'"))
    assert c.recv().tag == "N"
    holder.query("commit")
    answer = [m for m in c.until("Z") if m.tag != "N"]
    assert wire.tags(answer) == "TDCZ" and wire.rows(answer) == [["late"]]


# Message sizes --------------------------------------------------------------------------------------------------------

def test_max_packet_size(broker):
    """A longer message ends its sender's session, and nobody else's."""
    b = broker(max_packet_size=100000)
    c, other = b.connect(), b.connect()
    assert c.value("select length('" + "x" * 90000 + "')") == "90000"
    c.send_if_open(wire.query("select length('" + "x" * 200000 + "')"))
    assert set(wire.tags(c.until_closed())) <= {"E"}
    assert other.value("select 'served'") == "served"


@pytest.mark.ours
def test_a_parse_beyond_the_limit(broker):
    """54000: a statement's text is kept whole, so it has a limit."""
    c = broker().connect()
    c.sock.settimeout(60)
    c.send_if_open(wire.parse("s", "select '" + "x" * (200 << 20) + "'") + wire.sync())
    answer = c.until("E", 60)
    assert wire.sqlstates(answer) == ["54000"]
