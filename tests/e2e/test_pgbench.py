"""pgbench through both ports: every query mode, connect per transaction, pipelines, 500 clients on 20 backends."""

import subprocess

import pytest

from harness.psql import client_environment, pgbench
from harness.system import PG_BIN


@pytest.fixture(scope="module", autouse=True)
def tables(postgres):
    for database in ("e2e", "e2e2"):
        url = f"postgresql://app@127.0.0.1:{postgres.port}/{database}"
        subprocess.run([str(PG_BIN / "pgbench"), "-i", "-s", "1", "-q", url], check=True, env=client_environment(),
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield
    for database in ("e2e", "e2e2"):
        postgres.sql("drop table pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers",
                     database=database)


def books_balance(postgres, database="e2e"):
    """What the accounts gained is what the history says: no transaction was lost, torn or done twice (I3)."""
    sums = postgres.sql("select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers), "
                        "(select sum(bbalance) from pgbench_branches), (select coalesce(sum(delta), 0) "
                        "from pgbench_history)", database=database)[0]
    assert len(set(sums)) == 1, sums


MODES = ["simple", "extended", "prepared"]


def modes(port):
    """PgBouncer before 1.21 knows no prepared statements in transaction mode."""
    return [pytest.param(port, m, marks=pytest.mark.newer) if (port, m) == ("transaction", "prepared") else (port, m)
            for m in MODES]


@pytest.mark.parametrize("port, mode", modes("transaction") + modes("session"))
def test_tpcb(broker, postgres, port, mode):
    """No transaction fails and the books balance.

    pgbench prepares with a blocking call, so a thread of it stands still while one of its clients waits for a server that
    another of its clients holds: in that mode each client needs a server.
    """
    b = broker(default_pool_size=4 if port == "transaction" and mode != "prepared" else 12)
    out = pgbench(b.url(port), "-M", mode, "-n", "-c", "10", "-j", "2", "-t", "40")
    assert "number of transactions actually processed: 400/400" in out
    books_balance(postgres)


@pytest.mark.parametrize("port, mode", modes("transaction"))
def test_select_only(broker, port, mode):
    b = broker(default_pool_size=4)
    out = pgbench(b.url(port), "-S", "-M", mode, "-n", "-c", "32", "-j", "2", "-t", "100")
    assert "actually processed: 3200/3200" in out


@pytest.mark.parametrize("port", ["transaction", "session"])
def test_connect_per_transaction(broker, port):
    b = broker(default_pool_size=10)
    out = pgbench(b.url(port), "-C", "-S", "-n", "-c", "8", "-j", "2", "-t", "50")
    assert "actually processed: 400/400" in out


@pytest.mark.newer
@pytest.mark.parametrize("mode", ["extended", "prepared"])
def test_pipelines(broker, postgres, tmp_path, mode):
    r"""\startpipeline: a whole transaction in one batch."""
    script = tmp_path / "pipeline.sql"
    script.write_text("""\\set aid random(1, 100000)
\\set delta random(-50, 50)
\\startpipeline
begin;
update pgbench_accounts set abalance = abalance + :delta where aid = :aid;
select abalance from pgbench_accounts where aid = :aid;
update pgbench_tellers set tbalance = tbalance + :delta where tid = 1;
update pgbench_branches set bbalance = bbalance + :delta where bid = 1;
insert into pgbench_history (tid, bid, aid, delta, mtime) values (1, 1, :aid, :delta, current_timestamp);
end;
\\endpipeline
select 1;
\\startpipeline
select abalance from pgbench_accounts where aid = :aid;
select 2;
\\endpipeline
""")
    b = broker(default_pool_size=3)
    out = pgbench(b.url(), "-f", str(script), "-M", mode, "-n", "-c", "12", "-j", "2", "-t", "20")
    assert "actually processed: 240/240" in out
    books_balance(postgres)


@pytest.mark.newer
@pytest.mark.parametrize("mode", ["simple", "prepared"])
def test_500_clients_on_20_backends(broker, postgres, mode):
    """I8: no connection error, and PostgreSQL never sees more than 20."""
    b = broker(default_pool_size=20, max_client_conn=600)
    out = pgbench(b.url(), "-S", "-M", mode, "-n", "-c", "500", "-j", "2", "-t", "10")
    assert "actually processed: 5000/5000" in out
    pool = b.pool()
    assert pool["sv_idle"] + pool["sv_active"] + pool["sv_used"] <= 20
    assert len(postgres.backends(where="usename = 'app'")) <= 20


@pytest.mark.newer
def test_two_databases_at_once(broker, postgres):
    """class 11: each run finds its own tables and its books balance."""
    b = broker(default_pool_size=6)
    runs = [subprocess.Popen([str(PG_BIN / "pgbench"), "-M", "prepared", "-n", "-c", "6", "-t", "30",
                              b.url(database=database)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             env=client_environment()) for database in ("e2e", "e2e2")]
    for run in runs:
        out, _ = run.communicate(timeout=80)
        assert run.returncode == 0 and "actually processed: 180/180" in out, out
    for database in ("e2e", "e2e2"):
        books_balance(postgres, database)
