"""The same script of messages to the broker and to PostgreSQL must give the same answers.

A script is a function that gets a logged-in Raw and returns the messages it read. PostgreSQL is the oracle, so a test
that uses this needs no expectation of its own, and cannot have a wrong one.
"""

import re
from typing import Callable, Iterable, List

from .wire import Message

# Process ids are the only thing in which two PostgreSQL backends may differ here.
PID_TEXT = re.compile(rb"\b(PID|pid|process) \d+")

# In an aborted transaction a Bind whose statement this server lacks is refused at the Parse that the broker puts before
# it: the same error from another line of PostgreSQL's source.
SOURCE_LINE = re.compile(rb"(?<=\0)[FLR][^\0]*\0")


def masked(message: Message) -> Message:
    if message.tag == "A":
        return Message("A", b"pid." + message.body[4:])
    if message.tag == "K":
        return Message("K", b"key")
    if message.tag == "E" and b"\0C25P02\0" in message.body:
        return Message("E", SOURCE_LINE.sub(b"", message.body))
    return Message(message.tag, PID_TEXT.sub(rb"\1 N", message.body))


def comparable(messages: Iterable[Message]) -> List[Message]:
    return [masked(m) for m in messages]


def same(direct, brokered, script: Callable) -> List[Message]:
    """Runs the script on both, asserts equal answers, returns them."""
    expected, got = comparable(script(direct)), comparable(script(brokered))
    for number, (want, have) in enumerate(zip(expected, got)):
        assert want == have, f"message {number}: PostgreSQL says {want}, the broker {have}\n{expected}\n{got}"
    assert len(expected) == len(got), (expected, got)
    return got


def batches(*parts: bytes) -> Callable:
    """A script: each part is sent, then everything up to a ReadyForQuery is read."""
    def script(connection):
        out = []
        for part in parts:
            out += connection.ask(part)
        return out
    return script


def at_once(data: bytes, count: int) -> Callable:
    """A script: all is sent at once, then everything up to the last of `count` ReadyForQuery is read."""
    def script(connection):
        connection.send(data)
        return [message for _ in range(count) for message in connection.until("Z")]
    return script
