"""The tests of the extension: pgTAP against a private PostgreSQL with real brokers in front.

Each scenario brings brokers and clients into a state and then runs one file of this directory by pg_prove, which looks at
the state from inside PostgreSQL. Nothing is installed into the system (tests/private_tree.py).

    tests/sql/run.py [SCENARIO ...]

The last line is "N passed, N failed".
"""

import datetime
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PG_CONFIG = os.environ.get("PG_CONFIG", "pg_config")
sys.path[:0] = [str(HERE), str(ROOT / "tests" / "e2e"), str(ROOT / "tests")]


from fake_console import FakeConsole  # noqa: E402
from private_tree import pg_config, private_tree  # noqa: E402
from results import add, check, fail  # noqa: E402

SYSTEM_BIN = pg_config("bindir", PG_CONFIG)

from harness import system  # noqa: E402

system.PG_BIN = SYSTEM_BIN
TREE = system.make_directory()
os.umask(0o022)
system.PG_BIN = private_tree(TREE, PG_CONFIG)

from harness import broker as brokers  # noqa: E402
from harness import postgres as clusters  # noqa: E402
from harness import wire  # noqa: E402
from harness.raw import Closed, Raw, Refused  # noqa: E402

import auth_query  # noqa: E402
import migration_adopt  # noqa: E402
import migration_backfill  # noqa: E402
import migration_ddl  # noqa: E402
import migration_hostile  # noqa: E402
import migration_locks  # noqa: E402
import migration_ports  # noqa: E402
import migration_steps  # noqa: E402
import migration_transactional  # noqa: E402
import migration_resolve  # noqa: E402
import migration_restore  # noqa: E402
import migration_status  # noqa: E402
import migration_verify  # noqa: E402
import upgraded  # noqa: E402

SECRET = "the link's secret"
PASSWORDS = {"consoler": SECRET, "app": "app", "app2": "app2", "admin": "admin"}
DATABASE = "e2e"
CROWD = 1000


class Place:
    """PostgreSQL with the extension, two brokers, and what the scenarios do with them."""

    def __init__(self):
        self.postgres = clusters.Postgres()
        self.directory = system.make_directory()
        self.tools = SYSTEM_BIN  # psql, pg_dump
        self.binary = brokers.install_binary(self.directory)
        self.brokers, self.links, self.clients = {}, {}, []

    def prepare(self):
        for name in ("front", "back"):
            self.start_broker(name)
        for extension in ("pgtap", "pgberth"):
            self.sql(f"create extension {extension}")
        self.sql("create role monitor login in role pg_monitor")
        self.sql("create role nobody_special login")
        self.sql("create table account (id int primary key, amount int)")
        self.sql("insert into account values (1, 10)")
        self.sql("grant all on account to public")

    def start_broker(self, name, databases=None, **settings):
        settings = {"auth_type": "scram-sha-256", "admin_users": "admin, consoler", "default_pool_size": 2, "job_name": "sql", **settings}
        self.brokers[name] = brokers.Broker(self.postgres, self.binary, settings, databases, userlist=PASSWORDS).start()
        return self.brokers[name]

    def sql(self, text, database=DATABASE, user="postgres"):
        return self.postgres.sql(text, database, user)

    def fresh(self, name):
        """A database of its own with pgTAP and the extension, for a scenario that writes a history."""
        self.sql(f"drop database if exists {name} with (force)", "postgres")
        self.sql(f"create database {name}", "postgres")
        for extension in ("pgtap", "pgberth"):
            self.sql(f"create extension {extension}", name)
        return name

    def console_of(self, name):
        return f"host=127.0.0.1 port={self.brokers[name].listen_port} dbname=pgberth user=consoler"

    def register(self, name, secret=SECRET, console=None, database=DATABASE):
        """What a broker's link does: it registers, and stays connected."""
        link = self.postgres.connect(database=database)
        console = self.console_of(name) if console is None else console
        answer = link.query("select berth.register_broker('id-%s', '%s', 'pgberth test', '%s', '%s', now())" %
                            (name, name, console.replace("'", "''"), secret.replace("'", "''")))
        assert not wire.errors(answer), [e.fields for e in wire.errors(answer)]
        self.links[name] = link

    def unregister(self):
        for link in self.links.values():
            link.terminate()
        self.links.clear()
        system.eventually(lambda: self.sql("select count(*) from berth.targets()") == [["0"]], "no registration is left")

    def client(self, name, user="app", **params):
        client = self.brokers[name].connect(user=user, password=PASSWORDS[user], **params)
        self.clients.append(client)
        return client

    def leave(self):
        """Ends the clients and registrations of a scenario."""
        self.leave_clients()
        self.unregister()

    def leave_clients(self):
        for client in self.clients:
            client.close()
        self.clients.clear()

    def prove(self, file, user="postgres", database=DATABASE, port=None, **variables):
        """Runs one file; (passed, failed)."""
        command = ["pg_prove", "--psql-bin", str(SYSTEM_BIN / "psql"), "-h", "127.0.0.1", "-p", str(port or self.postgres.port),
                   "-U", user, "-d", database, "--ext", ".sql", "--verbose", "--timer"]
        for key, value in variables.items():
            command += ["--set", f"{key}={value}"]
        done = subprocess.run([*command, str(HERE / file)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=100, check=False)
        passed = len(re.findall(r"^ok \d+", done.stdout, re.M))
        failed = len(re.findall(r"^not ok \d+", done.stdout, re.M))
        if done.returncode != 0 and failed == 0:
            failed = 1  # a plan that was not kept, or a script that ended early
        if failed:
            print(re.sub(r"^ok \d.*\n", "", done.stdout, flags=re.M))
        return passed, failed

    def remove(self):
        for link in self.links.values():
            link.close()
        for client in self.clients:
            client.close()
        for broker in self.brokers.values():
            broker.remove()
        self.postgres.remove()
        shutil.rmtree(self.directory, ignore_errors=True)


# Scenarios -----------------------------------------------------------------------------------------------------------


def shape(place):
    """What the extension consists of: views, columns, types, comments, versions."""
    meta = json.loads((ROOT / "META.json").read_text(encoding="utf-8"))
    return place.prove("shape.sql", meta=meta["version"], provided=meta["provides"]["pgberth"]["version"])


def views(place):
    """A client holds a row, a second one waits for it, a third one waits for a server: each view tells of it."""
    place.register("front")
    place.register("back")
    holder, blocked, waiter = (place.client("front", application_name=name) for name in ("holder", "blocked", "waiter"))
    idler = place.client("front", application_name="idler", user="app2")
    idler.query("listen news")
    idler.query("select 1 / 0")
    holder.query("begin")
    holder.query("update account set amount = 11 where id = 1")
    blocked.send(wire.query("update account set amount = 12 where id = 1"))
    system.eventually(lambda: place.sql("select from pg_stat_activity where wait_event_type = 'Lock'"), "a client is blocked")
    waiter.send(wire.query("select 1"))
    system.eventually(lambda: place.brokers["front"].pool()["maxwait"] >= 1, "a client has waited for a second")
    port = lambda client: client.sock.getsockname()[1]
    result = place.prove("views.sql", holder=port(holder), blocked=port(blocked), waiter=port(waiter),
                         front=place.brokers["front"].listen_port)
    result = add(result, place.prove("own_rows.sql"))
    return result


def privileges(place):
    """Who may do what."""
    place.register("front")
    return place.prove("privileges.sql")


def advice(place):
    """The rules, over facts that are made up, and over those of a real broker as if it had run for an hour."""
    result = place.prove("advice.sql")
    broker = place.start_broker("roomy", default_pool_size=20)
    place.register("roomy")
    for user, servers in (("app", 2), ("app2", 10)):
        for client in [place.client("roomy", user=user) for _ in range(servers)]:
            client.query("begin")
    place.leave_clients()
    result = add(result, place.prove("advice_aged.sql"))
    place.leave()
    broker.stop()
    place.brokers.pop("roomy").remove()
    return result


def control(place):
    """Pause, resume, reconnect, reload, kill_client."""
    place.register("front")
    place.register("back")
    victim = place.client("front", application_name="victim")
    victim.query("select 1")
    return place.prove("control.sql")


def killed(place):
    """A broker dies and takes its link along: no row is left. One whose link lives and whose console does not is told of."""
    place.register("front")
    place.register("gone", console="host=127.0.0.1 port=1 dbname=pgberth user=consoler")
    place.register("deaf", console="")
    link = place.links.pop("dead", None) or place.postgres.connect(database=DATABASE)
    link.query("select berth.register_broker('id-dead', 'dead', '1', '%s', 'x', now())" % place.console_of("back"))
    link.close()  # as kill -9 does
    system.eventually(lambda: place.sql("select from berth.targets() where broker = 'dead'") == [], "the link is gone")
    return place.prove("killed.sql")


def hung(place):
    """A broker that does not answer any more, stopped by SIGSTOP, beside one that does."""
    place.register("front")
    place.register("back")
    place.brokers["back"].signal(signal.SIGSTOP)
    try:
        result = place.prove("hung.sql")
        with place.postgres.connect(database=DATABASE) as asking:
            asking.query("set berth.timeout = '10min'")
            asking.send(wire.query("select * from berth.pools"))
            waits = f"from pg_stat_activity where pid = {asking.pid} and wait_event_type = 'Extension'"
            system.eventually(lambda: place.sql(f"select {waits}"), "a view waits for the broker")
            place.sql(f"select pg_cancel_backend({asking.pid})")
            answer = asking.until("Z")
            return add(result, check(("a cancel ends it", [e.sqlstate for e in wire.errors(answer)], ["57014"]),
                                     ("the session goes on", wire.rows(asking.query("select 1")), [["1"]])))
    finally:
        place.brokers["back"].signal(signal.SIGCONT)


def wrong_secret(place):
    """A console that refuses the secret, and one that lets in without asking for it."""
    trusting = place.start_broker("trusting", auth_type="trust")
    place.register("front", secret="wrong")
    place.register("trusting")
    place.register("sneaky", console=place.console_of("back") + " passfile=/etc/passwd")
    result = place.prove("wrong_secret.sql")
    trusting.stop()
    place.brokers.pop("trusting").remove()
    return result


def passfile_of(place):
    passfile = system.write(place.directory / "passfile", f"127.0.0.1:*:*:consoler:{SECRET}\n")
    passfile.chmod(0o600)
    return passfile


def setting(place):
    """Brokers that are known by the setting alone."""
    return place.prove("setting.sql", console=place.console_of("back") + f" passfile={passfile_of(place)}",
                       back=place.brokers["back"].listen_port)


def standby(place):
    """A hot standby, where nothing can be registered: the views say so and take the brokers of the setting."""
    place.register("front")
    data, port = place.directory / "standby", system.free_port()
    system.run_checked([SYSTEM_BIN / "pg_basebackup", "-h", place.postgres.sockets, "-p", place.postgres.port, "-U", "postgres", "-D", data,
                        "-R", "-X", "stream", "-c", "fast", "--no-sync"])
    server = system.spawn([system.PG_BIN / "postgres", "-D", data, "-p", str(port), "-k", str(place.directory)],
                          place.directory / "standby.log")
    try:
        def ask(text):
            with Raw(port) as connection:
                connection.login("postgres", DATABASE)
                return connection.query(text)

        def ready():
            try:
                return wire.rows(ask("select pg_is_in_recovery()")) == [["t"]]
            except (OSError, Refused, Closed):
                return False

        system.eventually(ready, "the standby answers")
        told = lambda answer: [m.fields["M"] for m in answer if m.tag == "N"]
        setting = f"set berth.brokers = '{place.console_of('back')} passfile={passfile_of(place)}'; "
        return check(
            ("nobody is known", wire.rows(ask("select * from berth.brokers")), []),
            ("and it says why", told(ask("select * from berth.pools")), ["brokers cannot register themselves on a hot standby"]),
            ("nor can they", [e.sqlstate for e in wire.errors(ask(
                "select berth.register_broker('a', 'a', 'a', '', 'a', now())"))], ["25006"]),
            ("the setting", wire.rows(ask(setting + "select source, reachable from berth.brokers")), [["setting", "t"]]),
            ("its rows", wire.rows(ask(setting + "select count(*) > 0 from berth.databases")), [["t"]]),
            ("no warning", told(ask(setting + "select * from berth.activity")), []))
    finally:
        server.send_signal(signal.SIGQUIT)
        server.wait(30)


def crowd(place):
    """A thousand clients."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, max(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    broker = place.start_broker("crowd", auth_type="plain", max_client_conn=1100)
    place.register("crowd")
    for number in range(CROWD):
        place.client("crowd", application_name=f"client {number}")
    result = place.prove("crowd.sql", clients=CROWD)
    place.leave()
    broker.stop()
    place.brokers.pop("crowd").remove()
    return result


def linked(place):
    """A broker that registers itself by its link; killed, it is gone, started again, it is back."""
    known = lambda: place.sql("select broker_id from berth.targets()")
    broker = place.start_broker("linked", link="auto", link_user="app2")
    listens = "from pg_stat_activity where usename = 'app2' and state = 'idle' and query like 'select case%'"
    system.eventually(lambda: place.sql(f"select {listens}"), "it was refused, and listens")
    place.sql("select berth.grant_access('app2', 'broker')")
    first = system.eventually(known, "the broker has registered itself")
    place.client("linked").query("begin")
    [[console, secret]] = place.sql("select console, secret from berth.broker_registration")
    links = {row["database"]: row["state"] for row in broker.console("SHOW LINKS")}
    result = place.prove("linked.sql")
    place.leave_clients()
    broker.signal(signal.SIGKILL)
    broker.wait_exit()
    system.eventually(lambda: not known(), "its registration ends with it")
    broker.launch()
    second = system.eventually(known, "it registers itself again")
    place.sql("drop extension pgberth; create extension pgberth; select berth.grant_access('app2', 'broker')")
    third = system.eventually(known, "it notices that the extension was made anew")
    place.sql("drop extension pgberth; notify pgberth")  # in place of the next heartbeat
    system.eventually(lambda: place.sql(f"select {listens}"), "it notices that the extension is gone, and listens")
    place.sql("create extension pgberth; select berth.grant_access('app2', 'broker')")
    third = system.eventually(known, "it hears that the extension is there again") and third
    broker.signal(signal.SIGTERM)
    result = add(result, check(
        ("the links", links, {"e2e": "up", "e2e2": "absent"}),
        ("the console is reached by the socket", console, f"host={broker.root} port={broker.listen_port} dbname=pgberth user=pgberth_link"),
        ("another process is another broker", second != first, True), ("which stays itself", third, second),
        ("the secret is in no log", secret in broker.all_text(), False),
        ("a graceful end", broker.wait_exit(), 0), ("leaves nothing", place.sql("select from berth.broker_registration"), [])))
    place.brokers.pop("linked").remove()
    return result


def two_servers(place):
    """A broker in front of two servers: the other one's backends have process ids like ours, and are not ours."""
    now = datetime.datetime.now(datetime.timezone.utc)
    [[started]] = place.sql("set timezone = 'UTC'; select to_json(pg_postmaster_start_time()) #>> '{}'")
    moment = lambda hours: (now + datetime.timedelta(hours=hours)).isoformat()
    links = {"here": (started, moment(1)), "there": (moment(-5), moment(1)), "asked before": (moment(-5), moment(-1)), "unknown": ("", "")}
    with place.postgres.connect(user="app", database=DATABASE) as victim:
        victim.query("begin")
        port = victim.sock.getsockname()[1]

        def console(name):
            """Its one server is the victim by pid, port and time, in the database of that name."""
            tables = {
                "SHOW DATABASES": [{"name": d, "host": "", "port": "5432", "database": DATABASE, "force_user": ""} for d in links],
                "SHOW SERVERS": [{"database": name, "user": "app", "addr": "10.9.9.9", "local_port": str(port), "ptr": "s", "link": "c",
                                  "connect_time": f"{now:%Y-%m-%d %H:%M:%S} UTC", "remote_pid": str(victim.pid)}],
                "SHOW CLIENTS": [{"id": "7", "database": name, "user": "app", "ptr": "c", "link": "s", "addr": "10.1.1.1", "port": "5",
                                  "application_name": "far", "state": "active"}],
                "SHOW POOLS": [], "SHOW STATS": [],
                "SHOW LINKS": [{"database": d, "server_started_at": s, "asked_at": a} for d, (s, a) in links.items()]}
            return FakeConsole({k: v for k, v in tables.items() if name or k != "SHOW LINKS"})

        found = {}
        for name in links:
            with console(name) as fake:
                place.register("fake", console=f"host=127.0.0.1 port={fake.port} dbname=pgberth user=x")
                found[name] = (
                    place.sql(f"select broker, client_id from berth.activity where pid = {victim.pid}"),
                    place.sql("select count(*) from jsonb_array_elements(berth.facts()) f where f ->> 'command' = 'idle in transaction'"))
                place.unregister()
        with console("") as older:  # knows no SHOW LINKS, and its server is of no database that we know
            place.register("fake", console=f"host=127.0.0.1 port={older.port} dbname=pgberth user=x")
            without = place.sql("select count(*), count(broker) from berth.activity")
    ours, theirs = ([["fake", "7"]], [["1"]]), ([[None, None]], [["0"]])
    return check(("here", found["here"], ours), ("on another server", found["there"], theirs),
                 ("perhaps asked of our last life", found["asked before"], ours), ("a link that has not asked", found["unknown"], ours),
                 ("without links", without[0][1], "0"))


def leaks(place):
    """Thousands of calls, interrupted ones among them, leave no memory, no descriptor and no connection."""
    # By a link of its own, whose login is cheap: ten thousand usual ones would take minutes on a busy machine.
    place.sql("select berth.grant_access('app2', 'broker')")
    broker = place.start_broker("linked", link="auto", link_user="app2")
    system.eventually(lambda: place.sql("select from berth.targets()"), "the broker has registered itself")
    result = place.prove("leaks.sql")
    left = broker.clients(user="pgberth_link")
    broker.stop()
    place.brokers.pop("linked").remove()
    return add(result, (1, 0) if not left else fail(f"the console still has {left}"))


def restored(place):
    """A dump of a database with the extension is restored: registrations do not come along, grants do."""
    place.register("front")
    place.sql("select berth.grant_access('app2', 'control')")
    place.sql("create database copy", "postgres")
    connect = ["-h", "127.0.0.1", "-p", str(place.postgres.port), "-U", "postgres"]
    dump = subprocess.run([SYSTEM_BIN / "pg_dump", *connect, DATABASE], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    subprocess.run([SYSTEM_BIN / "psql", *connect, "-q", "-v", "ON_ERROR_STOP=1", "-d", "copy"], input=dump.stdout, check=True,
                   stdout=subprocess.DEVNULL)
    result = place.prove("restored.sql", database="copy")
    return add(result, (1, 0) if SECRET.encode() not in dump.stdout else fail("the secret is in the dump"))


def roles(place):
    """What a session hears of changes of roles that others make, in any database: never less than all."""
    result = place.prove("roles.sql")
    with place.postgres.connect(database=DATABASE) as asking:
        ask = lambda: int(asking.value("select berth.role_generation()"))
        numbers = [ask()]
        for change in ("create role changed login", "alter role changed password 'x'", "drop role changed"):
            place.sql(change, "postgres")  # it is committed when it is answered
            numbers.append(ask())
        place.sql("begin; create role changed login; rollback", "postgres")
        idle = [ask(), ask()]
        # A backend that was told too much at once is told that it has missed something.
        place.sql("do $$ begin for i in 1..400 loop create table many (a int); drop table many; end loop; end $$")
        place.sql("alter role app2 password 'y'; alter role app2 password null", "postgres")
        after = ask()
    return add(result, check(("each change is heard", sorted(set(numbers)), numbers),
                             ("what was rolled back is none", len(set(idle)), 1), ("nor is any missed", after > idle[-1], True)))


SCENARIOS = (shape, views, privileges, roles, advice, control, killed, hung, wrong_secret, setting, standby, linked, two_servers, crowd,
             leaks, restored, *upgraded.SCENARIOS, *auth_query.SCENARIOS, *migration_transactional.SCENARIOS,
             *migration_adopt.SCENARIOS,
             *migration_locks.SCENARIOS,
             *migration_ddl.SCENARIOS, *migration_hostile.SCENARIOS,
             *migration_steps.SCENARIOS, *migration_backfill.SCENARIOS, *migration_ports.SCENARIOS,
             *migration_verify.SCENARIOS,
             *migration_status.SCENARIOS,
             *migration_resolve.SCENARIOS,
             *migration_restore.SCENARIOS)


def main():
    wanted = sys.argv[1:]
    unknown = set(wanted) - {scenario.__name__ for scenario in SCENARIOS}
    if unknown:
        sys.exit(f"no such scenario: {', '.join(unknown)}")
    total = (0, 0)
    place = Place()
    try:
        place.prepare()
        for scenario in SCENARIOS:
            if wanted and scenario.__name__ not in wanted:
                continue
            started = time.monotonic()
            try:
                result = scenario(place)
            except Exception as error:  # the next scenario is tried all the same
                result = fail(f"{scenario.__name__}: {type(error).__name__}: {error}")
            place.leave()
            print(f"{scenario.__name__:<14} {result[0]:>4} passed {result[1]:>3} failed {time.monotonic() - started:6.1f} s",
                  flush=True)
            total = add(total, result)
        for broker in place.brokers.values():
            broker.stop()
    finally:
        place.remove()
        shutil.rmtree(TREE, ignore_errors=True)
    print(f"{total[0]} passed, {total[1]} failed")
    sys.exit(1 if total[1] or not total[0] else 0)


if __name__ == "__main__":
    main()
