"""Answers of a server that come at a bad moment: what PostgreSQL does now and then, said by a fake server each time.

Goal: no client gets what is not its answer, and no server is lost without need. See also test_server_faults.py.
"""

import pytest

from harness import fake_server as odd
from harness import wire
from harness.raw import Closed


def test_copy_that_is_cancelled_before_it_swallows_a_sync(broker, fake):
    """class 8: PostgreSQL answers the Sync behind the COPY's Execute after all, so one ReadyForQuery comes more than was to
    be expected. The server is not lost, and nobody gets it as an answer."""
    syncs = []

    def answer(session, message):
        if message.tag == "E":
            session.send(wire.frame("G", b"\0\0\0"))
        elif message.tag == "S":
            syncs.append(message)
            if len(syncs) == 2:
                cancelled = {"S": "ERROR", "V": "ERROR", "C": "57014", "M": "canceling statement"}
                session.send(odd.error(cancelled) + odd.ready() + odd.ready())
        elif message.tag not in "df":
            session.answer_well(message)

    server = fake(answer=answer)
    b = broker(databases={"e2e": server.entry()}, default_pool_size=1)
    with b.connect() as leaving:
        leaving.send(wire.run("copy t from stdin") + wire.sync()).until("G")
        leaving.send(wire.copy_data(b"1\n"))
    for number in range(3):
        sql = f"select {number}"
        assert wire.rows(b.connect().query(sql)) == [[sql]]
    assert len(server.sessions) == 1 and len(syncs) == 2


def test_nothing_follows_fatal(broker, fake):
    """The broker owes the client a CloseComplete of its own when PostgreSQL ends the session."""
    def answer(session, message):
        if message.tag == "E":
            session.send(odd.fatal("57P01", "terminating connection due to administrator command"))
            raise odd.Gone()
        session.answer_well(message)

    b = broker(databases={"e2e": fake(answer=answer).entry()}, default_pool_size=1)
    c = b.connect()
    c.ask(wire.parse("s", "select 1") + wire.sync())
    c.send(wire.rerun("s") + wire.close("S", "s") + wire.sync())
    got = []
    with pytest.raises(Closed):
        while True:
            got.append(c.recv())
    assert wire.tags(got) == "2E" and wire.sqlstates(got) == ["57P01"]
