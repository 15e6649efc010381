"""A PostgreSQL in a tree of its own, with the extension: nothing is installed into the system.

PostgreSQL finds its extensions by the place of its program, so copies of the programs in a tree, with links to the rest, take
the extension from that tree.
"""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("postgres", "initdb", "pg_ctl")  # these look for one another beside themselves, links resolved


def pg_config(what, program):
    return Path(subprocess.run([program, "--" + what], check=True, capture_output=True, text=True).stdout.strip())


def link_all(source, target, skip=()):
    target.mkdir(parents=True)
    for entry in source.iterdir():
        if entry.name not in skip and not entry.name.startswith("pgberth"):
            (target / entry.name).symlink_to(entry)


def private_tree(root, program="pg_config"):
    """A PostgreSQL below `root` with the extension installed; the directory of its programs."""
    root = Path(root)
    below = lambda path: root / path.relative_to("/")
    system = pg_config("bindir", program)
    programs = below(system)
    link_all(system, programs, COPIED)
    for name in COPIED:
        shutil.copy(system / name, programs / name)
    link_all(pg_config("pkglibdir", program), below(pg_config("pkglibdir", program)))
    share = pg_config("sharedir", program)
    link_all(share, below(share), ("extension",))
    link_all(share / "extension", below(share / "extension"))
    # Without the options of a make that may have called us.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "DESTDIR"}
    subprocess.run(["make", "-s", "-C", str(ROOT / "extension"), f"PG_CONFIG={program}", "install", f"DESTDIR={root}"],
                   check=True, stdout=subprocess.DEVNULL, env=environment)
    return programs
