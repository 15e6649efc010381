"""Migration tools: how each one is told of scripts, and how it is called.

Every tool gets the same scripts: make a table; take a lock by berth.lock_tables() and alter it; build an index concurrently,
outside a transaction; run a body by berth.migrate_once(); and one that fails.
"""

import json
import os
import re
import subprocess
from pathlib import Path

PLACE = Path(__file__).resolve().parents[2] / "build" / "tools"
MODULES = PLACE / "node_modules"

ONCE = "DO $$ BEGIN IF berth.migrate_once('orders', scope => 'scripts') THEN CREATE TABLE orders (id int); END IF; END $$;"
# name, script, script that undoes it, whether it runs in a transaction
SCRIPTS = (
    ("users", "CREATE TABLE users (id int);", "DROP TABLE users;", True),
    ("users_name", "SELECT berth.lock_tables('users'); ALTER TABLE users ADD name text;", "ALTER TABLE users DROP name;", True),
    ("users_id", "CREATE INDEX CONCURRENTLY users_id ON users (id);", "DROP INDEX users_id;", False),
    ("orders", ONCE, "DROP TABLE orders;", True),
    ("broken", "CREATE TABLE users (id int);", "SELECT 1;", True),
)


def npm_version(package):
    return json.loads((MODULES / package / "package.json").read_text(encoding="utf-8"))["version"]


class Tool:
    """One tool with a directory of its own and a database to work on."""

    name = usual = ""
    version_of = staticmethod(str)  # the version that the journal has for the script with this number

    def __init__(self, directory, port, database):
        self.directory, self.port, self.database = Path(directory), port, database
        self.prepare()

    def prepare(self):
        pass

    def run(self, *command, **environment):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return subprocess.run([str(word) for word in command], cwd=self.directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60, check=False, env={**kept, **environment})


class Dbmate(Tool):
    name, usual = "dbmate", "public.schema_migrations"

    @staticmethod
    def version():
        return npm_version("dbmate")

    @staticmethod
    def version_of(number):
        return f"2026010100000{number}"

    def prepare(self):
        (self.directory / "migrations").mkdir()

    def add(self, number):
        name, up, down, transaction = SCRIPTS[number - 1]
        text = f"-- migrate:up{'' if transaction else ' transaction:false'}\n{up}\n-- migrate:down\n{down}\n"
        (self.directory / "migrations" / f"{self.version_of(number)}_{name}.sql").write_text(text, encoding="utf-8")

    def call(self, *words):
        url = f"postgres://app@127.0.0.1:{self.port}/{self.database}?sslmode=disable"
        return self.run(MODULES / ".bin" / "dbmate", "-d", "migrations", "--no-dump-schema", "-u", url, *words)

    def up(self):
        return self.call("migrate")

    def status(self):
        return self.call("status")

    def down(self):
        return self.call("rollback")


class NodePgMigrate(Tool):
    name, usual = "node-pg-migrate", "public.pgmigrations"
    options = ()

    @staticmethod
    def version():
        return npm_version("node-pg-migrate")

    @staticmethod
    def version_of(number):
        return f"170000000000{number}_{SCRIPTS[number - 1][0]}"

    def prepare(self):
        (self.directory / "migrations").mkdir()

    def add(self, number):
        _, up, down, transaction = SCRIPTS[number - 1]
        body = lambda sql: f"(pgm) => {{ {'' if transaction else 'pgm.noTransaction(); '}pgm.sql({json.dumps(sql)}); }};"
        (self.directory / "migrations" / f"{self.version_of(number)}.js").write_text(
            f"exports.up = {body(up)}\nexports.down = {body(down)}\n", encoding="utf-8")

    def call(self, *words):
        return self.run(MODULES / ".bin" / "node-pg-migrate", *words, *self.options, "-m", "migrations", NODE_PATH=str(MODULES),
                        DATABASE_URL=f"postgres://app@127.0.0.1:{self.port}/{self.database}")

    def up(self):
        return self.call("up")

    def status(self):
        return self.call("up", "--dry-run")

    def down(self):
        return self.call("down")


class NodePgMigrateNoLock(NodePgMigrate):
    options = ("--no-lock",)


class Sqitch(Tool):
    name, usual = "sqitch", "sqitch.events"

    @staticmethod
    def version():
        done = subprocess.run(["sqitch", "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
        return re.search(r"v([\d.]+)", done.stdout)[1]

    @staticmethod
    def version_of(number):
        return f"shop:{SCRIPTS[number - 1][0]}"

    def prepare(self):
        (self.directory / "sqitch.conf").write_text("[core]\n\tengine = pg\n[user]\n\tname = Tester\n\temail = tester@example.org\n",
                                                    encoding="utf-8")
        (self.directory / "sqitch.plan").write_text("%syntax-version=1.0.0\n%project=shop\n\n", encoding="utf-8")
        for folder in ("deploy", "revert"):
            (self.directory / folder).mkdir()

    def add(self, number):
        name, up, down, transaction = SCRIPTS[number - 1]
        wrap = lambda sql: f"BEGIN;\n{sql}\nCOMMIT;\n" if transaction else sql + "\n"
        needs = f" [{SCRIPTS[number - 2][0]}]" if number > 1 else ""
        with open(self.directory / "sqitch.plan", "a", encoding="utf-8") as plan:
            plan.write(f"{name}{needs} 2026-01-01T00:00:0{number}Z Tester <tester@example.org> # {name}\n")
        (self.directory / "deploy" / f"{name}.sql").write_text(wrap(up), encoding="utf-8")
        (self.directory / "revert" / f"{name}.sql").write_text(wrap(down), encoding="utf-8")

    def call(self, *words):
        return self.run("sqitch", *words, f"db:pg://app@127.0.0.1:{self.port}/{self.database}", HOME=str(self.directory))

    def up(self):
        return self.call("deploy")

    def status(self):
        return self.call("status")

    def down(self):
        return self.call("revert", "-y", "--to", "@HEAD^")


class Liquibase(Tool):
    name, usual = "liquibase", "public.databasechangelog"

    @staticmethod
    def version():
        return npm_version("node-liquibase")

    @staticmethod
    def version_of(number):
        return f"changelog.sql::{number}::tester"

    def prepare(self):
        (self.directory / "changelog.sql").write_text("--liquibase formatted sql\n", encoding="utf-8")

    def add(self, number):
        name, up, down, transaction = SCRIPTS[number - 1]
        split = " splitStatements:false" if "$$" in up else ""
        with open(self.directory / "changelog.sql", "a", encoding="utf-8") as log:
            log.write(f"--changeset tester:{number} runInTransaction:{str(transaction).lower()}{split}\n--comment: {name}\n{up}\n"
                      f"--rollback {down}\n")

    def call(self, *words):
        base = MODULES / "node-liquibase" / "dist"
        jars = [jar for place in ("liquibase/*.jar", "liquibase/lib/*.jar", "drivers/postgresql-*.jar") for jar in base.glob(place)]
        return self.run("java", "-cp", ":".join(map(str, jars)), "liquibase.integration.commandline.Main", "--changeLogFile=changelog.sql",
                        f"--url=jdbc:postgresql://127.0.0.1:{self.port}/{self.database}{self.parameters}", "--username=app", *words)

    parameters = ""

    def up(self):
        return self.call("update")

    def status(self):
        return self.call("status")

    def down(self):
        return self.call("rollbackCount", "1")


TOOLS = {"dbmate": Dbmate, "node-pg-migrate": NodePgMigrate, "node-pg-migrate --no-lock": NodePgMigrateNoLock, "sqitch": Sqitch,
         "liquibase": Liquibase}
