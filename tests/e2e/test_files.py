"""Configuration files: what is refused, included, read again by a reload, and what stays when one is wrong."""

import ctypes
import re
import signal
import subprocess

import pytest

from harness import wire
from harness.broker import sanitizer_environment
from harness.program import closed_port, line_of, prepared, run, setting
from harness.raw import Refused
from harness.system import as_service_user, eventually, write


@pytest.mark.ours
def test_all_errors_of_a_file_at_once(broker):
    """File, line and key of each; exit 1; nothing was started."""
    made = prepared(broker, pool_mode="sometimes", default_pool_size="many", server_lifetime="-1x")
    status, text = run(made, made.ini)
    assert status == 1
    for key in ("pool_mode", "default_pool_size", "server_lifetime"):
        line = line_of(made.ini, key)
        assert re.search(rf"{re.escape(str(made.ini))}:{line}\b.*{key}", text), (key, line, text)
    assert closed_port(made.listen_port)


@pytest.mark.ours
@pytest.mark.parametrize("key, value", [("client_tls_sslmode", "require"), ("client_tls_sslmode", "verify-full"),
                                        ("server_tls_sslmode", "verify-full"), ("server_tls_sslmode", "verify-ca"),
                                        ("auth_type", "cert"), ("auth_type", "hba"),
                                        ("disable_pqexec", "1"), ("client_tls_sslmod", "require"), ("sslmode", "require"),
                                        ("auth_hba_fil", "/dev/null"), ("max_unauthenticated_per_adress", "5")])
def test_settings_whose_absence_would_open_a_door(broker, key, value):
    """T20, T25, T32: what asks for a protection and is not obeyed is refused, not ignored: TLS without the files that it needs,
    rules that are not there, `disable_pqexec`, which does not work yet, and keys that are nearly those of a protection."""
    made = prepared(broker, **{key: value})
    status, text = run(made, made.ini)
    assert status == 1 and key in text


@pytest.mark.ours
def test_what_the_installed_libpq_does_not_know(broker):
    """T25: the link is libpq's; a setting that it does not know is said at the start and by --check."""
    made = prepared(broker, server_tls_sslmode="require", server_tls_negotiation="direct", link="host=192.0.2.1 dbname=x user=app")
    warning = f"{made.ini}:{line_of(made.ini, 'server_tls_negotiation')}: server_tls_negotiation: the connection of link to " \
              "192.0.2.1 asks for TLS by SSLRequest all the same"
    knows_direct = ctypes.CDLL("libpq.so.5").PQlibVersion() >= 170000
    status, text = run(made, "--check", made.ini)
    assert status == 0 and (f"warning: {warning}" in text) != knows_direct
    made.launch()
    assert made.wait_ready()
    assert (f"WARNING {warning}" in made.log) != knows_direct


@pytest.mark.ours
def test_tls_in_a_database_line_is_refused(broker):
    """T20, T25: sslmode is of libpq, no word of [databases]: to ignore it would speak in clear."""
    made = prepared(broker, databases={"e2e": "host=127.0.0.1 sslmode=require"})
    status, text = run(made, made.ini)
    assert status == 1 and "e2e: sslmode: unknown" in text


@pytest.mark.ours
@pytest.mark.parametrize("key, value", [("so_reuseport", "1"), ("pkt_buf", "8192"), ("sbuf_loopcnt", "3"),
                                        ("suspend_timeout", "5"), ("dns_zone_check_period", "7")])
def test_settings_without_effect_are_accepted_with_one_warning(broker, key, value):
    b = broker(**{key: value})
    warnings = [line for line in b.log.splitlines() if key in line and "WARNING" in line]
    assert len(warnings) == 1 and f"{b.ini}:{line_of(b.ini, key)}" in warnings[0]


def test_section_name_of_our_own_and_quoting(broker, postgres):
    """libpq-style quoting in [databases]."""
    b = broker(databases={"odd": f"host='{postgres.sockets}' port={postgres.port} dbname='e2e' "
                                    "connect_query='select ''it''''s'''", "e2e": f"host={postgres.sockets} port={postgres.port}"})
    assert b.connect(database="odd").value("select current_database()") == "e2e"


@pytest.mark.ours
def test_section_pgberth(broker):
    b = broker(extra="[pgberth]\ndefault_pool_size = 17\n")
    assert {r["key"]: r["value"] for r in b.console("show config")}["default_pool_size"] == "17"


def test_include(broker):
    made = broker(launch=False)
    write(made.root / "more.ini", "default_pool_size = 13\n")
    made.extra = f"%include {made.root}/more.ini\n"
    made.settings.pop("default_pool_size")
    made.start()
    assert {r["key"]: r["value"] for r in made.console("show config")}["default_pool_size"] == "13"


@pytest.mark.ours
def test_a_user_list_where_the_broker_was_started(broker):
    """T20: a relative name means the file beside the configuration, not what stands in whatever folder somebody is in."""
    made = broker(launch=False, auth_type="plain", auth_file="userlist.txt")
    made.userlist.update(admin="right", app="right")
    planted = made.root / "elsewhere"
    planted.mkdir()
    write(planted / "userlist.txt", '"admin" "planted"\n"app" "planted"\n')

    def launch():
        with open(made.output_path, "ab") as out:
            made.process = subprocess.Popen([str(made.binary), str(made.ini)], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                            cwd=planted, env=sanitizer_environment(), **as_service_user())

    made.launch = launch
    made.start()

    def check():
        for user, database in (("admin", "pgbouncer"), ("app", "e2e")):
            with pytest.raises(Refused):
                made.connect(user=user, database=database, password="planted")
            made.connect(user=user, database=database, password="right").close()

    check()
    with made.connect(user="admin", database="pgbouncer", password="right") as console:
        console.query("reload")
    check()
    assert f'auth_file: there is another "{planted}/userlist.txt"' in made.log


def test_reload_by_signal(broker, postgres):
    b = broker(default_pool_size=3)
    c = b.connect()
    c.query("begin")
    b.settings["default_pool_size"] = 4
    b.databases["added"] = f"host={postgres.sockets} port={postgres.port} dbname=e2e"
    b.userlist["added"] = ""
    b.write_files()
    b.signal(signal.SIGHUP)
    eventually(lambda: setting(b, "default_pool_size") == "4")
    assert c.query("commit")[-1].status == "I"
    assert b.connect(database="added").value("select current_database()") == "e2e"


def test_reload_back_and_forth(broker):
    """class 66: A, B, A."""
    b = broker(default_pool_size=3)
    for size in (4, 3, 4, 3):
        b.settings["default_pool_size"] = size
        b.reload()
        assert setting(b, "default_pool_size") == str(size)


@pytest.mark.ours
def test_reload_of_a_wrong_file_keeps_what_runs(broker):
    """class 66: the log names file, line and key; nothing changes; a later good file is read."""
    b = broker(default_pool_size=3)
    c = b.connect()
    c.query("begin")
    good = dict(b.settings)
    b.settings.update(default_pool_size=4, pool_mode="sometimes", query_timeout="soon")
    b.write_files()
    b.signal(signal.SIGHUP)
    for key in ("pool_mode", "query_timeout"):
        place = rf"{re.escape(str(b.ini))}:{line_of(b.ini, key)}\b.*{key}"
        eventually(lambda: re.search(place, b.log), place)
    assert setting(b, "default_pool_size") == "3"
    assert c.query("commit")[-1].status == "I"
    answer = b.console.connection.query("reload")
    assert wire.sqlstates(answer) == ["F0000"]
    b.settings = {**good, "default_pool_size": 5}
    b.reload()
    assert setting(b, "default_pool_size") == "5"


def test_reload_of_another_file(broker):
    """SET conffile, then RELOAD: that file is read, now and by the reloads that follow."""
    b = broker(default_pool_size=3)
    other = b.root / "other.ini"
    for size in (4, 5):
        write(other, b.ini.read_text().replace("default_pool_size = 3", f"default_pool_size = {size}"))
        if size == 4:
            b.console(f"set conffile = '{other}'")
        b.console("reload")
        assert setting(b, "default_pool_size") == str(size) and setting(b, "conffile") == str(other)
    b.console(f"set conffile = '{b.ini}'")
    b.console("reload")
    assert setting(b, "default_pool_size") == "3"


@pytest.mark.ours
@pytest.mark.parametrize("content", ["[databases", "\0\0\0", "[pgbouncer]\nlisten_port", "%include /no/such/file\n"],
                         ids=["half", "zeros", "no value", "include"])
def test_reload_of_a_broken_file(broker, content):
    """class 66: half-written, missing."""
    b = broker()
    c = b.connect()
    whole = b.ini.read_text()
    write(b.ini, content)
    b.console.connection.query("reload")
    assert c.value("select 1") == "1"
    b.ini.unlink()
    assert wire.sqlstates(b.console.connection.query("reload")) == ["F0000"]
    write(b.ini, whole)
    b.console("reload")
    assert b.connect().value("select 1") == "1"


@pytest.mark.ours
def test_reload_of_a_file_cut_off_behind_its_section(broker):
    """class 66: it looks like a file of defaults, and would take databases and users away."""
    b = broker()
    write(b.ini, "[databases]\n[pgbouncer]\n")
    b.signal(signal.SIGHUP)
    eventually(lambda: "is the file complete?" in b.log)
    assert wire.sqlstates(b.console.connection.query("reload")) == ["F0000"]
    assert b.connect().value("select 1") == "1"
    status, text = run(b, "--check", b.ini)
    assert status == 0, text


def test_database_removed_by_a_reload(broker):
    """class 66: clients of a line that is gone are told, nobody else is."""
    b = broker()
    c, other = b.connect(database="e2e2"), b.connect()
    c.query("select 1")
    del b.databases["e2e2"]
    b.reload()
    with pytest.raises(Refused):
        b.connect(database="e2e2")
    assert other.value("select 'served'") == "served"


def test_reload_leads_a_database_elsewhere(broker):
    """A server of the old place ends its transaction and is not used again."""
    b = broker(default_pool_size=2)
    inside, outside = b.connect(), b.connect()
    inside.query("begin")
    assert outside.value("select current_database()") == "e2e"
    b.databases["e2e"] = b.databases["e2e2"]
    b.reload()
    eventually(lambda: outside.value("select current_database()") == "e2e2", "the new place")
    assert inside.value("select current_database()") == "e2e"
    inside.query("commit")
    assert inside.value("select current_database()") == "e2e2"


def test_storm_of_reloads(broker):
    """class 66"""
    b = broker()
    c = b.connect()
    for n in range(100):
        b.signal(signal.SIGHUP)
        assert c.value(f"select {n}") == str(n)
    assert b.connect().value("select 1") == "1"
