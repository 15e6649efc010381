#!/usr/bin/python3
"""Side by side: pgberth, its peers and a raw relay under the same load, on one private PostgreSQL.

    make bench                                            the rows that the figures to reach are about
    tests/bench/bench.py --rows all --seconds 20          everything
    tests/bench/bench.py --rows simple-32,logins-8 --subjects pgberth,pgbouncer --rounds 5

All subjects run at once, only one of them under load. Rounds are interleaved (A B A B ...), so that a machine whose
speed drifts hits all alike; the tables show medians and the ratios of medians. docs/performance.md explains the
columns.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time

import measure
import report
import rows as row_list
from cluster import ROOT, BenchError, Cluster, raise_file_limit
from subjects import compile_helper, present

OUT = os.path.join(ROOT, "build", "bench")
FILES_FOR_10000 = 11000
DEFAULT_SUBJECTS = ["pgberth", "pgberth-2w", "pgberth-bare", "pgbouncer", "odyssey", "relay"]


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="figures",
                        help=f"comma-separated: {', '.join(row_list.all_rows())}; or {', '.join(row_list.GROUPS)}")
    parser.add_argument("--subjects", default="", help="comma-separated; default: those present of "
                        + ", ".join(DEFAULT_SUBJECTS) + "; also: pgbouncer-debian, direct")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=7, help="measured seconds per row, subject and round")
    parser.add_argument("--jobs", type=int, default=1, help="threads of pgbench")
    parser.add_argument("--scale", type=int, default=10, help="pgbench's scale factor")
    parser.add_argument("--client-socket", action="store_true", help="clients come over Unix sockets, not over TCP")
    parser.add_argument("--pgberth", default=os.path.join(ROOT, "build", "pgberth"), help="the broker's program")
    parser.add_argument("--keep", action="store_true", help="keep the directory with configurations and logs")
    return parser.parse_args(arguments)


def say(text):
    print(text, file=sys.stderr, flush=True)


def busy_note():
    """The load average, with a warning when others use the processors right now."""
    before, at = measure.machine_ticks(), time.monotonic()
    time.sleep(0.5)
    used = (measure.machine_ticks() - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - at)
    with open("/proc/loadavg", encoding="ascii") as loadavg:
        average = " ".join(loadavg.read().split()[:3])
    busy = f"; WARNING: the machine is busy, others use {used:.2f} cores" if used > report.BUSY else ""
    return f"load average {average}{busy}"


def measure_once(cluster, subject, row, options, idle_program):
    """One sample; a failure is a sample too, because the others go on."""
    try:
        if row.mode == "prepared" and not subject.prepared:
            return {"failure": "knows no prepared statements in transaction mode"}
        if subject.name == "direct" and (row.memory or row.clients > 300 or row.idle):
            return {"failure": "more clients than PostgreSQL's max_connections"}
        if not subject.alive():
            subject.start()
        if row.memory:
            return measure.idle_memory(subject, idle_program, options.client_socket)
        if not row.idle:
            return measure.run_load(cluster, subject, row, options)
        crowd = measure.IdleClients(idle_program, subject, options.client_socket)
        try:
            opened, why = crowd.open(row.idle)
            if why:
                return {"failure": f"idle client {opened + 1}: {why}"}
            return measure.run_load(cluster, subject, row, options)
        finally:
            crowd.close()
    except (BenchError, OSError) as error:
        ended = "" if subject.alive() else f"; the broker has ended: {subject.tail().strip()}"
        return {"failure": f"{error}{ended}".replace("\n", " ").replace("|", "/")}


def shown(sample):
    """A sample as one line for the eyes."""
    known = {name: value for name, value in sample.items() if value not in ([], None)}
    return ", ".join(f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"
                     for name, value in known.items())


def run_rows(cluster, subjects, rows, options):
    """{row: {subject: [sample of each round]}}"""
    idle_program = compile_helper("idle_clients")
    samples = {}
    for row in rows:
        say(f"{row.name}: {busy_note()}")
        # A row of memory restarts its subject and is steady: two rounds tell as much as ten.
        for turn in range(min(options.rounds, 2) if row.memory else options.rounds):
            for subject in subjects:
                sample = measure_once(cluster, subject, row, options, idle_program)
                samples.setdefault(row.name, {}).setdefault(subject.name, []).append(sample)
                say(f"  round {turn + 1} {subject.name}: {shown(sample)}")
    return samples


def about(subjects, options):
    describe = ["git", "-C", ROOT, "describe", "--always", "--dirty"]
    commit = subprocess.run(describe, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        model = next((line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")), "unknown")
    return [
        f"{time.strftime('%Y-%m-%d')}, commit {commit}, {os.cpu_count()} x {model}, Linux {platform.release()}",
        f"{options.rounds} interleaved rounds of {options.seconds} s, pgbench with {options.jobs} thread(s), scale "
        f"{options.scale}, clients over {'Unix sockets' if options.client_socket else 'TCP'}, servers over a Unix socket",
        "; ".join(f"{subject.name}: {subject.version()}" for subject in subjects),
    ]


def choose_subjects(cluster, options):
    known = present(options.pgberth)
    names = options.subjects.split(",") if options.subjects else [n for n in DEFAULT_SUBJECTS if n in known]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BenchError(f"not here: {', '.join(unknown)}. Here are: {', '.join(known)}. pgberth is built by make, "
                         "current peers come by make bench-peers")
    if not options.subjects:
        missing = [name for name in DEFAULT_SUBJECTS if name not in known]
        if missing:
            say(f"not here, so not measured: {', '.join(missing)} (make; make bench-peers)")
    return [known[name](cluster) for name in names]


def save(samples, options, text):
    os.makedirs(OUT, exist_ok=True)
    path = os.path.join(OUT, time.strftime("%Y%m%d-%H%M%S"))
    with open(path + ".json", "w", encoding="utf-8") as out:
        json.dump({"options": vars(options), "samples": samples}, out, indent=1)
    with open(path + ".md", "w", encoding="utf-8") as out:
        out.write(text)
    return path


def main(arguments):
    options = parse(arguments)
    if options.seconds < 1 or options.rounds < 1:
        raise BenchError("--seconds and --rounds are at least 1")
    try:
        rows = row_list.choose(options.rows.split(","))
    except KeyError as unknown:
        raise BenchError(f"no row is called {unknown}; there are: {', '.join(row_list.all_rows())}") from None
    if raise_file_limit() < FILES_FOR_10000 and any(row.idle or row.memory for row in rows):
        say(f"the limit of open files is below {FILES_FOR_10000}: rows with 10,000 clients may fail")
    cluster = Cluster(options.scale)
    subjects = []
    try:
        say(f"starting PostgreSQL in {cluster.dir}")
        subjects = choose_subjects(cluster, options)
        cluster.start()
        for subject in subjects:
            subject.start()
        lines = about(subjects, options)
        samples = run_rows(cluster, subjects, rows, options)
        text = report.markdown(samples, lines)
        path = save(samples, options, text)
    finally:
        for subject in subjects:
            subject.stop()
        cluster.stop(options.keep)
    print(text)
    say(f"saved as {os.path.relpath(path)}.json and .md")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except BenchError as failure:
        sys.exit(f"bench: {failure}")
    except KeyboardInterrupt:
        sys.exit("bench: interrupted")
