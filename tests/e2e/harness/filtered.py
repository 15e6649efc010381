"""Runs a program under a filter of system calls: filtered.py NUMBERS PROGRAM ARGUMENT...

NUMBERS is a file with the numbers of the calls that are allowed. Any other ends the process by SIGSYS, where a service manager
would let it fail: so a test sees the call that it did not expect.
"""

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
ALLOW, KILL = 0x7FFF0000, 0x80000000
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # words of the packet filter's language


def program(numbers):
    """The number of the call, compared with each that is allowed."""
    code = struct.pack("HBBI", LOAD, 0, 0, 0)
    for number in numbers:
        code += struct.pack("HBBI", EQUAL, 0, 1, number) + struct.pack("HBBI", RETURN, 0, 0, ALLOW)
    return code + struct.pack("HBBI", RETURN, 0, 0, KILL)


def main():
    with open(sys.argv[1], encoding="ascii") as file:
        code = program([int(line) for line in file])
    memory = ctypes.create_string_buffer(code, len(code))
    description = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, description, 0, 0)):
        if libc.prctl(*call) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
