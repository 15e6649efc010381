"""Drivers that are too large to install for every test run: JDBC, node-postgres, postgres.js. `make check-drivers` installs
them and runs this; `make check` does not."""

import os
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PLACE = HERE.parents[2] / "build" / "drivers"


@pytest.fixture(params=["transaction", "session"])
def through(request, broker, postgres):
    """A broker and one of its ports: few servers for transactions, one for each connection of the drivers' pools else."""
    for table in ("jdbc_check", "node_check"):
        postgres.sql(f"create table if not exists {table} (id int primary key, text text)", "e2e")
        postgres.sql(f"grant all on {table} to public", "e2e")
    made = broker(default_pool_size=3 if request.param == "transaction" else 20)
    return made, getattr(made, request.param + "_port")


def run(*command, **environment):
    done = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=120, env={**os.environ, **environment})
    assert done.returncode == 0 and done.stdout.endswith("ok\n"), done.stdout


def test_jdbc(through):
    run("java", "-cp", "/usr/share/java/postgresql.jar", HERE / "Jdbc.java", f"jdbc:postgresql://127.0.0.1:{through[1]}/e2e")


@pytest.mark.parametrize("script", ["node_pg.js", "node_postgres.js"])
def test_node(through, script):
    run("node", HERE / script, f"postgres://app@127.0.0.1:{through[1]}/e2e", NODE_PATH=str(PLACE / "node" / "node_modules"))
