"""A small blocking client of the raw protocol: what it sends is exactly what a test says."""

import socket
import struct
import time
from typing import List, Optional

from . import scram, wire
from .wire import Message

DEFAULT_TIMEOUT = 30.0


class Closed(Exception):
    """The peer closed the connection; the messages that came before it are in .messages."""

    def __init__(self, messages=()):
        super().__init__(f"closed after {wire.tags(messages)!r}")
        self.messages = list(messages)


class Refused(Exception):
    """The login ended in an ErrorResponse."""

    def __init__(self, error: Message):
        super().__init__(str(error.fields))
        self.error = error

    @property
    def sqlstate(self) -> str:
        return self.error.sqlstate

    @property
    def text(self) -> str:
        return self.error.text


class Raw:
    """One connection. `parameters`, `key` and `pid` are what the login brought."""

    def __init__(self, port: int, host: str = "127.0.0.1", timeout: float = DEFAULT_TIMEOUT,
                 receive_buffer: Optional[int] = None, source: Optional[str] = None):
        """A host that begins with a slash is the directory of a Unix socket. `source` is the client's own address."""
        self.timeout = timeout
        if host.startswith("/"):
            self.sock = socket.socket(socket.AF_UNIX)
            address = f"{host}/.s.PGSQL.{port}"
        else:
            self.sock = socket.socket(socket.AF_INET)
            address = (host, port)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            self.sock.bind((source, 0))
        self.sock.settimeout(timeout)
        self.sock.connect(address)
        if self.sock.family == socket.AF_INET:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.parameters: dict = {}
        self.pid = 0
        self.key = b""
        self.greeting: List[Message] = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Bytes ------------------------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> "Raw":
        self.sock.sendall(data)
        return self

    def send_if_open(self, data: bytes) -> "Raw":
        """For hostile bytes: the peer may close while they are being sent."""
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return self

    def _fill(self, need: int, deadline: float) -> None:
        while len(self.buffer) < need:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no answer; {bytes(self.buffer[:40])!r} is what came")
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(1 << 18)
            except ConnectionResetError:
                data = b""
            finally:
                self.sock.settimeout(self.timeout)
            if not data:
                raise Closed()
            self.buffer += data

    def read_byte(self, timeout: Optional[float] = None) -> bytes:
        """The bare answer to SSLRequest or GSSENCRequest."""
        self._fill(1, time.monotonic() + (timeout or self.timeout))
        out = bytes(self.buffer[:1])
        del self.buffer[:1]
        return out

    def recv(self, timeout: Optional[float] = None) -> Message:
        deadline = time.monotonic() + (timeout or self.timeout)
        self._fill(5, deadline)
        (size,) = struct.unpack_from("!I", self.buffer, 1)
        assert 4 <= size < 1 << 30, f"a frame of {size} bytes: {bytes(self.buffer[:40])!r}"
        self._fill(size + 1, deadline)
        message = Message(chr(self.buffer[0]), bytes(self.buffer[5:size + 1]))
        del self.buffer[:size + 1]
        return message

    def quiet(self, seconds: float = 0.2) -> bool:
        """True if nothing arrives for a while (used only where silence is what the protocol demands)."""
        try:
            self._fill(len(self.buffer) + 1, time.monotonic() + seconds)
        except TimeoutError:
            return True
        return False

    def until(self, tag: str, timeout: Optional[float] = None) -> List[Message]:
        """All messages up to and including the next one with this tag."""
        deadline = time.monotonic() + (timeout or self.timeout)
        out: List[Message] = []
        while not out or out[-1].tag not in tag:
            try:
                out.append(self.recv(max(0.001, deadline - time.monotonic())))
            except Closed:
                raise Closed(out) from None
            except TimeoutError as e:
                raise TimeoutError(f"{e}; before it came {wire.tags(out)!r}") from None
        return out

    def until_closed(self, timeout: Optional[float] = None) -> List[Message]:
        """All messages until the peer closes; TimeoutError if it does not."""
        out: List[Message] = []
        deadline = time.monotonic() + (timeout or self.timeout)
        while True:
            try:
                out.append(self.recv(max(0.001, deadline - time.monotonic())))
            except Closed:
                return out

    # Conversations ----------------------------------------------------------------------------------------------------

    def ask(self, data: bytes, timeout: Optional[float] = None) -> List[Message]:
        """Sends, then reads up to the next ReadyForQuery."""
        return self.send(data).until("Z", timeout)

    def query(self, sql, timeout: Optional[float] = None) -> List[Message]:
        return self.ask(wire.query(sql), timeout)

    def value(self, sql, timeout: Optional[float] = None):
        return wire.scalar(self.query(sql, timeout))

    def startup(self, version: int = wire.PROTOCOL_3_0, **params) -> "Raw":
        return self.send(wire.startup(params, version))

    def login(self, user: str, database: str, password: Optional[str] = None, version: int = wire.PROTOCOL_3_0,
              **params) -> "Raw":
        """A whole login, by whichever method the server asks for; Refused carries its error."""
        self.startup(version, user=user, database=database, **params)
        return self.finish_login(user, password)

    def finish_login(self, user: str, password: Optional[str] = None) -> "Raw":
        exchange = None
        while True:
            try:
                message = self.recv()
            except Closed:
                raise Closed(self.greeting) from None
            self.greeting.append(message)
            if message.tag == "E":
                raise Refused(message)
            if message.tag == "R":
                exchange = self._authenticate(message.body, user, password, exchange)
            elif message.tag == "S":
                name, value = message.parameter
                self.parameters[name] = value
            elif message.tag == "K":
                self.pid, self.key = struct.unpack("!i", message.body[:4])[0], message.body[4:]
            elif message.tag == "Z":
                return self

    def _authenticate(self, body: bytes, user: str, password: Optional[str], exchange):
        (method,) = struct.unpack_from("!I", body)
        if method == 0:
            return exchange
        assert password is not None, f"the server asks for a password (method {method})"
        if method == 3:
            self.send(wire.password(password))
        elif method == 5:
            self.send(wire.password(scram.md5_answer(user, password, body[4:8])))
        elif method == 10:
            assert b"SCRAM-SHA-256\0" in body, body
            exchange = scram.Client(password)
            self.send(wire.sasl_initial("SCRAM-SHA-256", exchange.first()))
        elif method == 11:
            self.send(wire.sasl_response(exchange.final(body[4:])))
        elif method == 12:
            exchange.verify(body[4:])
        else:
            raise AssertionError(f"unknown authentication method {method}")
        return exchange

    # Ends -------------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        self.sock.close()

    def abort(self) -> None:
        """Closes with a reset instead of an orderly end."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def half_close(self) -> "Raw":
        """Says that nothing more will be sent; the peer may have closed already."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        return self

    def terminate(self) -> None:
        self.send_if_open(wire.terminate())
        self.close()


def cancel(port: int, pid: int, key: bytes, host: str = "127.0.0.1") -> None:
    """Sends a cancel request and waits until the peer has closed, as libpq does."""
    with Raw(port, host) as connection:
        connection.send(wire.cancel_request(pid, key))
        assert connection.until_closed() == []


def refusal(port: int, user: str, password: str, database: str = "e2e", source: Optional[str] = None) -> Message:
    """The error of a login that must fail, after which the connection is closed."""
    client = Raw(port, source=source)
    try:
        client.login(user, database, password)
    except Refused as refused:
        assert client.until_closed() == []
        assert refused.error.severity == "FATAL"
        return refused.error
    raise AssertionError(f"{user} was let in")
