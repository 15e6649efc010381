"""Session parameters follow the client to whichever server it gets, and reach nobody else (class 14, I5)."""

import random

import pytest

from harness import wire
from harness.compare import batches, same
from harness.system import in_threads, random_seed

FOLLOWING = {
    "DateStyle": ["ISO, MDY", "ISO, DMY", "SQL, DMY", "German, DMY"],
    "TimeZone": ["UTC", "Asia/Tokyo", "America/New_York"],
    "application_name": ["one", "two", "it's \"three\"", ""],
    "IntervalStyle": ["postgres", "iso_8601", "sql_standard"],
    "standard_conforming_strings": ["on", "off"],
}


@pytest.fixture
def one(broker):
    return broker(default_pool_size=1)


def quoted(value):
    return "'" + value.replace("'", "''") + "'"


@pytest.mark.newer
@pytest.mark.parametrize("name", FOLLOWING)
def test_set_follows_the_client(one, name):
    clients = [(one.connect(), value) for value in FOLLOWING[name]]
    for c, value in clients:
        answer = c.query(f"set {name} = {quoted(value)}")
        reported = [m.parameter for m in answer if m.tag == "S"]
        assert reported in ([], [(name, value)]), "ParameterStatus of the client's own change and of nothing else"
    for _ in range(3):
        for c, value in clients:
            answer = c.query(f"show {name}")
            assert wire.scalar(answer) == value and wire.tags(answer) == "TDCZ"


@pytest.mark.newer
def test_change_is_reported_once(one, postgres):
    """The client sees what PostgreSQL would tell it, not what the broker sends to switch a server over."""
    other = one.connect(DateStyle="German, DMY", TimeZone="Asia/Tokyo")
    parts = [wire.query("set datestyle = 'SQL, DMY'"), wire.query("select current_date is not null"),
             wire.query("set datestyle = 'SQL, DMY'"), wire.query("set timezone = 'Asia/Tokyo'"),
             wire.query("set application_name = 'told'"), wire.query("select 1")]

    def script(c):
        out = []
        for part in parts:
            out += c.ask(part)
            other.query("set datestyle = 'German, DMY'")
            other.query("select 1")
        return out

    same(postgres.connect("app", DateStyle="ISO, MDY", TimeZone="UTC"),
         one.connect(DateStyle="ISO, MDY", TimeZone="UTC"), script)


@pytest.mark.newer
def test_client_encoding_follows(one):
    """The bytes themselves: one client speaks LATIN1, the other UTF-8, over one server."""
    latin, utf = one.connect(client_encoding="LATIN1"), one.connect(client_encoding="UTF8")
    for _ in range(3):
        for c, text in ((latin, "é".encode("latin-1")), (utf, "é".encode())):
            answer = c.query(b"select '" + text + b"', octet_length('" + text + b"')")
            row = wire.find(answer, "D").body
            assert text in row and row.endswith(b"2"), row
    latin.query("set client_encoding = 'UTF8'")
    for _ in range(2):
        for c in (latin, utf):
            assert c.value("select 'é'") == "é"


@pytest.mark.newer
@pytest.mark.parametrize("undo", ["rollback", "select 1/0; commit", "rollback to s; commit"],
                         ids=["rollback", "error", "savepoint"])
@pytest.mark.parametrize("how", ["set datestyle = 'German, DMY'", "select set_config('datestyle', 'German, DMY', false)"],
                         ids=["set", "set_config"])
def test_rolled_back_set(one, undo, how):
    """class 14: a setting that was undone is the client's no more, and was never another's."""
    a, c = one.connect(DateStyle="SQL, DMY"), one.connect()
    before = c.value("show datestyle")
    a.query("begin"), a.query("savepoint s"), a.query(how)
    assert a.value("show datestyle") == "German, DMY"
    for part in undo.split("; "):
        a.query(part)
    for _ in range(3):
        assert a.value("show datestyle") == "SQL, DMY"
        assert c.value("show datestyle") == before


@pytest.mark.newer
def test_committed_set(one):
    a, c = one.connect(DateStyle="SQL, DMY"), one.connect()
    before = c.value("show datestyle")
    a.query("begin"), a.query("set datestyle = 'German, DMY'"), a.query("commit")
    for _ in range(3):
        assert a.value("show datestyle") == "German, DMY"
        assert c.value("show datestyle") == before


@pytest.mark.newer
def test_set_local(one):
    a, c = one.connect(DateStyle="SQL, DMY"), one.connect()
    before = c.value("show datestyle")
    a.query("begin"), a.query("set local datestyle = 'German, DMY'"), a.query("commit")
    for _ in range(2):
        assert a.value("show datestyle") == "SQL, DMY"
        assert c.value("show datestyle") == before


@pytest.mark.newer
def test_set_in_the_middle_of_a_pipeline(one):
    a, c = one.connect(), one.connect()
    before = c.value("show timezone")
    for zone in ("Asia/Tokyo", "America/New_York"):
        a.send(wire.run("select 1") + wire.run(f"set timezone = '{zone}'") + wire.run("show timezone") + wire.sync() +
               wire.query("show timezone"))
        assert wire.rows(a.until("Z")) == [["1"], [zone]]
        assert wire.rows(a.until("Z")) == [[zone]]
        assert c.value("show timezone") == before
        assert a.value("show timezone") == zone


@pytest.mark.newer
def test_clients_with_random_settings(broker):
    """I5: twelve clients on two servers; each always sees its own values."""
    b = broker(default_pool_size=2)
    seed = random_seed()
    names = list(FOLLOWING)

    def work(number):
        rng = random.Random(seed + number)
        mine = {name: rng.choice(values) for name, values in FOLLOWING.items()}
        startup = {k: v for k, v in mine.items() if rng.random() < 0.5 and v and k != "standard_conforming_strings"}
        with b.connect(**startup) as c:
            for name, value in mine.items():
                if name not in startup:
                    c.query(f"set {name} = {quoted(value)}")
            for _ in range(25):
                if rng.random() < 0.3:
                    name = rng.choice(names)
                    mine[name] = rng.choice(FOLLOWING[name])
                    c.query(f"set {name} = {quoted(mine[name])}")
                sql = "select " + ", ".join(f"current_setting('{n}')" for n in names)
                assert wire.rows(c.query(sql)) == [[mine[n] for n in names]]

    in_threads(12, work)


@pytest.mark.ours
@pytest.mark.parametrize("command", ["reset all", "discard all", "reset datestyle", "set datestyle to default",
                                     "Set Session DateStyle = Default; ", "set time zone default", "/* x */ reset time zone"])
@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_reset_restores_the_startup_values(one, postgres, command, extended):
    """PostgreSQL goes back to what the client's startup packet said, not to what the server was started with."""
    startup = {"DateStyle": "SQL, DMY", "TimeZone": "Asia/Tokyo", "application_name": "mine",
               "IntervalStyle": "iso_8601", "extra_float_digits": "2", "search_path": "pg_catalog"}
    show = wire.query("select " + ", ".join(f"current_setting('{n}')" for n in startup))
    other = one.connect(DateStyle="German, DMY", search_path="public")

    def script(c):
        out = []
        for part in (show, wire.query("set datestyle = 'Postgres, MDY'"), wire.query("set timezone = 'Europe/Paris'"),
                     wire.query("set application_name = 'changed'"), show,
                     wire.run(command) + wire.sync() if extended else wire.query(command), show, show):
            out += [m for m in c.ask(part) if m.tag != "S"]
            other.query("select 1")
        return out

    got = same(postgres.connect("app", **startup), one.connect(**startup), script)
    assert wire.rows(got)[-1] == wire.rows(got)[-2] != wire.rows(got)[-3]
    assert other.value("show datestyle") == "German, DMY"


@pytest.mark.ours
@pytest.mark.parametrize("mode", ["transaction", "session"])
@pytest.mark.parametrize("command", ["reset all", "discard all", "reset timezone", "set timezone to default"])
@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_pipelined_behind_a_reset(one, postgres, mode, command, extended):
    """What is sent ahead of the RESET's answer runs with the client's own settings too, also when the value that it had SET is
    just the server's own; and ParameterStatus is PostgreSQL's, message by message."""
    startup = {"TimeZone": "Asia/Tokyo", "DateStyle": "SQL, DMY"}
    show = wire.query("select current_setting('TimeZone'), current_setting('DateStyle')")
    own = postgres.connect("app").value("show timezone")
    reset = wire.run(command) + wire.sync() if extended else wire.query(command)
    parts = [(wire.query(f"set timezone = '{own}'"), 1), (reset + show + wire.query("begin") + show, 4),
             (wire.query("set timezone = 'Europe/Paris'") + wire.query("select 1/0") + wire.query("rollback") + show, 4)]

    def script(c):
        out = []
        for data, answers in parts:
            c.send(data)
            for _ in range(answers):
                out += c.until("Z")
        return out

    port = one.session_port if mode == "session" else one.transaction_port
    got = same(postgres.connect("app", **startup), one.connect(port, **startup), script)
    assert [row[0] for row in wire.rows(got) if len(row) == 2] == ["Asia/Tokyo"] * 3


@pytest.mark.ours
def test_reset_all_in_a_transaction_that_rolls_back(one, postgres):
    """class 14: a RESET that was undone."""
    startup = {"DateStyle": "SQL, DMY"}
    show = wire.query("show datestyle")
    script = batches(wire.query("set datestyle = 'German, DMY'"), wire.query("begin"), wire.query("reset all"), show,
                     wire.query("rollback"), show, show)
    got = same(postgres.connect("app", **startup), one.connect(**startup), script)
    assert wire.rows(got) == [["SQL, DMY"], ["German, DMY"], ["German, DMY"]]


@pytest.mark.ours
def test_session_authorization_does_not_leak(one):
    """I5: PostgreSQL reports it, so the broker knows; nobody else may act as somebody else."""
    a, c = one.connect(user="postgres"), one.connect(user="postgres")
    a.query("set session authorization app")
    for _ in range(2):
        assert wire.rows(c.query("select session_user, current_user")) == [["postgres", "postgres"]]


@pytest.mark.ours
def test_startup_parameters_of_many_clients_on_one_server(one):
    """Not reported by PostgreSQL, but part of the startup packet: they follow too."""
    clients = [(one.connect(work_mem=f"{n}MB", statement_timeout=str(1000 * n)), n) for n in range(3, 8)]
    plain = one.connect()
    default = plain.value("show work_mem")
    for _ in range(3):
        for c, n in clients:
            assert wire.rows(c.query("select current_setting('work_mem'), current_setting('statement_timeout')")) == \
                [[f"{n}MB", f"{n}s"]]
        assert wire.rows(plain.query("select current_setting('work_mem'), current_setting('statement_timeout')")) == \
            [[default, "0"]]


def test_application_name_add_host(broker):
    b = broker(application_name_add_host=1)
    c = b.connect(application_name="mine")
    shown = c.value("show application_name")
    assert shown.startswith("mine - 127.0.0.1:"), shown


def test_database_settings(broker, postgres):
    """client_encoding, datestyle and timezone of a line in [databases]; connect_query."""
    base = f"host={postgres.sockets} port={postgres.port} dbname=e2e"
    b = broker(databases={"e2e": f"{base} datestyle='SQL, DMY' timezone=Asia/Tokyo client_encoding=LATIN1 "
                                 "connect_query='set work_mem to ''33MB'''"})
    c = b.connect()
    assert c.value("show work_mem") == "33MB"


def test_startup_sees_what_the_login_reports(one):
    """A client that asks for a value at startup is told that value in its ParameterStatus."""
    c = one.connect(DateStyle="SQL, DMY", TimeZone="Asia/Tokyo", application_name="told", client_encoding="UTF8")
    assert (c.parameters["DateStyle"], c.parameters["TimeZone"], c.parameters["application_name"]) == \
        ("SQL, DMY", "Asia/Tokyo", "told")


@pytest.mark.ours
def test_connect_query_that_leaves_a_transaction_open(broker, postgres):
    """Whoever got the server would be in a transaction that he has not begun: it is no server for anybody."""
    b = broker(databases={"e2e": f"host={postgres.sockets} port={postgres.port} connect_query='begin'"}, query_wait_timeout=2)
    with b.connect() as client:
        error = next(message for message in client.query("select 1") if message.tag == "E")
    assert error.fields["D"] == "connect_query failed: it leaves a transaction open"
