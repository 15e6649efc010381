#!/bin/bash
# Instructions per transaction of one subject, by valgrind: tests/bench/callgrind.sh [--annotate] [--syscalls] N ROW SUBJECT
# See tests/bench/callgrind.py, which does the work.
set -euo pipefail
exec /usr/bin/python3 "$(dirname "$0")/callgrind.py" "$@"
