"""Who knows passwords beside PostgreSQL and auth_file: a private slapd, and PAM by libpam-wrapper's matrix of users."""

import shutil
import subprocess
from pathlib import Path
from typing import Optional

from .certificates import Authority
from .system import eventually, free_port, kill, make_directory, run_checked, spawn, write

SLAPD = "/usr/sbin/slapd"
BASE = "dc=example,dc=net"
ADMIN, ADMIN_PASSWORD = f"cn=root,{BASE}", "root, \"of\" it"

CONFIG = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile {root}/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
maxsize 10485760
suffix "{base}"
rootdn "{admin}"
rootpw "{password}"
directory {root}/data
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="uid=reader,ou=people,{base}" read by {anonymous}
"""


def person(name: str, password: str, mail: str) -> str:
    return (f"dn: uid={name},ou=people,{BASE}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: {name}\n"
            f"mail: {mail}\nuserPassword: {password}\n\n")


class Directory:
    """A slapd with these people ({name: password}); everybody may search it, or `reader` alone. With `tls_address`,
    which its certificate names, it speaks TLS too, by STARTTLS and at `tls_port`, and `authority` is who signed that."""

    def __init__(self, people: dict, open_to_all: bool = True, tls_address: str = ""):
        self.root: Path = make_directory()
        self.port = free_port()
        self.authority: Optional[Authority] = None
        self.tls_port = 0
        data = self.root / "data"
        data.mkdir()
        shutil.chown(data, *_owner(self.root))
        conf = write(self.root / "slapd.conf", CONFIG.format(
            root=self.root, base=BASE, admin=ADMIN, password=ADMIN_PASSWORD.replace('"', '\\"'),
            anonymous="* read" if open_to_all else "anonymous auth by * none"))
        urls = f"ldap://127.0.0.1:{self.port}/"
        if tls_address:
            self.authority = Authority(self.root, "Directory Root")
            own = self.authority.issue("directory", addresses=[tls_address])
            write(conf, f"TLSCertificateFile {own.cert}\nTLSCertificateKeyFile {own.key}\n" + conf.read_text())
            self.tls_port = free_port()
            urls += f" ldaps://127.0.0.1:{self.tls_port}/"
        entries = f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\no: test\ndc: example\n\n" \
                  f"dn: ou=people,{BASE}\nobjectClass: organizationalUnit\nou: people\n\n"
        entries += "".join(person(name, password, f"{name}@example.net") for name, password in people.items())
        run_checked(["/usr/sbin/slapadd", "-q", "-f", conf, "-l", write(self.root / "people.ldif", entries)])
        self.process = spawn([SLAPD, "-f", conf, "-h", urls, "-d", "stats"],
                             self.root / "slapd.log")
        eventually(self._answers, "slapd answers", timeout=60)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log()[-2000:]
        return "slapd starting" in self.log()

    def log(self) -> str:
        return (self.root / "slapd.log").read_text(errors="replace")

    def stop(self) -> None:
        kill(self.process)

    def remove(self) -> None:
        kill(self.process)
        shutil.rmtree(self.root, ignore_errors=True)


def _owner(path: Path):
    status = path.stat()
    return status.st_uid, status.st_gid


# PAM ------------------------------------------------------------------------------------------------------------------

def _library(name: str) -> str:
    """From Debian's multiarch directory."""
    triplet = subprocess.run(["gcc", "-print-multiarch"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    return f"/usr/lib/{triplet}/{name}"


def pam_environment(root: Path, users: dict, services=("pgbouncer",), waits_for: Optional[Path] = None) -> dict:
    """Variables for a process whose PAM knows these users ({name: password}) for these services. `root`: where its files
    may stand. Before that a login takes as long as reading `waits_for`, a named pipe, but no more than two minutes."""
    directory = root / "pam.d"
    directory.mkdir()
    for service in services:
        passdb = write(root / f"{service}.passdb", "".join(f"{user}:{password}:{service}\n" for user, password in users.items()))
        module = _library("pam_wrapper/pam_matrix.so")
        first = f"auth required {_library('security/pam_exec.so')} /usr/bin/timeout -s KILL 120 /bin/cat {waits_for}\n" if waits_for else ""
        write(directory / service, f"{first}auth required {module} passdb={passdb}\naccount required {module} passdb={passdb}\n")
    return {"LD_PRELOAD": _library("libpam_wrapper.so"), "PAM_WRAPPER": "1", "PAM_WRAPPER_SERVICE_DIR": str(directory)}
