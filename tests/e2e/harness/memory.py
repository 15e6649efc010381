"""What a core dump of a process would have: the private writable memory, without the pages that say that no dump has them."""

import re
from typing import Dict, List, Tuple

HEAD = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+\s*(.*)$")


def mappings(pid: int) -> List[Tuple[int, int, str, set]]:
    """(start, end, name, VmFlags) of the mappings that can be written, from /proc/PID/smaps."""
    found, current = [], None
    with open(f"/proc/{pid}/smaps") as file:
        for line in file:
            head = HEAD.match(line)
            if head:
                current = (int(head[1], 16), int(head[2], 16), head[4]) if "w" in head[3] else None
            elif line.startswith("VmFlags:") and current:
                found.append((*current, set(line.split()[1:])))
    return found


def find(pid: int, secrets: Dict[str, bytes], dumped: bool) -> List[str]:
    """Where the secrets stand in the memory that a core dump has (dumped) or has not: "name in mapping: bytes around"."""
    out = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for start, end, name, flags in mappings(pid):
            if ("dd" in flags) == dumped:
                continue
            memory.seek(start)
            try:
                data = memory.read(end - start)
            except OSError:  # a guard page
                continue
            for what, secret in secrets.items():
                at = data.find(secret)
                if at >= 0:
                    around = data[max(0, at - 48):at + len(secret) + 48]
                    out.append(f"{what} at {start + at:#x} in {name or 'anonymous memory'}: {around!r}")
    return out
