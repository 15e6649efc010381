"""SCRAM-SHA-256 (RFC 5802, RFC 7677): the client's side, and the stored secret as PostgreSQL writes it."""

import base64
import hashlib
import hmac
import os


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, hashlib.sha256).digest()


def salted(password: str, salt: bytes, iterations: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)


def secret(password: str, iterations: int = 4096, salt: bytes = b"0123456789abcdef") -> str:
    """The form of pg_authid.rolpassword and of a line of auth_file."""
    key = salted(password, salt, iterations)
    stored = hashlib.sha256(_hmac(key, b"Client Key")).digest()
    b64 = lambda data: base64.b64encode(data).decode()
    return f"SCRAM-SHA-256${iterations}:{b64(salt)}${b64(stored)}:{b64(_hmac(key, b'Server Key'))}"


def md5(user: str, password: str) -> str:
    """The stored form of an md5 password."""
    return "md5" + hashlib.md5(password.encode() + user.encode()).hexdigest()


def md5_answer(user: str, password: str, salt: bytes) -> str:
    """What a client sends when it is asked for an md5 password."""
    return "md5" + hashlib.md5(md5(user, password)[3:].encode() + salt).hexdigest()


class Client:
    """One exchange: first() is sent, the server's answer goes to final(), its last word to verify()."""

    def __init__(self, password: str, nonce: str = ""):
        self.password = password
        self.nonce = nonce or base64.b64encode(os.urandom(18)).decode()
        self.bare = f"n=,r={self.nonce}"

    def first(self) -> bytes:
        return b"n,," + self.bare.encode()

    def final(self, server_first: bytes) -> bytes:
        attributes = dict(part.split("=", 1) for part in server_first.decode().split(","))
        assert attributes["r"].startswith(self.nonce), attributes
        key = salted(self.password, base64.b64decode(attributes["s"]), int(attributes["i"]))
        without_proof = f"c=biws,r={attributes['r']}"
        message = f"{self.bare},{server_first.decode()},{without_proof}".encode()
        client_key = _hmac(key, b"Client Key")
        signature = _hmac(hashlib.sha256(client_key).digest(), message)
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        self.expected = _hmac(_hmac(key, b"Server Key"), message)
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, server_final: bytes) -> None:
        attributes = dict(part.split("=", 1) for part in server_final.decode().split(","))
        assert base64.b64decode(attributes["v"]) == self.expected, "the server does not know the secret"
