"""No answer ever reaches another client (I1, I2): tagged requests, random disconnects, all kinds of protocol.

Each client asks for what only it can know: its number, a sequence and a nonce. Whatever comes back must carry the tag of
the request that is next in line.
"""

import random

import pytest

from harness import wire
from harness.raw import Closed
from harness.system import Task, eventually, random_seed


class Tagged:
    """One client. `step` sends a random request and checks its whole answer."""

    def __init__(self, b, number, seed, prepared):
        self.b, self.number, self.prepared = b, number, prepared
        self.rng = random.Random(seed * 1000003 + number)
        self.sequence = 0
        self.done = 0
        self.connect()

    def connect(self):
        self.c = self.b.connect(application_name=f"client {self.number}")
        self.statements = set()

    def tag(self):
        self.sequence += 1
        return f"{self.number}.{self.sequence}.{self.rng.randrange(1 << 30)}"

    def rows_are(self, answer, expected, status="I"):
        assert wire.rows(answer) == [[t] for t in expected], (wire.rows(answer), expected, wire.errors(answer))
        assert answer[-1].status == status
        self.done += len(expected)

    def simple(self):
        tags = [self.tag() for _ in range(self.rng.randrange(1, 4))]
        self.c.send(b"".join(wire.query(f"select '{t}'") for t in tags))
        for t in tags:
            self.rows_are(self.c.until("Z"), [t])

    def extended(self):
        tags = [self.tag() for _ in range(self.rng.randrange(1, 6))]
        self.c.send(b"".join(wire.run("select $1::text", [t]) for t in tags) + wire.sync())
        self.rows_are(self.c.until("Z"), tags)

    def statement(self):
        name = f"s{self.rng.randrange(4)}"
        tag, data = self.tag(), b""
        if name not in self.statements:
            data += wire.parse(name, f"select '{self.number} {name} ' || $1::text")
            self.statements.add(name)
        self.c.send(data + wire.rerun(name, [tag]) + wire.sync())
        self.rows_are(self.c.until("Z"), [f"{self.number} {name} {tag}"])

    def transaction(self):
        tags = [self.tag() for _ in range(3)]
        self.c.query("begin")
        pids = set()
        for t in tags:
            answer = self.c.query(f"select '{t}', pg_backend_pid()")
            ((got, pid),) = wire.rows(answer)
            assert got == t and answer[-1].status == "T"
            pids.add(pid)
        assert len(pids) == 1
        self.c.query(self.rng.choice(["commit", "rollback"]))
        self.done += 3

    def error(self):
        tag = self.tag()
        answer = self.c.ask(wire.run("select $1::text::int", [tag]) + wire.sync())
        assert wire.sqlstates(answer) == ["22P02"] and tag in wire.only_error(answer).text
        self.done += 1

    def big(self):
        tag = self.tag()
        size = self.rng.choice([1000, 8192, 100000, 400000])
        answer = self.c.query(f"select '{tag}' || repeat('{self.number % 10}', {size})")
        self.rows_are(answer, [tag + str(self.number % 10) * size])

    def copy_out(self):
        tag = self.tag()
        answer = self.c.query(f"copy (select '{tag}' from generate_series(1, 20)) to stdout")
        assert [m.body for m in answer if m.tag == "d"] == [tag.encode() + b"\n"] * 20
        self.done += 1

    def leave(self):
        """In the middle of something, by every door."""
        self.c.send_if_open(self.rng.choice([
            b"", wire.query(f"select '{self.tag()}' || repeat('L', 300000)"), wire.query("begin"),
            wire.run("select $1::text", [self.tag()]), wire.run("select $1::text", [self.tag()]) + wire.sync(),
            wire.query("select pg_sleep(0.01)"), wire.query("select 'cut off'")[:self.rng.randrange(1, 20)],
            wire.query("begin; create temp table gone (n int)") + wire.query("copy gone from stdin"),
            wire.parse("left", f"select '{self.tag()}'") + wire.bind("", "left")]))
        if self.rng.random() < 0.3:
            try:
                self.c.recv(0.02)
            except (TimeoutError, Closed):
                pass
        getattr(self.c, self.rng.choice(["close", "abort", "terminate"]))()
        self.connect()

    def step(self):
        kinds = [self.simple, self.extended, self.transaction, self.error, self.big, self.copy_out]
        weights = [6, 6, 2, 2, 1, 1]
        if self.prepared:
            kinds.append(self.statement)
            weights.append(6)
        self.rng.choices(kinds, weights)[0]()

    def run(self, steps, leaving):
        try:
            for _ in range(steps):
                if self.rng.random() < leaving:
                    self.leave()
                self.step()
        finally:
            self.c.close()
        return self.done


def hammer(broker, control, clients, steps, leaving, prepared=True, **settings):
    b = broker(**settings)
    seed = random_seed()
    tasks = [Task(Tagged(b, n, seed, prepared).run, steps, leaving) for n in range(clients)]
    done = [task.result(140) for task in tasks]
    print("answers checked:", sum(done))
    eventually(lambda: (b.pool()["sv_active"], b.pool()["cl_waiting"], len(b.clients(user="app"))) == (0, 0, 0),
               "everything is given back (I12, I13)")
    # One that was closed for its client's sake may still stand there for a moment.
    eventually(lambda: not control.sql("select 1 from pg_stat_activity where state like 'idle in transaction%'"),
               "no transaction is left open")


@pytest.mark.limit(150)
@pytest.mark.parametrize("pool_size", [1, 4])
def test_tags_without_disconnects(broker, control, pool_size):
    hammer(broker, control, clients=12, steps=40, leaving=0, prepared=False, default_pool_size=pool_size)


@pytest.mark.newer
@pytest.mark.limit(150)
@pytest.mark.parametrize("pool_size, statements", [(1, 200), (3, 2), (8, 200)])
def test_tags_with_disconnects(broker, control, pool_size, statements):
    """class 1 to 8, 22, 23: clients vanish in the middle of everything; no byte of theirs reaches another."""
    hammer(broker, control, clients=16, steps=40, leaving=0.2, default_pool_size=pool_size,
           max_prepared_statements=statements)


@pytest.mark.ours
@pytest.mark.limit(150)
def test_tags_on_both_ports(broker, control):
    """Session and transaction clients over one set of servers."""
    b = broker(default_pool_size=3)
    seed = random_seed()

    def session(number):
        rng = random.Random(seed + number)
        for turn in range(15):
            with b.session() as c:
                c.query("set work_mem = '99MB'"), c.query(f"create temp table t{number} (n int)")
                for _ in range(rng.randrange(1, 6)):
                    tag = f"session {number}.{turn}.{rng.randrange(1 << 30)}"
                    assert c.value(f"select '{tag}'") == tag

    tasks = [Task(session, n) for n in range(3)]
    tasks += [Task(Tagged(b, n, seed, True).run, 40, 0.1) for n in range(8)]
    for task in tasks:
        task.result(140)
    eventually(lambda: b.pool()["sv_active"] == 0)
    assert b.connect().value("select current_setting('work_mem') <> '99MB'") == "t"
