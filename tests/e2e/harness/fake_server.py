"""A scriptable PostgreSQL for what a real one never does: odd logins, malformed answers, silence.

A test gives `login` (what happens between the StartupMessage and the first ReadyForQuery) or `answer` (what happens on
a message after it), both functions that get a Session. Each connection has a thread of its own.
"""

import base64
import os
import re
import socket
import struct
import threading
from typing import Callable, Dict, List, Optional

from . import wire
from .system import free_port
from .wire import Message

PARAMETERS = {
    "server_version": "15.9", "server_encoding": "UTF8", "client_encoding": "UTF8", "application_name": "",
    "DateStyle": "ISO, MDY", "IntervalStyle": "postgres", "TimeZone": "UTC", "integer_datetimes": "on",
    "standard_conforming_strings": "on", "is_superuser": "off", "session_authorization": "app",
    "default_transaction_read_only": "off", "in_hot_standby": "off",
}


class Gone(Exception):
    """The broker closed its connection to the fake server."""


def error(fields: Dict[str, str], tag: str = "E") -> bytes:
    return wire.frame(tag, b"".join(k.encode() + wire.cstr(v) for k, v in fields.items()) + b"\0")


def fatal(sqlstate: str, text: str) -> bytes:
    return error({"S": "FATAL", "V": "FATAL", "C": sqlstate, "M": text})


def parameter(name: str, value: str) -> bytes:
    return wire.frame("S", wire.cstr(name) + wire.cstr(value))


def ready(status: str = "I") -> bytes:
    return wire.frame("Z", status.encode())


def authentication(method: int, rest: bytes = b"") -> bytes:
    return wire.frame("R", struct.pack("!I", method) + rest)


def row_description(*names: str) -> bytes:
    body = struct.pack("!H", len(names))
    for name in names:
        body += wire.cstr(name) + struct.pack("!IhIhih", 0, 0, 25, -1, -1, 0)
    return wire.frame("T", body)


def data_row(*values: str) -> bytes:
    body = struct.pack("!H", len(values))
    for value in values:
        body += struct.pack("!i", len(value)) + value.encode()
    return wire.frame("D", body)


def complete(tag: str) -> bytes:
    return wire.frame("C", wire.cstr(tag))


class Session:
    """One connection of the broker to the fake server."""

    def __init__(self, server: "FakeServer", sock: socket.socket, number: int):
        self.server = server
        self.sock = sock
        self.number = number
        self.parameters: dict = {}
        self.seen: List[Message] = []
        self.gone = False

    def send(self, data: bytes) -> None:
        try:
            self.sock.sendall(data)
        except OSError:
            raise Gone() from None

    def read(self, count: int) -> bytes:
        out = b""
        while len(out) < count:
            try:
                data = self.sock.recv(count - len(out))
            except OSError:
                data = b""
            if not data:
                raise Gone()
            out += data
        return out

    def read_startup(self) -> bool:
        """False for a cancel request. Encryption is declined as often as it is asked for, unless the server has `encryption`."""
        while True:
            (size,) = struct.unpack("!I", self.read(4))
            body = self.read(size - 4)
            (code,) = struct.unpack_from("!I", body)
            if code == wire.SSL_REQUEST and self.server.encryption:
                self.server.encryption(self)
                continue
            if code in (wire.SSL_REQUEST, wire.GSSENC_REQUEST):
                self.send(b"N")
                continue
            if code == wire.CANCEL_REQUEST:
                self.server.cancels.append(body[4:])
                return False
            parts = body[4:].split(b"\0")
            self.parameters = {k.decode(): v.decode() for k, v in zip(parts[0:-1:2], parts[1::2]) if k}
            return True

    def message(self) -> Message:
        head = self.read(5)
        (size,) = struct.unpack_from("!I", head, 1)
        got = Message(chr(head[0]), self.read(size - 4))
        self.seen.append(got)
        return got

    def wait_closed(self) -> None:
        """Reads and forgets until the broker closes."""
        while True:
            self.read(1)

    # A well-behaved login and session, from which a test takes what it does not replace -------------------------------

    def greet(self, key: Optional[bytes] = b"\x01\x02\x03\x04", parameters: Optional[dict] = None) -> None:
        """Everything from AuthenticationOk to ReadyForQuery."""
        out = authentication(0)
        for name, value in {**PARAMETERS, **(parameters or {})}.items():
            out += parameter(name, value)
        if key is not None:
            out += wire.frame("K", struct.pack("!i", 4000 + self.number) + key)
        self.send(out + ready())

    def scram(self, nonce_tail: str = "fakeservernonce", salt: bytes = b"saltsaltsaltsalt", iterations="4096") -> None:
        """Asks for SCRAM-SHA-256 and sends a server-first-message made of the given parts."""
        self.send(authentication(10, b"SCRAM-SHA-256\0\0"))
        first = self.message().body.decode("latin-1")
        nonce = re.search(r"r=([^,]*)", first).group(1)
        text = f"r={nonce}{nonce_tail},s={base64.b64encode(salt).decode()},i={iterations}"
        self.send(authentication(11, text.encode()))

    def serve(self) -> None:
        while True:
            message = self.message()
            if message.tag == "X":
                return
            self.server.answer(self, message)

    def answer_well(self, message: Message, behind: bytes = b"") -> None:
        """Text answers that are good enough for a broker: every SELECT gives one row with its own text.

        `behind` goes out in the same segment as the answer to a Query.
        """
        if message.tag == "Q":
            sql = message.body[:-1].decode()
            word = (sql.split() or [""])[0].upper().rstrip(";")
            if not word:
                self.send(wire.frame("I") + ready() + behind)
            elif word == "SELECT":
                self.send(row_description("echo") + data_row(sql) + complete("SELECT 1") + ready() + behind)
            else:
                self.send(complete({"DISCARD": "DISCARD ALL"}.get(word, word)) + ready() + behind)
        elif message.tag in "PBCD":
            self.send({"P": wire.frame("1"), "B": wire.frame("2"), "C": wire.frame("3"),
                       "D": wire.frame("n")}[message.tag])
        elif message.tag == "E":
            self.send(data_row("extended") + complete("SELECT 1"))
        elif message.tag == "S":
            self.send(ready())


class FakeServer:
    """Listens on loopback. `sessions` are all logins so far, `cancels` the bodies of the cancel requests."""

    def __init__(self, login: Optional[Callable[[Session], None]] = None,
                 answer: Optional[Callable[[Session, Message], None]] = None,
                 encryption: Optional[Callable[[Session], None]] = None, direct: bool = False):
        self.login = login or (lambda session: session.greet())
        self.answer = answer or (lambda session, message: session.answer_well(message))
        self.encryption = encryption  # answers an SSLRequest, or (direct) begins before the first packet
        self.direct = direct
        self.sessions: List[Session] = []
        self.cancels: List[bytes] = []
        self.failures: List[str] = []
        self.port = free_port()
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.stopping = False
        self.sockets: List[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def entry(self, extra: str = "") -> str:
        """The value of a line in [databases] that leads here."""
        return f"host=127.0.0.1 port={self.port} dbname=fake {extra}"

    def _accept(self) -> None:
        while not self.stopping:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.sockets.append(sock)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._run, args=(sock,), daemon=True).start()

    def _run(self, sock: socket.socket) -> None:
        session = Session(self, sock, len(self.sessions))
        try:
            if self.direct:
                self.encryption(session)
            if session.read_startup():
                self.sessions.append(session)
                session.number = len(self.sessions)
                self.login(session)
                session.serve()
        except Gone:
            pass
        except Exception as failure:  # shown by the test's own assertion on .failures
            self.failures.append(repr(failure))
        finally:
            session.gone = True
            sock.close()

    def stop(self) -> None:
        self.stopping = True
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for sock in self.sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()


def random_salt() -> bytes:
    return os.urandom(16)
