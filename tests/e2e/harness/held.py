"""Of a pool with one server: whether a client holds it or another one can have it."""

from . import wire
from .system import eventually


def waiting(b, count=1):
    eventually(lambda: b.pool()["cl_waiting"] == count, f"{count} clients wait; pool: {b.pool()}")


def assert_free(b):
    """The pool's only server serves another client, and its transaction is over."""
    with b.connect() as other:
        answer = other.query("select 'free', pg_current_xact_id_if_assigned() is null")
        assert wire.rows(answer) == [["free", "t"]] and answer[-1].status == "I"


def assert_held(b, release):
    """Another client waits until release() was called."""
    with b.connect() as other:
        other.send(wire.query("select 'mine'"))
        waiting(b)
        assert other.quiet(0.05)
        out = release()
        assert wire.rows(other.until("Z")) == [["mine"]]
    return out
