"""Certificates for the tests of TLS: authorities, and what they (or nobody) signed. Made anew for each run by openssl(1)."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Sequence

from .system import give_to_service_user, write

RSA_BITS = 2048


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, in PEM. The owner of the files is the service user; the key is 0600."""
    cert: Path
    key: Path
    subject: str


def _openssl(*arguments, given: Optional[str] = None) -> str:
    done = subprocess.run(["openssl", *(str(a) for a in arguments)], input=given, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 0, f"openssl {arguments}: {done.stderr}"
    return done.stdout


def _make_key(path: Path, algorithm: str) -> Path:
    how = {"ec": ("EC", "ec_paramgen_curve:P-256"), "rsa": ("RSA", f"rsa_keygen_bits:{RSA_BITS}")}
    if algorithm == "ed25519":
        _openssl("genpkey", "-algorithm", "ED25519", "-out", path)
    else:
        kind, option = how[algorithm]
        _openssl("genpkey", "-algorithm", kind, "-pkeyopt", option, "-out", path)
    path.chmod(0o600)
    return path


def _subject(name: str) -> str:
    return name if name.startswith("/") else f"/CN={name}"


class Authority:
    """A root (or, with `issuer`, an intermediate) that signs. `cert` is its own certificate, `crl()` its list of revoked ones."""

    def __init__(self, directory: Path, name: str = "Test Root", issuer: Optional["Authority"] = None):
        self.directory = directory
        self.name = name
        self.issuer = issuer
        self._serial = 100
        stem = name.lower().replace(" ", "-")
        self.key = _make_key(directory / f"{stem}.key", "ec")
        self.cert = directory / f"{stem}.crt"
        extensions = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
        if issuer:
            self.cert.write_text(issuer._sign(self.key, _subject(name), extensions, 30, "sha256"))
        else:
            self._self_sign(self.key, self.cert, _subject(name), extensions, 30)
        give_to_service_user(self.cert)
        give_to_service_user(self.key)

    # For servers: `hosts` and `addresses` become the subjectAltName. For clients: the name is what counts. A negative
    # number of days makes one that has expired long ago.
    def issue(self, name: str, hosts: Sequence[str] = (), addresses: Sequence[str] = (), days: int = 30,
              algorithm: str = "ec", digest: str = "sha256", file: Optional[str] = None) -> Certificate:
        name_part = name.strip('/').replace('/', '_').replace('*', 'any').replace(' ', '-')
        stem = file or f"{name_part}-{self.cert.stem}-{self._serial}"
        key = _make_key(self.directory / f"{stem}.key", algorithm)
        text = self._sign(key, _subject(name), self._leaf(hosts, addresses), days, digest)
        if self.issuer:
            text += self.cert.read_text()
        return self._finish(stem, key, text, _subject(name))

    def revoke(self, *certificates: Certificate, overdue: bool = False) -> Path:
        """A list of revoked certificates that names these; overdue: it should have been replaced long ago."""
        by = self._office()
        for certificate in certificates:
            _openssl("ca", *by, "-revoke", certificate.cert)
        crl = self.directory / f"{self.cert.stem}.crl"
        times = ("-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", "20200201000000Z") if overdue else ()
        _openssl("ca", *by, "-gencrl", *times, "-out", crl)
        give_to_service_user(crl)
        return crl

    def _office(self) -> tuple:
        """What openssl-ca(1) needs to act for this authority."""
        index = self.directory / f"{self.cert.stem}.index"
        index.write_text("")
        config = self.directory / f"{self.cert.stem}.ca.cnf"
        config.write_text(f"[ca]\ndefault_ca=own\n[own]\ndatabase={index}\ndefault_md=sha256\ndefault_crl_days=30\n"
                          f"unique_subject=no\nrand_serial=yes\nnew_certs_dir={self.directory}\npolicy=any\n"
                          "[any]\ncommonName=supplied\n")
        return ("-config", config, "-cert", self.cert, "-keyfile", self.key)

    @staticmethod
    def _leaf(hosts: Sequence[str], addresses: Sequence[str]) -> str:
        names = [f"DNS:{h}" for h in hosts] + [f"IP:{a}" for a in addresses]
        out = "basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nextendedKeyUsage=serverAuth,clientAuth\n"
        return out + (f"subjectAltName={','.join(names)}\n" if names else "")

    def _sign(self, key: Path, subject: str, extensions: str, days: int, digest: str) -> str:
        self._serial += 1
        request = _openssl("req", "-new", "-key", key, "-subj", subject)
        file = self.directory / "extensions.cnf"
        file.write_text(extensions)
        if days < 0:  # newer versions of openssl-x509(1) refuse such a number
            asked = write(self.directory / "expired.csr", request)
            return _openssl("ca", *self._office(), "-batch", "-notext", "-in", asked, "-extfile", file,
                            "-startdate", "20200101000000Z", "-enddate", "20200201000000Z")
        return _openssl("x509", "-req", "-CA", self.cert, "-CAkey", self.key, "-set_serial", self._serial, "-days", days,
                        *([] if digest == "none" else [f"-{digest}"]), "-extfile", file, given=request)

    @staticmethod
    def _self_sign(key: Path, cert: Path, subject: str, extensions: str, days: int) -> None:
        added = [part for line in extensions.splitlines() for part in ("-addext", line)]
        _openssl("req", "-x509", "-new", "-key", key, "-subj", subject, "-days", days, "-config", "/dev/null", *added,
                 "-out", cert)

    def _finish(self, stem: str, key: Path, text: str, subject: str) -> Certificate:
        cert = self.directory / f"{stem}.crt"
        cert.write_text(text)
        give_to_service_user(cert)
        give_to_service_user(key)
        return Certificate(cert, key, subject)


def self_signed(directory: Path, name: str, hosts: Sequence[str] = (), addresses: Sequence[str] = ()) -> Certificate:
    """One that no authority knows."""
    stem = f"self-{name.strip('/').replace('/', '_')}"
    key = _make_key(directory / f"{stem}.key", "ec")
    cert = directory / f"{stem}.crt"
    Authority._self_sign(key, cert, _subject(name), Authority._leaf(hosts, addresses), 30)
    give_to_service_user(cert)
    give_to_service_user(key)
    return Certificate(cert, key, _subject(name))
