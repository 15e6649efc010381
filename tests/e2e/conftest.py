"""Fixtures of the end-to-end tests: a private PostgreSQL for the run, a broker for each test."""

import os
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import broker as brokers  # noqa: E402
from harness.fake_server import FakeServer  # noqa: E402
from harness.postgres import Control, Postgres  # noqa: E402
from harness.system import make_directory  # noqa: E402

USUAL_LIMIT = 90



def pytest_configure():
    """A run that is ended from outside still stops its servers."""
    def ended(*_):
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, ended)


# `-m short` selects these files, without what is slow in them, and single tests of others that are marked: for the builds
# with sanitizers. (Not PAM: the wrapper of its tests cannot be loaded there.)
SHORT = {"test_basic", "test_transaction_mode", "test_copy", "test_leaving", "test_prepared", "test_prepared_failed",
         "test_prepared_settings", "test_prepared_corners", "test_prepared_doubt", "test_params", "test_startup", "test_cancel",
         "test_differential", "test_crossing", "test_hostile", "test_workers", "test_link"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if item.module.__name__ in SHORT and not item.get_closest_marker("limit"):
            item.add_marker(pytest.mark.short)
    if not brokers.IS_PGBOUNCER:
        return
    for item in items:
        if item.get_closest_marker("ours"):
            item.add_marker(pytest.mark.skip(reason="only this broker does it"))
        elif item.get_closest_marker("newer") and brokers.PGBOUNCER_VERSION < (1, 26):
            item.add_marker(pytest.mark.skip(reason="this PgBouncer is too old"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item):
    """A test that hangs ends by SIGALRM with the place where it waits."""
    marker = item.get_closest_marker("limit")
    seconds = marker.args[0] if marker else USUAL_LIMIT

    def expired(*_):
        raise TimeoutError(f"the test was not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(int(seconds * float(os.environ.get("PGBERTH_E2E_PATIENCE", "1"))))
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for started in getattr(item, "brokers", []):
            report.sections.append((f"log of the broker {started.root}", started.all_text()[-4000:]))


@pytest.fixture(scope="session")
def postgres():
    cluster = Postgres()
    yield cluster
    cluster.remove()


@pytest.fixture
def own_postgres():
    """A cluster that the test may stop, break and restart."""
    cluster = Postgres()
    yield cluster
    cluster.remove()


@pytest.fixture
def control(postgres):
    connection = Control(postgres)
    yield connection
    connection.close()


@pytest.fixture(scope="session")
def binary():
    directory = make_directory()
    installed = brokers.install_binary(directory)
    yield installed
    installed.unlink()
    directory.rmdir()


@pytest.fixture
def broker(request, binary):
    """broker(setting=value, ..., databases={}, users={}, userlist={}, server=Postgres) starts a broker for this test."""
    started = request.node.brokers = []

    def start(databases=None, users=None, userlist=None, server=None, extra="", launch=True, environment=None,
              **settings):
        server = server or request.getfixturevalue("postgres")
        made = brokers.Broker(server, binary, settings, databases, users, userlist, extra, environment)
        started.append(made)
        return made.start() if launch else made

    yield start
    failures = []
    for made in started:
        try:
            made.stop()
        except AssertionError as failure:
            failures.append(str(failure))
    for server in {made.postgres for made in started}:
        server.end_backends()
    request.node.logs = [(made.root, made.all_text()[-4000:]) for made in started]
    for made in started:
        made.remove()
    assert not failures, "\n".join(failures)


@pytest.fixture
def fake():
    """fake(...) starts a fake PostgreSQL, see harness/fake_server.py."""
    started = []

    def start(**kwargs):
        server = FakeServer(**kwargs)
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def one(broker):
    """A broker whose pools hold one server: one that was not released, or too early, shows at once."""
    return broker(default_pool_size=1)


@pytest.fixture
def table(postgres):
    """One that COPY may fill."""
    name = "copied"
    postgres.sql(f"drop table if exists {name}; create table {name} (n int); grant all on {name} to public",
                 database="e2e")
    yield name
    postgres.sql(f"drop table {name}", database="e2e")
