"""Counts the allocations of a running broker: the reader of tests/preload/count_allocations.cc, whose layout it shares."""

import mmap
import re
import shutil
import struct
import subprocess
from pathlib import Path

from .broker import BINARY
from .system import give_to_service_user, write

LIBRARY = BINARY.resolve().parent / "libcount_allocations.so"
THREADS, PLACES, FRAMES = 64, 64, 24
HEAD, ROW, PLACE = struct.Struct("qqqq"), struct.Struct("qq"), struct.Struct(f"qq{FRAMES}Q")


class Allocations:
    """The counts of one broker; it is started with `environment`."""

    def __init__(self, directory: Path):
        assert LIBRARY.exists(), f"{LIBRARY} is not built; builds with sanitizers have none"
        self.directory = directory
        library = directory / LIBRARY.name
        shutil.copy(LIBRARY, library)
        give_to_service_user(library)
        self.path = write(directory / "allocations", "")
        self.environment = {"LD_PRELOAD": str(library), "ALLOCATIONS_FILE": str(self.path)}
        self.memory = None

    def attach(self, broker) -> None:
        """The broker runs: from now on its counts can be read."""
        self.pid = broker.pid
        with open(self.path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)

    def rows(self) -> dict:
        """thread -> allocations since it began."""
        used, _, _, _ = HEAD.unpack_from(self.memory)
        return dict(ROW.unpack_from(self.memory, HEAD.size + n * ROW.size) for n in range(used))

    def of_workers(self) -> int:
        """Allocations of all threads but the main one, which serves no client: it logs, reloads and sums up."""
        return sum(count for thread, count in self.rows().items() if thread != self.pid)

    def trace(self) -> None:
        """From now on the places of the last allocations are written down."""
        self.memory[16:24] = struct.pack("q", 1)

    def places(self) -> str:
        """Where the last allocations of the workers came from, the innermost place first."""
        used = HEAD.unpack_from(self.memory)[1]
        start = HEAD.size + THREADS * ROW.size
        texts = []
        for n in range(max(0, used - PLACES), used):
            thread, size, *frames = PLACE.unpack_from(self.memory, start + (n % PLACES) * PLACE.size)
            if thread != self.pid:
                texts.append(f"{size} bytes: " + self._names([f for f in frames if f]))
        return "\n".join(sorted(set(texts))[:8])

    def _names(self, frames: list) -> str:
        base, program = self._program()
        inside = [hex(frame - base - 1) for frame in frames if base <= frame]
        done = subprocess.run(["addr2line", "-s", "-e", program, *inside], stdout=subprocess.PIPE, text=True, check=True)
        return " < ".join(line.split(" ")[0] for line in done.stdout.splitlines() if not line.startswith("??"))

    def _program(self) -> tuple:
        for line in Path(f"/proc/{self.pid}/maps").read_text().splitlines():
            if re.search(r"/pgberth$", line):
                return int(line.split("-")[0], 16), line.split()[-1]
        raise AssertionError("the broker's program is not mapped")
