#!/usr/bin/python3
"""Instructions per transaction in a broker's own code, by valgrind's callgrind: exact where CPU time is noisy.

    tests/bench/callgrind.sh 200 simple-20 pgberth              one number
    tests/bench/callgrind.sh --annotate 200 prepared-20 pgberth the functions that they are spent in
    tests/bench/callgrind.sh --syscalls 200 simple-32 pgberth   how many system calls, and which (perf, no valgrind)

Two loads of N and 2N transactions per client run against one process; their difference has neither the start nor the
logins in it. What the kernel does is not in it either: the system calls are.
"""

import argparse
import glob
import os
import re
import subprocess
import sys
import time

import rows as row_list
from cluster import ROOT, BenchError, Cluster, clean_environment, raise_file_limit
from measure import pgbench_command
from subjects import present

PATIENCE = 600


def load(cluster, subject, row, per_client):
    """Runs `per_client` transactions on each of the row's clients."""
    command = pgbench_command(cluster, subject, row, False, 1)
    command[-1:-1] = ["-t", str(per_client)]
    done = subprocess.run(command, capture_output=True, text=True, env=clean_environment(), cwd=cluster.dir,
                          check=False, timeout=PATIENCE)
    if done.returncode != 0:
        raise BenchError(f"{subject.name}: {done.stderr}")


def dump(cluster, subject, number):
    """Has callgrind write what it has counted since the last dump; returns that file's path."""
    control = ["callgrind_control", "--dump", str(subject.pid)]
    subprocess.run(control, capture_output=True, cwd=cluster.dir, env=clean_environment(), timeout=60, check=True,
                   **cluster.identity)
    path = os.path.join(subject.dir, f"counts.{number}")
    deadline = time.monotonic() + 30
    while not (os.path.exists(path) and "totals:" in read(path)):
        if time.monotonic() > deadline:
            raise BenchError(f"callgrind wrote no {path}: {glob.glob(subject.dir + '/counts*')}")
        time.sleep(0.1)
    return path


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def functions_of(path):
    """{(function, object): instructions in that function itself} of one dump.

    The format (callgrind's manual, "Callgrind Format Specification"): ob= and fn= open a function, by a number that is
    explained where it first occurs; each line of numbers is a position and a cost, but the one behind calls= is the
    cost of what was called.
    """
    names, counts = {"ob": {}, "fn": {}}, {}
    current = {"ob": "", "fn": ""}
    called = False
    for line in read(path).split("\n"):
        field = re.match(r"c?(ob|fn)=\((\d+)\)(?: (.*))?$", line)
        if field:
            kind, number, text = field.groups()
            if text is not None:
                names[kind][number] = text
            if not line.startswith("c"):
                current[kind] = names[kind].get(number, "?")
        elif line.startswith("calls="):
            called = True
        elif re.match(r"[0-9+*-]", line):
            if not called:
                key = (current["fn"], os.path.basename(current["ob"]))
                counts[key] = counts.get(key, 0) + int(line.split()[-1])
            called = False
    return counts


def count_instructions(cluster, subject, row, options):
    counts = os.path.join(subject.dir, "counts")
    subject.start(["valgrind", "--tool=callgrind", f"--callgrind-out-file={counts}"], seconds=120)
    load(cluster, subject, row, 20)  # the set of servers fills, every server knows the statements
    dump(cluster, subject, 1)
    load(cluster, subject, row, options.n)
    once = dump(cluster, subject, 2)
    load(cluster, subject, row, 2 * options.n)
    twice = dump(cluster, subject, 3)
    transactions = options.n * row.clients
    totals = [int(re.search(r"^totals: (\d+)", read(path), re.M)[1]) for path in (once, twice)]
    print(f"{row.name} {subject.name}: {(totals[1] - totals[0]) / transactions:,.0f} instructions per transaction "
          f"({transactions} transactions, {subject.version()})")
    if options.annotate:
        first, second = functions_of(once), functions_of(twice)
        per = {key: (second[key] - first.get(key, 0)) / transactions for key in second}
        for (name, owner), spent in sorted(per.items(), key=lambda item: -item[1])[:options.top]:
            print(f"{spent:10,.1f}  {name}  [{owner}]")


def count_syscalls(cluster, subject, row, options):
    """System calls per transaction by the kernel's own counters."""
    subject.start()
    load(cluster, subject, row, 20)
    spent = []
    for per_client in (options.n, 2 * options.n):
        result = os.path.join(cluster.dir, "syscalls")
        counter = subprocess.Popen(["perf", "stat", "-x", ",", "-e", "syscalls:sys_enter_*", "-o", result,
                                    "-p", str(subject.pid)], stderr=subprocess.PIPE)
        time.sleep(2)  # perf opens some hundred counters
        load(cluster, subject, row, per_client)
        counter.send_signal(2)
        counter.wait()
        fields = [line.split(",") for line in read(result).split("\n") if "sys_enter_" in line]
        spent.append({f[2].removeprefix("syscalls:sys_enter_"): int(f[0]) for f in fields if f[0].isdigit()})
    transactions = options.n * row.clients
    per = {name: (spent[1][name] - spent[0].get(name, 0)) / transactions for name in spent[1]}
    print(f"{row.name} {subject.name}: {sum(per.values()):.2f} system calls per transaction")
    for name, count in sorted(per.items(), key=lambda item: -item[1]):
        if count >= 0.005:
            print(f"{count:10.3f}  {name}")


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("n", type=int, metavar="N", help="transactions per client of the shorter load")
    parser.add_argument("row", metavar="ROW", help="a row of the bench, such as prepared-20")
    parser.add_argument("subject", metavar="SUBJECT")
    parser.add_argument("--annotate", action="store_true", help="list the functions, without what they call")
    parser.add_argument("--top", type=int, default=25, help="how many functions")
    parser.add_argument("--syscalls", action="store_true", help="count system calls instead of instructions")
    parser.add_argument("--pgberth", default=os.path.join(ROOT, "build", "pgberth"))
    options = parser.parse_args(arguments)
    try:
        row = row_list.choose([options.row])[0]
    except KeyError:
        raise BenchError(f"no row is called {options.row}") from None
    known = present(options.pgberth)
    if options.subject not in known or row.memory or row.idle:
        raise BenchError(f"a row with a load and nothing else, and a subject of: {', '.join(known)}")
    raise_file_limit()
    cluster = Cluster(1)
    subject = None
    try:
        subject = known[options.subject](cluster)
        cluster.start()
        (count_syscalls if options.syscalls else count_instructions)(cluster, subject, row, options)
    finally:
        if subject is not None:
            subject.stop()
        cluster.stop(keep=False)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except BenchError as failure:
        sys.exit(f"callgrind: {failure}")
