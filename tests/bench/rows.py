"""The rows of the bench: which load, with how many clients."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    name: str
    mode: str = "simple"  # pgbench's -M
    clients: int = 0
    logins: bool = False  # a connection per transaction
    idle: int = 0  # silent clients beside the load
    memory: bool = False  # no load: what idle clients cost
    environment: tuple = ()  # pairs that libpq reads


def all_rows():
    rows = [Row(f"{mode}-{clients}", mode, clients)
            for clients in (8, 20, 32, 100, 1000) for mode in ("simple", "extended", "prepared")]
    rows += [
        Row("simple-500", "simple", 500),
        Row("logins-8", "simple", 8, logins=True),
        Row("alone-100", "prepared", 100),
        Row("crowd-100", "prepared", 100, idle=9900),
        Row("idle-10000", "prepared", memory=True),
    ]
    return {row.name: row for row in rows}


# Words for --rows: the rows that the figures to reach are about, and a short look.
GROUPS = {
    "all": [*all_rows()],
    "figures": ["simple-20", "prepared-20", "simple-32", "prepared-32", "simple-100", "prepared-100", "simple-500",
                "logins-8", "alone-100", "crowd-100", "idle-10000"],
    "quick": ["simple-32", "prepared-32", "simple-100", "prepared-100"],
}


def choose(words):
    """Rows by name, in the order given; a word of GROUPS stands for its rows. Raises KeyError for an unknown word."""
    known = all_rows()
    names = [name for word in words for name in GROUPS.get(word, [word])]
    return [known[name] for name in dict.fromkeys(names)]
