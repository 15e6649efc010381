"""auth_query with the extension: what the broker remembers is never older than the login that uses it."""

import threading

from harness import scram, system
from harness.raw import Refused
from results import check

USERS = 3
ROUNDS = 30


def auth_query(place):
    """Passwords change while clients log in: once ALTER ROLE has returned the new one lets in, and the old one does not."""
    place.sql("create role looker login superuser; select berth.grant_access('looker', 'broker')")
    with open(place.postgres.data / "pg_hba.conf", "r+") as hba:
        rules = hba.read()
        hba.seek(0)
        hba.write("host all looker 127.0.0.1/32 trust\nlocal all looker trust\n"
                  + "".join(f"local all rotated{n} scram-sha-256\n" for n in range(USERS)) + rules)
    place.sql("select pg_reload_conf()")
    for number in range(USERS):
        place.sql(f"create role rotated{number} login")
    # Those who come with the password of before must not be held up: they are the load.
    broker = place.start_broker("asking", auth_user="looker", default_pool_size=20, max_client_conn=200,
                                failed_login_threshold=0)
    stop, wrong, logins = threading.Event(), [], [0]

    def may(user, password):
        try:
            with broker.connect(user=user, password=password) as client:
                client.terminate()
            return True
        except Refused as refused:
            if refused.sqlstate != "28P01":
                wrong.append(f"{user}: {refused}")
            return False

    def others():
        """Logins that keep the cache and the connections busy; whether they are let in depends on the moment."""
        number = 0
        while not stop.is_set():
            number += 1
            may(f"rotated{number % USERS}", "password 0")
            logins[0] += 1

    threads = [threading.Thread(target=others) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(ROUNDS):
            user = f"rotated{number % USERS}"
            place.sql(f"alter role {user} password '{scram.secret(f'password {number}', 1)}'", "postgres")
            if not may(user, f"password {number}"):
                wrong.append(f"{user}: round {number}: the new password was refused")
            if number >= USERS and may(user, f"password {number - USERS}"):
                wrong.append(f"{user}: round {number}: the old password was taken")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    row = system.eventually(lambda: broker.console("SHOW AUTH_QUERY"), "it tells of itself")[0]
    place.sql("alter role rotated0 nologin", "postgres")
    nologin = may("rotated0", f"password {ROUNDS - USERS}")
    place.sql("drop role rotated1", "postgres")
    dropped = may("rotated1", f"password {ROUNDS - USERS + 1}")
    broker.stop()
    place.brokers.pop("asking").remove()
    for name in ("rotated0", "rotated2"):
        place.sql(f"drop role {name}")
    place.sql("drop owned by looker; drop role looker")
    return check(("nobody is refused or let in who should not be", wrong, []), ("others logged in meanwhile", logins[0] > ROUNDS, True),
                 ("by the extension", row["cache"], "extension"), ("what was remembered was used", int(row["hits"]) > 0, True),
                 ("two connections did", int(row["connections"]) <= 2, True),
                 ("NOLOGIN counts at once", nologin, False), ("and so does DROP ROLE", dropped, False))


SCENARIOS = (auth_query,)
