"""A console that says what a test wants: a broker's tables are made up, so that what needs another machine can be tried."""

import socket
import struct
import threading


def message(tag, body):
    return tag + struct.pack("!i", len(body) + 4) + body


def text(value):
    return value.encode() + b"\0"


class FakeConsole:
    """Answers each command of `tables` with its rows (dicts of text), any other one with an error, to clients that give any
    password. A context: it listens on `port` of the loopback until its end."""

    def __init__(self, tables):
        self.tables = tables
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client, client.makefile("rb") as stream:
            while True:
                length, code = struct.unpack("!ii", stream.read(8))
                stream.read(length - 8)
                if code == 196608:  # else it asks for TLS
                    break
                client.sendall(b"N")
            client.sendall(message(b"R", struct.pack("!i", 3)))
            self.read(stream)
            client.sendall(message(b"R", struct.pack("!i", 0)) + message(b"Z", b"I"))
            while True:
                tag, body = self.read(stream)
                if tag != b"Q":
                    return
                client.sendall(self.answer(body[:-1].decode()) + message(b"Z", b"I"))

    @staticmethod
    def read(stream):
        tag = stream.read(1)
        if not tag:
            return b"X", b""
        return tag, stream.read(struct.unpack("!i", stream.read(4))[0] - 4)

    def answer(self, command):
        if command not in self.tables:
            return message(b"E", b"SERROR\0C42601\0" + b"M" + text("unknown") + b"\0")
        rows = self.tables[command]
        names = list(rows[0]) if rows else ["nothing"]
        out = message(b"T", struct.pack("!h", len(names)) + b"".join(text(n) + struct.pack("!ihihih", 0, 0, 25, -1, -1, 0) for n in names))
        for row in rows:
            cells = [row[name].encode() for name in names]
            out += message(b"D", struct.pack("!h", len(cells)) + b"".join(struct.pack("!i", len(c)) + c for c in cells))
        return out + message(b"C", text("SHOW"))
