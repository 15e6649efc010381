"""What transaction mode cannot give: the log says so, once per client and feature, and says nothing of what works."""

import pytest

from harness import wire


def told(b):
    """What the log says of features that need session mode, each without the client's name."""
    return [line.partition(" mode: ")[2].split(" stays")[0] for line in b.log.splitlines() if "use session mode for it" in line]


@pytest.mark.ours
@pytest.mark.parametrize("sql, what", [
    ("listen news", "LISTEN"), ("begin; listen news; commit", "LISTEN"), ("prepare p as select 1", "PREPARE in SQL"),
    ("declare c cursor with hold for select 1", "a cursor WITH HOLD"),
    ("set statement_timeout = '1h'", "SET of a parameter that PostgreSQL does not report"),
    ("set role none", "SET of a parameter that PostgreSQL does not report")])
def test_log_says_once_what_needs_session_mode(broker, sql, what):
    b = broker(default_pool_size=1)
    c = b.connect()
    for _ in range(3):
        c.query(sql)
        c.query("deallocate all")
    if ";" not in sql:
        c.ask(wire.parse("", sql) + wire.bind() + wire.execute() + wire.sync())
    c.query("deallocate all; close all")
    assert told(b) == [what]
    warning = next(line for line in b.log.splitlines() if what in line)
    assert f"WARNING C-0x" in warning and f":{c.sock.getsockname()[1]} transaction mode: {what}" in warning
    c.query("listen other")  # another feature has a line of its own
    assert sorted(told(b)) == sorted({what, "LISTEN"})
    b.connect().query(sql)  # and so has another client
    assert told(b).count(what) == 2


@pytest.mark.ours
@pytest.mark.parametrize("sql", [
    "set application_name = 'x'", "set datestyle = 'ISO, DMY'", "begin; set local statement_timeout = 1000; commit",
    "begin; declare c cursor for select 1; fetch c; commit", "begin; declare c cursor for select 1; rollback",
    "begin; set transaction isolation level serializable; commit", "set constraints all deferred", "select 1", "reset all",
    "create temp table if not exists t (a int)", "set no_such_thing = 1", "begin; set statement_timeout = 1000; rollback"])
def test_log_does_not_complain_of_what_works(broker, sql):
    b = broker(default_pool_size=1)
    c = b.connect()
    for part in (sql, *sql.split(";")):
        c.query(part)
    c.query("select 1")
    assert told(b) == []


@pytest.mark.ours
def test_session_mode_needs_no_such_line(broker):
    b = broker(default_pool_size=2)
    for sql in ("listen news", "prepare p as select 1", "set statement_timeout = '1h'"):
        b.session().query(sql)
    assert told(b) == []
