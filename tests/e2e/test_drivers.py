"""Real drivers: psycopg 3, psycopg2, asyncpg, with their own ideas of prepared statements, pipelines and resets."""

import asyncio
import random

import asyncpg
import psycopg
import psycopg2
import psycopg2.extras
import pytest

from harness.system import in_threads

MODES = ["transaction", "session"]


@pytest.fixture
def numbers(postgres):
    postgres.sql("create table numbers (n int, word text)", database="e2e", user="app")
    yield "numbers"
    postgres.sql("drop table numbers", database="e2e")


# psycopg 3 ------------------------------------------------------------------------------------------------------------

@pytest.mark.newer
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("threshold", [0, 2, None])
def test_psycopg3(broker, mode, threshold):
    """prepare_threshold=0 prepares every statement at once, each connection under the same names."""
    b = broker(default_pool_size=3)
    url = b.url(mode)

    def work(number):
        with psycopg.connect(url, autocommit=True, prepare_threshold=threshold) as conn:
            for turn in range(15):
                row = conn.execute("select %s::int, %s::text", (turn, f"c{number}")).fetchone()
                assert row == (turn, f"c{number}")
                assert conn.execute("select %s::int * 2", (number,)).fetchone() == (number * 2,)

    in_threads(2 if mode == "session" else 10, work)


@pytest.mark.ours
def test_psycopg3_deallocates_what_it_evicts(broker):
    """prepared_max of 2: the driver itself sends DEALLOCATE, on whichever server it gets (class 22)."""
    b = broker(default_pool_size=2)

    def work(number):
        rng = random.Random(number)
        with psycopg.connect(b.url(), autocommit=True, prepare_threshold=0) as conn:
            conn.prepared_max = 2
            for _ in range(60):
                n = rng.randrange(6)
                assert conn.execute(f"select {n} + %s::int", (number,)).fetchone() == (n + number,)

    in_threads(8, work)


@pytest.mark.newer
def test_psycopg3_pipeline(broker, numbers):
    b = broker(default_pool_size=2)

    def work(number):
        with psycopg.connect(b.url(), prepare_threshold=0) as conn:
            for _ in range(5):
                with conn.pipeline() as pipeline:
                    cursors = [conn.execute("select %s::int + %s::int", (n, number)) for n in range(20)]
                    pipeline.sync()
                    conn.cursor().executemany("insert into numbers values (%s, %s)", [(n, str(number)) for n in range(10)])
                    assert [c.fetchone()[0] for c in cursors] == [n + number for n in range(20)]
                conn.commit()

    in_threads(6, work)
    with psycopg.connect(b.url()) as conn:
        assert conn.execute("select count(*), count(distinct word) from numbers").fetchone() == (300, 6)


@pytest.mark.newer
def test_psycopg3_error_inside_a_pipeline(broker):
    """The error ends its batch, the connection works on."""
    b = broker(default_pool_size=1)
    with psycopg.connect(b.url(), autocommit=True, prepare_threshold=0) as conn:
        for _ in range(3):
            with pytest.raises(psycopg.errors.DivisionByZero):
                with conn.pipeline():
                    conn.execute("select 1")
                    conn.execute("select 1/0")
                    conn.execute("select 2")
            assert conn.execute("select 3").fetchone() == (3,)


@pytest.mark.newer
@pytest.mark.parametrize("mode", MODES)
def test_psycopg3_copy(broker, numbers, mode):
    b = broker(default_pool_size=2)
    with psycopg.connect(b.url(mode), prepare_threshold=0) as conn:
        with conn.cursor().copy("copy numbers from stdin") as copy:
            for n in range(10000):
                copy.write_row((n, f"word {n}"))
        conn.commit()
        with conn.cursor().copy("copy (select n, word from numbers order by n) to stdout") as copy:
            copy.set_types(["int4", "text"])
            assert list(copy.rows()) == [(n, f"word {n}") for n in range(10000)]
        conn.commit()
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            with conn.cursor().copy("copy numbers from stdin") as copy:
                for n in range(1000):
                    copy.write("x\ty\n")
        conn.rollback()
        with pytest.raises(psycopg.errors.QueryCanceled):
            with conn.cursor().copy("copy numbers from stdin") as copy:
                copy.write_row((1, "lost"))
                raise RuntimeError("the application gives up")
        conn.rollback()
        assert conn.execute("select count(*) from numbers").fetchone() == (10000,)


@pytest.mark.parametrize("mode", MODES)
def test_psycopg3_transactions_and_cursors(broker, mode):
    b = broker(default_pool_size=1)
    with psycopg.connect(b.url(mode), prepare_threshold=None) as conn:
        with conn.transaction():
            with conn.cursor(name="server_side") as cursor:
                cursor.itersize = 10
                cursor.execute("select n from generate_series(1, 55) n")
                assert [r[0] for r in cursor] == list(range(1, 56))
        with conn.transaction():
            with pytest.raises(psycopg.errors.DivisionByZero):
                with conn.transaction():
                    conn.execute("select 1/0")
            assert conn.execute("select 'after the savepoint'").fetchone() == ("after the savepoint",)


@pytest.mark.newer
def test_psycopg3_binary_and_types(broker):
    b = broker()
    with psycopg.connect(b.url(), prepare_threshold=0, autocommit=True) as conn:
        values = (True, 42, 1.5, "text", b"\0\1\2", [1, 2, 3], None)
        for _ in range(3):
            row = conn.execute("select %b, %b::int, %b::float8, %b::text, %b::bytea, %b::int[], %b::text", values,
                               binary=True).fetchone()
            assert row == values


# psycopg2 -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("mode", MODES)
def test_psycopg2(broker, numbers, mode):
    b = broker(default_pool_size=3)
    url = b.url(mode)

    def work(number):
        conn = psycopg2.connect(url)
        cursor = conn.cursor()
        psycopg2.extras.execute_values(cursor, "insert into numbers values %s", [(n, str(number)) for n in range(200)])
        conn.commit()
        cursor.execute("select count(*) from numbers where word = %s", (str(number),))
        assert cursor.fetchone() == (200,)
        conn.rollback()
        with pytest.raises(psycopg2.errors.UndefinedTable):
            cursor.execute("select * from no_such_table")
        conn.rollback()
        named = conn.cursor("named")
        named.itersize = 50
        named.execute("select n from numbers where word = %s order by n", (str(number),))
        assert [r[0] for r in named] == list(range(200))
        conn.close()

    in_threads(2 if mode == "session" else 8, work)


def test_psycopg2_encoding_and_isolation(broker):
    """The driver's SETs: client_encoding and the session's default transaction mode."""
    b = broker(default_pool_size=1)
    one, two = psycopg2.connect(b.url()), psycopg2.connect(b.url())
    one.set_client_encoding("LATIN1")
    for conn in (one, two):
        conn.autocommit = True
    for _ in range(3):
        for conn in (one, two):
            cursor = conn.cursor()
            cursor.execute("select 'é' || %s", ("ü",))
            assert cursor.fetchone() == ("éü",)
    one.close(), two.close()


# asyncpg --------------------------------------------------------------------------------------------------------------

@pytest.mark.newer
@pytest.mark.parametrize("mode", MODES)
def test_asyncpg_with_its_statement_cache(broker, mode):
    """Named statements, portals with row limits, binary results; several connections over few servers."""
    b = broker(default_pool_size=3)

    async def work(number):
        conn = await asyncpg.connect(b.url(mode))
        for turn in range(10):
            assert await conn.fetchval("select $1::int + $2::int", turn, number) == turn + number
            assert await conn.fetchval("select $1::text", f"{number}") == f"{number}"
            rows = await conn.fetch("select n, n::text as t from generate_series(1, $1::int) n", 100)
            assert [tuple(r) for r in rows] == [(n, str(n)) for n in range(1, 101)]
        async with conn.transaction():
            got = [r["n"] async for r in conn.cursor("select n from generate_series(1, 120) n", prefetch=25)]
            assert got == list(range(1, 121))
        await conn.close()

    async def everybody():
        await asyncio.gather(*(work(n) for n in range(2 if mode == "session" else 8)))

    asyncio.run(everybody())


@pytest.mark.ours
def test_asyncpg_pool_with_its_reset(broker):
    """Its pool runs a reset query (UNLISTEN, RESET ALL, ...) whenever a connection returns."""
    b = broker(default_pool_size=2)

    async def run():
        async with asyncpg.create_pool(b.url(), min_size=5, max_size=10) as pool:
            async def use(n):
                async with pool.acquire() as conn:
                    assert await conn.fetchval("select $1::int", n) == n
            await asyncio.gather(*(use(n) for n in range(60)))

    asyncio.run(run())


@pytest.mark.newer
def test_asyncpg_errors_and_copy(broker, numbers):
    b = broker(default_pool_size=1)

    async def run():
        conn = await asyncpg.connect(b.url())
        for _ in range(3):
            with pytest.raises(asyncpg.DivisionByZeroError):
                await conn.fetchval("select 1/$1::int", 0)
            with pytest.raises(asyncpg.UndefinedTableError):
                await conn.fetchval("select * from no_such_table")
            assert await conn.fetchval("select 1") == 1
        await conn.copy_records_to_table("numbers", records=[(n, "w") for n in range(5000)])
        assert await conn.fetchval("select count(*) from numbers") == 5000
        with pytest.raises(asyncpg.PostgresError):
            await conn.execute("copy numbers from program 'true'")
        assert await conn.fetchval("select 'after'") == "after"
        await conn.close()

    asyncio.run(run())


@pytest.mark.newer
def test_asyncpg_timeout_cancels(broker):
    """The driver sends a cancel request when its own timeout expires; the connection is used again."""
    b = broker(default_pool_size=1)

    async def run():
        conn = await asyncpg.connect(b.url())
        with pytest.raises(asyncio.TimeoutError):
            await conn.fetchval("select pg_sleep(600)", timeout=0.3)
        assert await conn.fetchval("select 'after'") == "after"
        await conn.close()

    asyncio.run(run())


@pytest.mark.parametrize("others", [0, 3])
def test_asyncpg_listen_in_session_mode(broker, others):
    b = broker(default_pool_size=5)

    async def run():
        conn = await asyncpg.connect(b.url("session"))
        got = asyncio.Queue()
        await conn.add_listener("channel_e2e", lambda *message: got.put_nowait(message[2:]))
        sender = await asyncpg.connect(b.url("transaction"), statement_cache_size=0)
        for n in range(others + 1):
            await sender.execute(f"notify channel_e2e, 'message {n}'")
            assert await asyncio.wait_for(got.get(), 30) == ("channel_e2e", f"message {n}")
        await sender.close()
        await conn.close()

    asyncio.run(run())


@pytest.mark.newer
def test_asyncpg_enum_and_composite_types(broker, postgres):
    """Its type introspection runs statements of its own between the user's Parse and Bind."""
    postgres.sql("drop type if exists colour cascade; create type colour as enum ('red', 'green'); "
                 "drop type if exists pair cascade; create type pair as (a int, b colour)", database="e2e")
    b = broker(default_pool_size=2)

    async def run():
        conns = [await asyncpg.connect(b.url()) for _ in range(4)]
        for conn in conns:
            assert await conn.fetchval("select 'red'::colour") == "red"
            assert tuple(await conn.fetchval("select row(1, 'green')::pair")) == (1, "green")
            assert await conn.fetchval("select $1::colour[]", ["red", "green"]) == ["red", "green"]
            await conn.close()

    asyncio.run(run())
    postgres.sql("drop type pair; drop type colour", database="e2e")
