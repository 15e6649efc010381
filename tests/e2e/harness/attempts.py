"""What a client hears of a broker whose servers have trouble."""

from . import wire
from .raw import Closed, Raw, Refused


def answer_or_end(c, sql="select 'x'", timeout=30):
    """What a client hears of a query that may end its session."""
    c.send_if_open(wire.query(sql))
    out = []
    try:
        while not out or out[-1].tag != "Z":
            out.append(c.recv(timeout))
    except Closed:
        pass
    return out


def login_or_refusal(b, database="e2e", sql="select 'x'"):
    """A whole attempt of a client; the error with which it ended, or None."""
    try:
        with Raw(b.transaction_port) as c:
            c.login("app", database)
            errors = wire.errors(answer_or_end(c, sql))
            return errors[0] if errors else None
    except Refused as e:
        return e.error
    except Closed:
        return "closed"


def healthy(b, database="e2e2"):
    assert b.alive
    with b.connect(database=database) as other:
        assert other.value("select 'served'") == "served"
