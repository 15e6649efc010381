"""Ordinary work through both ports: psql, results of every size, errors and notices as PostgreSQL made them."""

import hashlib

import pytest

from harness import wire
from harness.psql import psql
from harness.raw import Raw

MODES = ["transaction", "session"]
HUNDRED_MB = 100 << 20


@pytest.mark.parametrize("mode", MODES)
def test_psql_runs_a_script(broker, mode):
    b = broker()
    table = f"basic_{mode}"
    out = psql(b.url(mode), text=f"""
        create table {table} (id int primary key, word text);
        insert into {table} select n, 'word ' || n from generate_series(1, 100) n;
        begin; update {table} set word = 'new' where id = 1; rollback;
        select word from {table} where id = 1;
        select count(*) from {table};
        drop table {table};
    """)
    assert out.splitlines()[-3:-1] == ["word 1", "100"]


@pytest.mark.parametrize("mode", MODES)
def test_psql_sees_errors_of_postgresql(broker, mode):
    b = broker()
    said = psql(b.url(mode), "select 1/0", fails=True)
    assert "22012" in said and "division by zero" in said
    said = psql(b.url(mode), "selec 1", fails=True)
    assert "42601" in said and "^" in said


def test_show_version_on_the_console(broker):
    b = broker()
    url = f"postgresql://admin@127.0.0.1:{b.listen_port}/pgbouncer"
    assert psql(url, "SHOW VERSION").startswith("PgBouncer 1.")


@pytest.mark.parametrize("mode", MODES)
def test_unix_socket(broker, mode):
    b = broker()
    port = b.transaction_port if mode == "transaction" else b.session_port
    where = b.root if port in (b.listen_port, b.settings.get(mode + "_port")) else b.siblings[mode].root
    assert psql(f"postgresql:///e2e?host={where}&port={port}&user=app", "select 40 + 2") == "42"


@pytest.mark.ours
def test_listen_port_obeys_pool_mode_and_the_others_do_not(broker):
    b = broker(pool_mode="session", default_pool_size=4)

    def first_pid_stays_linked(port):
        with b.connect(port) as a:
            a.query("select 1")
            return [c["link"] for c in b.clients(type="C", user="app")] != [""]

    assert first_pid_stays_linked(b.listen_port)
    assert first_pid_stays_linked(b.session_port)
    assert not first_pid_stays_linked(b.transaction_port)


def test_several_statements_in_one_query(broker):
    c = broker().connect()
    answer = c.query("select 1; select 2; select 3")
    assert wire.tags(answer) == "TDCTDCTDCZ"
    assert wire.rows(answer) == [["1"], ["2"], ["3"]]


def test_error_in_the_middle_of_several_statements(broker):
    c = broker().connect()
    answer = c.query("select 1; select 1/0; select 3")
    assert wire.tags(answer) == "TDCEZ" and answer[-1].status == "I"


def test_empty_query(broker):
    c = broker().connect()
    assert wire.tags(c.query("")) == "IZ"
    assert wire.tags(c.query("-- nothing")) == "IZ"


def test_notices_come_in_order(broker):
    c = broker().connect()
    answer = c.query("do $$ begin for n in 1..50 loop raise notice 'n %', n; end loop; end $$; select 'end'")
    notices = [m for m in answer if m.tag == "N"]
    assert [n.text for n in notices] == [f"n {n}" for n in range(1, 51)]
    assert wire.tags(answer) == "N" * 50 + "CTDCZ"


def test_status_byte_tells_the_truth(broker):
    """I7"""
    c = broker().connect()
    status = lambda sql: c.query(sql)[-1].status
    assert [status(s) for s in ("select 1", "begin", "select 1", "select 1/0", "select 1", "rollback", "select 1")] \
        == ["I", "T", "T", "E", "E", "I", "I"]


@pytest.mark.limit(120)
@pytest.mark.parametrize("mode", MODES)
def test_a_row_of_100_mb_to_the_client(broker, mode):
    b = broker()
    c = b.connect(getattr(b, mode + "_port"))
    answer = c.query(f"select repeat('0123456789', {HUNDRED_MB // 10})", timeout=100)
    (row,) = [m for m in answer if m.tag == "D"]
    expected = hashlib.sha256(b"0123456789" * (HUNDRED_MB // 10)).digest()
    assert hashlib.sha256(row.body[6:]).digest() == expected
    assert c.value("select 'next'") == "next"


@pytest.mark.limit(120)
@pytest.mark.parametrize("mode", MODES)
def test_a_parameter_of_100_mb_to_the_server(broker, mode):
    b = broker()
    c = b.connect(getattr(b, mode + "_port"))
    value = b"abcdefghij" * (HUNDRED_MB // 10)
    c.sock.settimeout(100)
    answer = c.ask(wire.run("select md5($1::text)", [value]) + wire.sync(), timeout=100)
    assert wire.scalar(answer) == hashlib.md5(value).hexdigest()
    assert c.value("select 'next'") == "next"


def test_a_query_text_of_16_mb(broker):
    c = broker().connect()
    text = b"select length('" + b"y" * (16 << 20) + b"')"
    assert c.value(text) == str(16 << 20)


@pytest.mark.parametrize("size", [1, 4090, 4091, 4092, 4093, 4096, 8191, 8192, 16384, 32767, 32768, 65535, 65536, 131072])
def test_sizes_around_buffers_in_both_directions(broker, size):
    """class 41: every message size passes, also those next to a buffer's size."""
    c = broker().connect()
    for step in range(-6, 3):
        length = max(0, size + step)
        answer = c.ask(wire.run("select $1::text, length($1::text)", ["v" * length]) + wire.sync())
        assert wire.rows(answer) == [["v" * length, str(length)]]


def test_1600_columns(broker):
    c = broker().connect()
    c.query("drop table if exists wide; create table wide (" + ", ".join(f"c{n} int" for n in range(1600)) + ")")
    c.query("insert into wide values (" + ", ".join(str(n) for n in range(1600)) + ")")
    answer = c.query("select * from wide")
    assert [name for name, _ in wire.find(answer, "T").columns] == [f"c{n}" for n in range(1600)]
    assert wire.rows(answer) == [[str(n) for n in range(1600)]]
    c.query("drop table wide")


def test_65535_parameters(broker):
    c = broker().connect()
    sql = "select " + " + ".join(f"coalesce(${n}::int, 0)" for n in (1, 2, 65535))
    values = ["1"] * 65535
    answer = c.ask(wire.parse("", sql, [23] * 65535) + wire.bind("", "", values) + wire.execute() + wire.sync())
    assert wire.scalar(answer) == "3"


def test_300000_rows(broker):
    c = broker().connect()
    total = 0
    c.send(wire.query("select n from generate_series(1, 300000) n"))
    while True:
        message = c.recv()
        if message.tag == "D":
            total += int(message.body[6:])
        elif message.tag == "Z":
            break
    assert total == 300000 * 300001 // 2


def test_bytes_one_by_one(broker):
    """class 41: a client whose every segment holds one byte."""
    b = broker()
    c = Raw(b.transaction_port)
    for byte in wire.startup({"user": "app", "database": "e2e"}):
        c.send(bytes([byte]))
    c.finish_login("app")
    for byte in wire.query("select 'slow'") + wire.run("select $1::text", ["x"]) + wire.sync():
        c.send(bytes([byte]))
    assert wire.rows(c.until("Z")) == [["slow"]]
    assert wire.rows(c.until("Z")) == [["x"]]


def test_binary_results(broker):
    c = broker().connect()
    answer = c.ask(wire.parse("", "select 258::int4") + wire.bind(results=[1]) + wire.execute() + wire.sync())
    assert wire.find(answer, "D").body == b"\0\1\0\0\0\4\0\0\1\2"


def test_two_databases_do_not_mix(broker):
    """class 11"""
    b = broker()
    one, two = b.connect(), b.connect(database="e2e2")
    for _ in range(20):
        assert one.value("select current_database()") == "e2e"
        assert two.value("select current_database()") == "e2e2"


def test_two_users_do_not_mix(broker):
    b = broker()
    one, two = b.connect(), b.connect(user="app2")
    for _ in range(20):
        assert one.value("select current_user") == "app"
        assert two.value("select current_user") == "app2"


def test_greeting_tells_the_servers_parameters(broker, postgres):
    """What drivers read at login: the real server's version, and that the connection is no console."""
    c = broker().connect()
    direct = postgres.connect("app")
    for name in ("server_version", "server_encoding", "client_encoding", "integer_datetimes", "DateStyle", "TimeZone",
                 "IntervalStyle", "standard_conforming_strings"):
        assert c.parameters.get(name) == direct.parameters[name], name
    assert c.pid and len(c.key) == 4
    assert c.greeting[-1].status == "I"
