"""One measurement: a load, and what the broker's process spent on it.

The window of a load opens with pgbench's first progress line and closes with a later one, so neither the logins at
its start nor the goodbyes at its end are in the figures.
"""

import glob
import os
import re
import select
import signal
import subprocess
import time

from cluster import DATABASE, USER, BenchError, clean_environment

SAMPLING = 0.2  # of the transactions, whose latency pgbench writes to its log
PROGRESS = re.compile(r"progress: [0-9.]+ s, ([0-9.]+) tps")
PATIENCE = 60  # seconds beyond the planned end, after which a load counts as stuck


def tasks_of(pid):
    """Nanoseconds on the CPU of each thread: user and system time, at the scheduler's resolution."""
    spent = {}
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        try:
            with open(path, encoding="ascii") as stat:
                spent[path.split("/")[4]] = int(stat.read().split()[0])
        except OSError:  # a thread may end meanwhile
            pass
    return spent


def ticks_of(pid, with_ended_children=False):
    """User plus system time in clock ticks by /proc/PID/stat, ended threads included: cross-check and fallback."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return sum(int(field) for field in fields[11:15 if with_ended_children else 13])


def switches_of(pid):
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/status"):
        try:
            with open(path, encoding="ascii") as status:
                total += sum(int(line.split()[1]) for line in status if "ctxt_switches" in line)
        except OSError:
            pass
    return total


def memory_of(pid):
    """Anonymous and resident memory in bytes."""
    found = {}
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
        for line in rollup:
            name, _, rest = line.partition(":")
            if name in ("Anonymous", "Rss"):
                found[name] = int(rest.split()[0]) * 1024
    return found["Anonymous"], found["Rss"]


def machine_ticks():
    """Clock ticks that all processors have spent on anything but idling (iowait is idling, steal is not ours)."""
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, _, _, irq, softirq, _ = (int(f) for f in stat.readline().split()[1:9])
    return user + nice + system + irq + softirq


def family_ticks(pid):
    """Ticks of a process and its children, living and ended: PostgreSQL with its backends."""
    total = ticks_of(pid, with_ended_children=True)
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
        members = children.read().split()
    for member in members:
        try:
            total += ticks_of(member)
        except OSError:
            pass
    return total


class Reading:
    """What the counters of the machine, of the broker and of its neighbours say at one moment."""

    def __init__(self, subject, load_pid, postmaster_pid):
        self.at = time.monotonic()
        self.tasks = tasks_of(subject.pid)
        self.ticks = ticks_of(subject.pid)
        self.switches = switches_of(subject.pid)
        self.machine = machine_ticks()
        self.ours = self.ticks + ticks_of(load_pid) + family_ticks(postmaster_pid)


def between(first, last, rates):
    """The figures of the window between two readings; `rates` are the transactions per second of its parts."""
    seconds = last.at - first.at
    tps = sum(rates) / len(rates)
    transactions = tps * seconds
    spent = {task: last.tasks[task] - first.tasks.get(task, 0) for task in last.tasks}
    cpu = sum(spent.values()) / 1e3
    by_ticks = (last.ticks - first.ticks) * 1e6 / os.sysconf("SC_CLK_TCK")
    if cpu < 0.5 * by_ticks:  # a kernel without scheduler statistics
        cpu = by_ticks
    busiest = sorted(spent.values(), reverse=True)[:2]
    hertz = os.sysconf("SC_CLK_TCK") * seconds
    foreign = ((last.machine - first.machine) - (last.ours - first.ours)) / hertz
    return {
        "seconds": seconds, "tps": tps, "cpu_us": cpu / transactions if transactions else None,
        "cpu_us_by_ticks": by_ticks / transactions if transactions else None,
        "switches": (last.switches - first.switches) / transactions if transactions else None,
        "smaller_share": busiest[1] / sum(busiest) if len(busiest) == 2 and sum(busiest) else 0.0,
        "foreign_cores": max(0.0, foreign),
    }


def pgbench_command(cluster, subject, row, by_socket, jobs):
    host, port = subject.address(by_socket)
    command = [f"{cluster.bin}/pgbench", "-h", host, "-p", str(port), "-U", USER, "-n", "-S", "-M", row.mode,
               "-c", str(row.clients), "-j", str(min(jobs, row.clients))]
    return command + (["-C"] if row.logins else []) + [DATABASE]


def run_load(cluster, subject, row, options):
    """Runs pgbench for options.seconds plus a second before and after; returns the window's figures."""
    prefix = os.path.join(cluster.dir, "latency")
    for path in glob.glob(prefix + ".*"):
        os.unlink(path)
    command = pgbench_command(cluster, subject, row, options.client_socket, options.jobs)
    command[-1:-1] = ["-T", str(options.seconds + 2), "-P", "1", "-l", "--log-prefix", prefix,
                      "--sampling-rate", str(SAMPLING)]
    opened = time.time()
    load = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                            env={**clean_environment(), **dict(row.environment)}, cwd=cluster.dir)
    try:
        readings, rates, said = watch(load, subject, cluster.postmaster.pid, options.seconds)
    finally:
        if load.poll() is None:
            load.kill()
            load.wait()
    if load.returncode != 0 or len(readings) < 2:
        reason = said[-1] if said else "no word"
        raise BenchError(f"pgbench: exit {load.returncode}, {len(rates)} seconds measured, last words: {reason}")
    figures = between(readings[0], readings[-1], rates)
    figures["p50_ms"], figures["p99_ms"], figures["samples"] = percentiles(prefix, opened + 1)
    figures["complaints"] = said[:3]
    return figures


def lines_of(pipe, deadline):
    """The lines of a pipe, each as soon as it is there; None when the deadline has passed first."""
    rest = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            yield None
            return
        part = os.read(pipe.fileno(), 65536)
        if not part:
            return
        *lines, rest = (rest + part).split(b"\n")
        yield from (line.decode(errors="replace").strip() for line in lines)


def watch(load, subject, postmaster, seconds):
    """Reads pgbench's progress until its end; takes the readings that open and close the window."""
    readings, rates, said = [], [], []
    for line in lines_of(load.stderr, time.monotonic() + seconds + PATIENCE):
        if line is None:
            load.kill()
            said.append(f"no end {PATIENCE} s after the planned one")
            break
        match = PROGRESS.match(line)
        if match and len(rates) < seconds:
            reading = Reading(subject, load.pid, postmaster)
            if readings:
                rates.append(float(match.group(1)))
            readings = [*readings[:1], reading]
        elif not match and line:
            said.append(line)
    load.wait()
    return readings, rates, said


def percentiles(prefix, since):
    """Median and 99th percentile in milliseconds of the sampled transactions that ended after `since`."""
    latencies = []
    for path in glob.glob(prefix + ".*"):
        with open(path, encoding="ascii") as log:
            for line in log:
                fields = line.split()
                if len(fields) >= 6 and fields[2].isdigit() and int(fields[4]) >= since:
                    latencies.append(int(fields[2]))
        os.unlink(path)
    if not latencies:
        return None, None, 0
    latencies.sort()
    return latencies[len(latencies) // 2] / 1e3, latencies[len(latencies) * 99 // 100] / 1e3, len(latencies)


class IdleClients:
    """The helper program that holds connections open; see tests/bench/idle_clients.cc."""

    def __init__(self, program, subject, by_socket):
        where = subject.socket_path() if by_socket else str(subject.port)
        self.process = subprocess.Popen([program, where, USER, DATABASE], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)

    def open(self, count):
        """Opens `count` more; returns how many are open now and why it stopped early, or ''."""
        return self.ask(f"open {count}")

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split(maxsplit=2)
        if len(answer) < 2:
            raise BenchError("the program of the idle clients has ended")
        return int(answer[1]), answer[2].strip() if answer[0] == "failed" else ""

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


def idle_memory(subject, program, by_socket):
    """Starts the broker anew; returns what 1,000 to 8,000 clients cost, and whether 10,000 got in."""
    subject.stop()
    subject.start()
    time.sleep(1)  # the set of servers fills
    figures = {"empty_rss": memory_of(subject.pid)[1]}
    clients = IdleClients(program, subject, by_socket)
    try:
        anonymous = {}
        for target, more in ((1000, 1000), (8000, 7000), (10000, 2000)):
            opened, why = clients.open(more)
            time.sleep(0.5)
            anonymous[opened] = memory_of(subject.pid)[0]
            if why:
                figures["failure"] = f"client {opened + 1} of {target}: {why}"
                break
    finally:
        clients.close()
    figures["opened"] = opened
    if 1000 in anonymous and 8000 in anonymous:
        figures["bytes_per_client"] = (anonymous[8000] - anonymous[1000]) / 7000
    return figures
