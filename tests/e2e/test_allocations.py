"""The path of a query allocates nothing.

Goal: in a steady state no thread that serves clients allocates, whatever passes: simple and prepared queries, pipelines,
COPY, long rows, clients that wait, servers that travel between workers, and the Parse and Close of named statements that
the server has (a name of more than 15 bytes is a string of its own, which a client's table of names holds). One thing is not of
this state: settings that differ from one client of a server to the next.

Method: a preloaded library counts the process's allocations by thread; after a warm-up, in which pools and queues get
their sizes, there must be a stretch of thousands of transactions without any. Several stretches are tried, because a
pool grows whenever more is in flight at one time than ever before, and when that happens is up to the scheduler; what
allocates once per transaction, or once in a thousand, fails in each of them.
"""

import pytest

from harness import wire
from harness.allocations import Allocations
from harness.system import make_directory

pytestmark = [pytest.mark.ours, pytest.mark.limit(150)]

CLIENTS = 12
STRETCHES = 6
SQL = "select $1::int + 1"


@pytest.fixture
def counted(broker):
    """counted(settings) starts a broker whose allocations are counted."""
    def start(**settings):
        allocations = Allocations(make_directory())
        made = broker(environment=allocations.environment, **settings)
        allocations.attach(made)
        started.append(allocations)
        return made, allocations
    started = []
    yield start
    for allocations in started:
        for path in (*allocations.directory.iterdir(), allocations.directory):
            path.rmdir() if path.is_dir() else path.unlink()


# What a client sends at once, and the number of ReadyForQuery that answer it.
KINDS = {
    "simple": (wire.query("select 1"), 1),
    "looked at": (wire.query("/* could be a command */ select 1") + wire.query("delete from taken where n < 0") +
                  wire.run("-- a comment, long enough\n delete from taken where n < 0") + wire.sync(), 3),
    "transaction": (wire.query("begin") + wire.query("select 1") + wire.query("commit"), 3),
    "error": (wire.query("select 1/0"), 1),
    "prepared": (wire.rerun("kept1", [1]) + wire.sync() + wire.rerun("kept2", [2]) + wire.sync(), 2),
    "described": (wire.bind("", "kept1", [1]) + wire.describe("P") + wire.execute() + wire.sync() +
                  wire.describe("S", "kept2") + wire.sync(), 2),
    "unnamed": (wire.run(SQL, [1]) + wire.sync(), 1),
    "pipeline": (b"".join(wire.rerun("kept1", [n]) + wire.run(SQL, [n]) for n in range(8)) + wire.sync(), 1),
    "named": (wire.run(SQL, [1], name="named1") + wire.sync() + wire.close("S", "named1") + wire.sync() +
              wire.run("select $1::text", ["x"], name="named2") + wire.close("S", "named2") + wire.sync(), 3),
    "portal": (wire.query("begin") + wire.parse("", "select generate_series(1, 20)") + wire.bind("p") +
               wire.execute("p", 7) + wire.execute("p", 7) + wire.close("P", "p") + wire.sync() +
               wire.query("commit"), 3),
    "copy in": (wire.query("begin") + wire.query("copy taken from stdin") +
                b"".join(wire.copy_data(b"%d\n" % n) for n in range(50)) + wire.copy_done() + wire.query("rollback"), 3),
    "copy out": (wire.query("copy (select generate_series(1, 500)) to stdout"), 1),
    "long row": (wire.query("select repeat('x', 1000000)"), 1),
    "long query": (wire.query("select length('" + "x" * 1000000 + "')"), 1),
}
# The long ones take their time.
ROUNDS = {"long row": 5, "long query": 5, "copy out": 20}


def run(clients, kind, rounds):
    message, answers = KINDS[kind]
    for _ in range(rounds):
        for c in clients:
            c.send(message)
        for c in clients:
            for _ in range(answers):
                c.until("Z")


def quiet_stretch(clients, kind, allocations, rounds):
    """How many allocations each stretch had, up to the first one without any."""
    counts = []
    while len(counts) < STRETCHES and 0 not in counts:
        before = allocations.of_workers()
        run(clients, kind, rounds)
        counts.append(allocations.of_workers() - before)
    return counts


def noisy_kinds(allocations, clients):
    """The kinds that never had a stretch without an allocation, and where these came from. The first kind's clients have
    no other statement yet than the one that they name."""
    noisy = []
    for kind in ["named", *KINDS]:
        if kind == next(iter(KINDS)):
            for c in clients:
                c.ask(wire.parse("kept1", SQL) + wire.parse("kept2", "select $1::text") + wire.sync())
        rounds = ROUNDS.get(kind, 100)
        run(clients, kind, rounds // 2)
        counts = quiet_stretch(clients, kind, allocations, rounds)
        if 0 not in counts:
            allocations.trace()
            run(clients, kind, 2)
            noisy.append(f"{kind}: {counts} in {rounds * len(clients)} each, from:\n{allocations.places()}")
    return "\n".join(noisy)


@pytest.fixture(autouse=True)
def taken(postgres):
    postgres.sql("create unlogged table if not exists taken (n int)", database="e2e", user="app")


@pytest.mark.parametrize("workers, servers", [(1, 3), (2, 1), (2, 3)], ids=["1-3", "2-1", "2-3"])
def test_steady_state_allocates_nothing(counted, workers, servers):
    """With one server and two workers it must travel, as there are clients on both."""
    b, allocations = counted(workers=workers, default_pool_size=servers)
    assert not noisy_kinds(allocations, [b.connect() for _ in range(CLIENTS)])


def test_session_mode_allocates_nothing(counted):
    b, allocations = counted(workers=2, default_pool_size=5)
    assert not noisy_kinds(allocations, [b.session() for _ in range(4)])


def test_the_count_counts(counted):
    """A login allocates, and is seen: else the test above would prove nothing."""
    b, allocations = counted(workers=1)
    before = allocations.of_workers()
    allocations.trace()
    b.connect().value("select 1")
    assert allocations.of_workers() > before
    assert "client_auth.cc" in allocations.places(), allocations.places()
