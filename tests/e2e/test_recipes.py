"""The recipes of docs/security.md, with other names, ports and directories: whoever copies them gets what they promise."""

import os
import re
import signal
import subprocess

import pytest

from harness import scram
from harness.broker import REPOSITORY, Console
from harness.psql import client_environment
from harness.raw import Raw, Refused
from harness.system import PG_BIN, SERVICE_USER, as_service_user, eventually, write

pytestmark = pytest.mark.ours

BOXES = dict(re.findall(r"^```(\w+ [\w ]+)\n(.*?)^```$", (REPOSITORY / "docs" / "security.md").read_text(), re.M | re.S))


def box(name, b=None, **replace):
    """A box of the page; `replace` are words of it and what they are here."""
    text = BOXES[name]
    for old, new in {"/etc/pgberth": str(b.root) if b else None, **replace}.items():
        if new is not None:
            text = text.replace(old, new)
    return text


def shell(name, b, **replace):
    """A box of commands, run in the place of /etc/pgberth as the broker's user; the output."""
    chown = {"chown pgberth:pgberth": "true" if SERVICE_USER is None else f"chown {SERVICE_USER}:{SERVICE_USER}"}
    text = box(name, b, **chown, **{"db.example.net": "localhost", "port=6432": f"port={b.settings.get('listen_port')}"}, **replace)
    done = subprocess.run(["bash", "-e", "-c", text], cwd=b.root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=60, **as_service_user(),
                          env=client_environment(PATH=f"{PG_BIN}:{os.environ['PATH']}", PGPASSWORD="pw"))
    assert done.returncode == 0, f"{text}\n{done.stdout}"
    return done.stdout


def settings(name, b, **replace):
    return dict(line.split(" = ", 1) for line in box(name, b, **replace).splitlines())


def shop(postgres):
    return {"shop": f"host={postgres.sockets} port={postgres.port} dbname=e2e"}


def test_tls_and_its_rotation(broker, postgres):
    b = broker(launch=False, databases=shop(postgres))
    shell("sh tls", b)
    b.settings.update(settings("ini tls", b))
    b.start()
    b._console = Console(Raw(b.listen_port, str(b.root)).login("admin", "pgbouncer"))
    assert "1 row" in shell("sh check", b)
    before = b.console("SHOW TLS")[0]
    assert before["sslmode"] == "require" and before["subject"].endswith("localhost")
    shell("sh rotate", b)
    b.console("RELOAD")
    after = b.console("SHOW TLS")[0]
    said = dict(line.split("=", 1) for line in shell("sh rotated", b).splitlines())
    assert after["serial"] != before["serial"] and not after["last_error"]
    assert int(after["serial"].replace(":", ""), 16) == int(said["serial"], 16)
    assert "1 row" in shell("sh check", b)
    with pytest.raises(Refused):
        Raw(b.listen_port).login("app", "shop")
    assert "chmod" not in b.log, "the files have the rights that they need"


@pytest.fixture
def asked(postgres):
    """The server with the role and the function of the page, and lines that ask for passwords; at the end without them."""
    hba = postgres.data / "pg_hba.conf"
    before = hba.read_text()
    lines = box("text pg_hba", **{"10.0.0.7/32": "127.0.0.1/32"})
    write(hba, lines + "host all ann,boss 127.0.0.1/32 scram-sha-256\n" + before)
    postgres.sql(box("sql role"))
    postgres.sql(f"create role ann login password '{scram.secret('annpw')}'")
    postgres.sql(f"create role boss superuser login password '{scram.secret('bosspw')}'")
    postgres.sql(box("sql function"), "e2e")
    postgres.sql("select pg_reload_conf()")
    eventually(lambda: postgres.value("select count(*) from pg_hba_file_rules where user_name @> '{pooler}'") == "1")
    yield postgres
    write(hba, before)
    postgres.sql("select pg_reload_conf()")
    postgres.sql(box("sql revoke"), "e2e")
    postgres.end_backends()
    postgres.sql(box("sql revoke role"))
    postgres.sql("drop role ann; drop role boss")


def test_auth_query(asked, broker):
    """With the role that the page makes, in a server that asks it for its password."""
    b = broker(launch=False, databases={"shop": f"host=127.0.0.1 port={asked.port} dbname=e2e"})
    b.settings.update(settings("ini auth_query", b))
    (user, secret), = re.findall(r'^"(.*)" "(.*)"$', box("text userlist"), re.M)
    b.userlist = {user: secret, "admin": "pw"}
    b.start()

    def login(name, password):
        with Raw(b.listen_port).login(name, "shop", password) as c:
            return c.value("select current_user")

    assert login("ann", "annpw") == "ann"
    for name, password in (("ann", "other"), ("boss", "bosspw"), ("nobody", "x")):
        with pytest.raises(Refused) as refused:
            login(name, password)
        assert refused.value.sqlstate == "28P01", name


def test_rules(broker, postgres):
    """From the network by TLS only, the console for its user only."""
    b = broker(launch=False, databases=shop(postgres), userlist={name: "pw" for name in ("app", "app2", "admin")})
    b.settings["stats_users"] = "app2"
    shell("sh tls", b)
    b.settings.update({**settings("ini tls", b), "client_tls_sslmode": "prefer"}, **settings("ini hba", b))
    write(b.root / "hba.conf", box("text hba", **{"10.0.0.0": "127.0.0.0"}))
    b.start()
    assert "1 row" in shell("sh check", b)  # both databases, by TLS

    def login(user, database, host="127.0.0.1"):
        return Raw(b.listen_port, host).login(user, database, "pw")

    login("app", "shop", str(b.root)).terminate()
    login("admin", "pgbouncer", str(b.root)).terminate()
    for user, database, host, line in (("app", "shop", "127.0.0.1", 8), ("admin", "pgbouncer", "127.0.0.1", 4),
                                       ("app2", "pgbouncer", "127.0.0.1", 4), ("app2", "pgbouncer", str(b.root), 5)):
        with pytest.raises(Refused) as refused:
            login(user, database, host)
        assert refused.value.text.startswith("pg_hba.conf rejects"), (user, database, host)
        assert "hba.conf:" not in str(refused.value.error.fields)
        eventually(lambda: re.search(rf"pg_hba.conf rejects .*\"{user}\".*\(\S+hba.conf:{line}\)", b.log), (user, line))


def test_every_recipe_is_tried():
    """Those above, by name: a box that is added is run, or this says so."""
    with open(__file__, encoding="utf-8") as file:
        here = file.read()
    assert len(BOXES) >= 12
    assert not [name for name in BOXES if f'"{name}"' not in here]
