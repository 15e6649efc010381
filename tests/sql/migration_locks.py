"""Locks between real sessions: lock_tables, locked_exec, blockers, drain."""


def locks(place):
    """Arguments, settings, record, errors and privileges, as one session sees them."""
    return place.prove("migration_locks.sql", database=place.fresh("locks"))


SCENARIOS = (locks,)
