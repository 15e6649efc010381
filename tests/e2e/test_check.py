"""What `--check` says of files: as the broker's user finds them, and of what has ended."""

import os
import re
import shutil
import subprocess

import pytest

from harness.broker import sanitizer_environment
from harness.certificates import Authority
from harness.program import prepared, run
from harness.system import SERVICE_USER, eventually, write

pytestmark = pytest.mark.ours
as_root = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


def with_tls(broker, **settings):
    """The files of a broker that has a certificate; its key is the service user's."""
    made = prepared(broker, **settings)
    own = Authority(made.root).issue("localhost", hosts=["localhost"])
    made.settings.update(client_tls_sslmode="require", client_tls_cert_file=own.cert, client_tls_key_file=own.key)
    made.write_files()
    return made, own


@as_root
@pytest.mark.parametrize("where", ["setting", "option"])
def test_as_the_user_of_the_broker(broker, where):
    """Run by root: a key of that user is his, what only root may read is not."""
    made, own = with_tls(broker, **({"user": SERVICE_USER} if where == "setting" else {}))
    arguments = ["--check", *(["-u", SERVICE_USER] if where == "option" else []), made.ini]
    assert run(made, *arguments, user=False) == (0, f"{made.ini}: fine\n")
    for path, complaint in ((made.ini, "cannot read it (Permission denied): every reload would be refused"),
                            (own.key, "client_tls_key_file: cannot open")):
        shutil.chown(path, "root", "root")
        status, text = run(made, *arguments, user=False)
        assert status == 1 and complaint in text and str(path) in text and "fine" not in text, text
        shutil.chown(path, SERVICE_USER)
    own.key.chmod(0o644)
    status, text = run(made, *arguments, user=False)
    assert status == 1 and "has group or world access" in text


@as_root
def test_a_user_list_that_decides_nothing(broker):
    """With trust a reload goes on without it: worth a warning only."""
    made = prepared(broker, user=SERVICE_USER, auth_type="trust")
    shutil.chown(made.auth_file, "root", "root")
    status, text = run(made, "--check", made.ini, user=False)
    assert status == 0 and f"warning: {made.auth_file}: user number " in text and "a reload would lose its secrets" in text


@as_root
def test_without_a_user(broker):
    """Root judges nothing in the place of nobody."""
    made, _ = with_tls(broker)
    status, text = run(made, "--check", made.ini, user=False)
    assert status == 1 and f"warning: {made.ini}: user is not set" in text and "must belong to the broker's user or to root" in text
    made.settings["user"] = "nobody-of-that-name"
    made.write_files()
    status, text = run(made, "--check", made.ini, user=False)
    assert status == 1 and "could not find user 'nobody-of-that-name' to switch to" in text


@as_root
def test_the_start_says_what_a_reload_will_miss(broker):
    """Root reads the files once, the broker's user each time after that."""
    made = prepared(broker, user=SERVICE_USER)
    shutil.chown(made.auth_file, "root", "root")
    with open(made.output_path, "ab") as out:
        made.process = subprocess.Popen([str(made.binary), str(made.ini)], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                        cwd="/", env=sanitizer_environment())
    eventually(lambda: "process up" in made.log)
    assert f"WARNING {made.auth_file}: user number " in made.log


def test_what_has_ended(broker):
    """A certificate, a root, a list of revocations: said before the day on which nobody gets in any more."""
    made, _ = with_tls(broker)
    authority = Authority(made.root, "Old Root")
    own = authority.issue("localhost", hosts=["localhost"], days=-1)
    crl = authority.revoke(overdue=True)
    roots = write(made.root / "roots.crt", authority.cert.read_text() + crl.read_text())
    made.settings.update(client_tls_cert_file=own.cert, client_tls_key_file=own.key, client_tls_ca_file=roots,
                         auth_type="scram-sha-256", auth_user="stranger")
    made.write_files()
    status, text = run(made, "--check", made.ini)
    assert status == 0 and re.search(rf'warning: the certificate of "{own.cert}" expired \d+ days ago\n', text), text
    assert re.search(rf'warning: the list of revoked certificates of "CN=Old Root" in "{roots}" is overdue for \d+ days: ', text)
    assert 'auth_user: auth_file has no secret of "stranger"' in text
