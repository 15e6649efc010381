#!/usr/bin/python3
"""What the extension's views cost, beside a bare program that asks the console the same (views.cc).

    tests/bench/views.py [--anywhere] [ROUNDS]

A private PostgreSQL, a broker of this machine with its link, three clients. Every round asks by each way once, so that all have
the same weather; medians and their ratios are printed. All processes run on one processor: how long an idle one takes to wake up
differs from machine to machine and from call to call by more than what is measured here. --anywhere leaves them where the kernel
puts them.
"""

import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tests", "sql")]

import run as sql_tests  # noqa: E402
from harness import system  # noqa: E402

QUERIES = ["SELECT * FROM berth.pools", "SELECT 1"]


def program():
    out = os.path.join(ROOT, "build", "bench", "views")
    os.makedirs(os.path.dirname(out), exist_ok=True)
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "libpq"], check=True, capture_output=True, text=True).stdout.split()
    subprocess.run([os.environ.get("CXX", "g++"), "-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror",
                    os.path.join(ROOT, "tests", "bench", "views.cc"), "-o", out, *flags], check=True)
    return out


def measure(place, rounds):
    place.sql("create extension pgberth; select berth.grant_access('app2', 'broker')")
    broker = place.start_broker("bench", link="auto", link_user="app2", workers=1)
    system.eventually(lambda: place.sql("select from berth.targets()"), "the broker has registered itself")
    for _ in range(3):
        place.client("bench").query("select 1")
    [[console, secret]] = place.sql("select console, secret from berth.broker_registration")
    database = f"host={place.postgres.sockets} port={place.postgres.port} user=postgres dbname={sql_tests.DATABASE}"
    environment = {**os.environ, "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}
    done = subprocess.run([program(), database, f"{console} password={secret}", str(rounds), *QUERIES], check=True, text=True,
                          stdout=subprocess.PIPE, env=environment)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    bare = float(rows[0][0])
    print("| | µs | ratio |\n|---|--:|--:|")
    for microseconds, what in rows:
        print(f"| {what} | {microseconds} | {float(microseconds) / bare:.2f} |")
    broker.stop()


def main():
    if "--anywhere" not in sys.argv:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    rounds = numbers[0] if numbers else 3000
    place = sql_tests.Place()
    try:
        with open("/proc/loadavg", encoding="ascii") as loadavg:
            load = " ".join(loadavg.read().split()[:3])
        print(f"{rounds} rounds, load average {load}, PostgreSQL {place.sql('show server_version')[0][0]}\n")
        measure(place, rounds)
    finally:
        place.remove()
        shutil.rmtree(sql_tests.TREE, ignore_errors=True)


if __name__ == "__main__":
    main()
