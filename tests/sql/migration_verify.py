"""Checks of migrations, and migration_verify."""

from harness import wire

from results import add, check


def verify(place):
    """Whose checks are executed with whose rights, when, and what is kept; what stands in the database and should not."""
    database = place.fresh("verify")
    result = place.prove("migration_verify.sql", database=database)
    # The runner itself, and another one that has become it: that one's rights would be there for the text to take.
    migrate = "begin; select berth.migrate_once('0008'); commit"
    with place.postgres.connect(user="app", database=database) as author:
        answer = author.query(migrate)
    by = place.sql("select by from stolen", database)
    place.sql("update berth.migration_check set version = '0009' where version = '0008'", database)
    place.sql("grant app to app2", database)
    with place.postgres.connect(user="app2", database=database) as other:
        [stranger] = wire.errors(other.query(migrate.replace("0008", "0009")))
        other.query("rollback")
        [error] = wire.errors(other.query("set role app;" + migrate.replace("0008", "0009")))
        other.query("rollback; reset role")
        own = other.query("begin; set local role app; select berth.migrate_once('0010');"
                          "select berth.add_check('0010', 'post', 'x', 'select current_user', 'app'); commit")
    place.sql("revoke app from app2", database)
    return add(result, check(
        ("the author migrates, and executes what an admin wrote", (wire.errors(answer), wire.rows(answer)), ([], [["t"]])),
        ("with its own rights", by, [["app"]]),
        ("another runner", stranger.fields["M"], 'assertion "own" failed: expected t, got not run: it is a text of app, '
         "which is neither app2 nor has the level admin"),
        ("another one as the author", error.fields["M"], 'assertion "own" failed: expected t, got not run: it is a text of app, '
         "which is not the login of this session, and could take its rights"),
        ("what it wrote itself so", wire.errors(own), [])))


SCENARIOS = (verify,)
