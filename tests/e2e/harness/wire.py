"""The frontend messages of protocol 3 as functions that return bytes, and what a test reads out of the answers.

Nothing here opens a socket. The names are those of the manual's chapter "Message Formats".
"""

import struct
from typing import Iterable, List, NamedTuple, Optional, Sequence

PROTOCOL_3_0 = 0x00030000
PROTOCOL_3_2 = 0x00030002
SSL_REQUEST = 80877103
GSSENC_REQUEST = 80877104
CANCEL_REQUEST = 80877102


class Message(NamedTuple):
    """One message from a server: its tag and the bytes after the length."""

    tag: str
    body: bytes

    @property
    def fields(self) -> dict:
        """Fields of an ErrorResponse or NoticeResponse by their letter."""
        assert self.tag in "EN", self
        parts = self.body.split(b"\0")
        return {p[:1].decode(): p[1:].decode("utf-8", "replace") for p in parts if p}

    @property
    def sqlstate(self) -> str:
        return self.fields["C"]

    @property
    def text(self) -> str:
        return self.fields["M"]

    @property
    def severity(self) -> str:
        return self.fields["S"]

    @property
    def status(self) -> str:
        assert self.tag == "Z", self
        return self.body.decode()

    @property
    def values(self) -> list:
        """The values of a DataRow as text, None for NULL."""
        assert self.tag == "D", self
        (count,) = struct.unpack_from("!H", self.body)
        out, at = [], 2
        for _ in range(count):
            (size,) = struct.unpack_from("!i", self.body, at)
            at += 4
            if size < 0:
                out.append(None)
                continue
            out.append(self.body[at:at + size].decode("utf-8", "replace"))
            at += size
        return out

    @property
    def columns(self) -> list:
        """(name, type OID) of each column of a RowDescription."""
        assert self.tag == "T", self
        (count,) = struct.unpack_from("!H", self.body)
        out, at = [], 2
        for _ in range(count):
            end = self.body.index(b"\0", at)
            oid = struct.unpack_from("!IhIhih", self.body, end + 1)[2]
            out.append((self.body[at:end].decode(), oid))
            at = end + 1 + 18
        return out

    @property
    def parameter(self) -> tuple:
        assert self.tag == "S", self
        name, value = self.body.split(b"\0")[:2]
        return name.decode(), value.decode()


def frame(tag: str, body: bytes = b"") -> bytes:
    return tag.encode() + struct.pack("!I", len(body) + 4) + body


def cstr(text) -> bytes:
    return (text if isinstance(text, bytes) else text.encode()) + b"\0"


# Before the login -----------------------------------------------------------------------------------------------------

def startup(params: dict, version: int = PROTOCOL_3_0) -> bytes:
    body = struct.pack("!I", version)
    body += b"".join(cstr(k) + cstr(v) for k, v in params.items()) + b"\0"
    return struct.pack("!I", len(body) + 4) + body


def special(code: int, rest: bytes = b"") -> bytes:
    return struct.pack("!II", 8 + len(rest), code) + rest


def ssl_request() -> bytes:
    return special(SSL_REQUEST)


def gssenc_request() -> bytes:
    return special(GSSENC_REQUEST)


def cancel_request(pid: int, key: bytes) -> bytes:
    return special(CANCEL_REQUEST, struct.pack("!i", pid) + key)


def password(secret) -> bytes:
    return frame("p", cstr(secret))


def sasl_initial(mechanism: str, data: bytes) -> bytes:
    return frame("p", cstr(mechanism) + struct.pack("!i", len(data)) + data)


def sasl_response(data: bytes) -> bytes:
    return frame("p", data)


# After it -------------------------------------------------------------------------------------------------------------

def query(sql) -> bytes:
    return frame("Q", cstr(sql))


def parse(name: str, sql, oids: Sequence[int] = ()) -> bytes:
    return frame("P", cstr(name) + cstr(sql) + struct.pack(f"!H{len(oids)}I", len(oids), *oids))


def bind(portal: str = "", statement: str = "", params: Iterable = (), formats: Sequence[int] = (),
         results: Sequence[int] = ()) -> bytes:
    params = list(params)
    body = cstr(portal) + cstr(statement) + struct.pack(f"!H{len(formats)}h", len(formats), *formats)
    body += struct.pack("!H", len(params))
    for value in params:
        if value is None:
            body += struct.pack("!i", -1)
            continue
        data = value if isinstance(value, bytes) else str(value).encode()
        body += struct.pack("!i", len(data)) + data
    return frame("B", body + struct.pack(f"!H{len(results)}h", len(results), *results))


def describe(kind: str, name: str = "") -> bytes:
    return frame("D", kind.encode() + cstr(name))


def execute(portal: str = "", limit: int = 0) -> bytes:
    return frame("E", cstr(portal) + struct.pack("!i", limit))


def close(kind: str, name: str = "") -> bytes:
    return frame("C", kind.encode() + cstr(name))


def sync() -> bytes:
    return frame("S")


def flush() -> bytes:
    return frame("H")


def terminate() -> bytes:
    return frame("X")


def copy_data(data: bytes) -> bytes:
    return frame("d", data)


def copy_done() -> bytes:
    return frame("c")


def copy_fail(reason: str) -> bytes:
    return frame("f", cstr(reason))


def function_call(oid: int, args: Sequence[bytes], formats: Sequence[int] = (1,), result: int = 1) -> bytes:
    body = struct.pack(f"!IH{len(formats)}h", oid, len(formats), *formats) + struct.pack("!H", len(args))
    for arg in args:
        body += struct.pack("!i", len(arg)) + arg
    return frame("F", body + struct.pack("!h", result))


def run(sql, params: Iterable = (), name: str = "") -> bytes:
    """Parse, Bind, Execute of one statement, without a Sync."""
    return parse(name, sql) + bind("", name, params) + execute()


def rerun(name: str, params: Iterable = ()) -> bytes:
    """Bind and Execute of a statement that was parsed before, without a Sync."""
    return bind("", name, params) + execute()


# Reading answers ------------------------------------------------------------------------------------------------------

def tags(messages: Iterable[Message]) -> str:
    return "".join(m.tag for m in messages)


def rows(messages: Iterable[Message]) -> list:
    return [m.values for m in messages if m.tag == "D"]


def scalar(messages: Iterable[Message]):
    """The only value of the only row; an error in the answer fails the test with the error's text."""
    messages = list(messages)
    assert not errors(messages), [e.fields for e in errors(messages)]
    got = rows(messages)
    assert len(got) == 1 and len(got[0]) == 1, (tags(messages), got)
    return got[0][0]


def errors(messages: Iterable[Message]) -> List[Message]:
    return [m for m in messages if m.tag == "E"]


def sqlstates(messages: Iterable[Message]) -> List[str]:
    return [m.sqlstate for m in errors(messages)]


def only_error(messages: Iterable[Message]) -> Message:
    found = errors(messages)
    assert len(found) == 1, [m.fields for m in found] or tags(messages)
    return found[0]


def command_tags(messages: Iterable[Message]) -> List[str]:
    return [m.body[:-1].decode() for m in messages if m.tag == "C"]


def split(stream: bytes) -> "tuple[List[Message], bytes]":
    """Cuts a byte stream of a server into messages and an unfinished rest."""
    out, at = [], 0
    while len(stream) - at >= 5:
        (size,) = struct.unpack_from("!I", stream, at + 1)
        if len(stream) - at < size + 1:
            break
        out.append(Message(chr(stream[at]), stream[at + 5:at + 1 + size]))
        at += size + 1
    return out, stream[at:]


def find(messages: Iterable[Message], tag: str) -> Optional[Message]:
    return next((m for m in messages if m.tag == tag), None)
