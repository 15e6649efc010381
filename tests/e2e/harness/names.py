"""A name server that hangs: tests/preload/held_names.c in front of getaddrinfo(3)."""

import errno
import os
from pathlib import Path

from .system import eventually, give_to_service_user, run_checked

SOURCE = Path(__file__).resolve().parents[2] / "preload" / "held_names.c"


class HeldNames:
    """A broker that is started with `environment` waits for each name that ends in .held, until it is let on."""

    def __init__(self, directory: Path):
        library, self.gate = directory / "held_names.so", directory / "held"
        run_checked(["gcc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", library, SOURCE])
        os.mkfifo(self.gate)
        give_to_service_user(self.gate)
        self.environment = {"LD_PRELOAD": str(library), "HELD_NAMES": str(self.gate),
                            "ASAN_OPTIONS": "verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", "")}

    def let_on(self) -> None:
        """Once there is somebody who waits."""
        def opened():
            try:
                os.close(os.open(self.gate, os.O_WRONLY | os.O_NONBLOCK))
            except OSError as error:
                assert error.errno == errno.ENXIO
                return False
            return True
        eventually(opened, "a name is looked up")
