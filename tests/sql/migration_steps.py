"""Migrations in stepwise mode: runs, steps, leases, statements for \\gexec."""


def steps(place):
    """Every argument, error and record of the stepwise mode."""
    return place.prove("migration_steps.sql", database=place.fresh("steps"))


SCENARIOS = (steps,)
