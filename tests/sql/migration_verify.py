"""Checks of migrations, and migration_verify."""


def verify(place):
    """Whose checks are executed with whose rights, when, and what is kept; what stands in the database and should not."""
    return place.prove("migration_verify.sql", database=place.fresh("verify"))


SCENARIOS = (verify,)
