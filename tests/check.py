"""Every test, as one command: `make check`.

The steps run in the order of STEPS below. What a step prints goes to build/check/STEP.log; here stands one line per step,
and the end of the log where a step failed. A step fails alone: the next ones run anyway, except those that need a build
which failed. The last line is "N passed, N failed" over the tests of all steps; the exit status is 0 only if nothing
failed, nothing was skipped, and no process was left running. CHECK_STEPS=unit,e2e runs only those steps (and the builds
that they need).
"""

import ctypes
import dataclasses
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOGS = os.path.join(ROOT, "build", "check")
PYTHON = "/usr/bin/python3"
TAIL_LINES = 40
# Seeds of the simulation under the sanitizers, where it is several times slower.
SIM_SEEDS_ASAN, SIM_SEEDS_TSAN = 1500, 500
E2E_SEED = "20261126"  # of the tests that throw dice: fixed here, so that a change is judged by the same dice
SECOND_CHANCES = 5      # end-to-end tests that may fail once
FUZZ_SECONDS, FUZZ_SEED = 5, "20261127"


@dataclasses.dataclass
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped


class Step:
    """One step at work: its log, its time budget, and what it counted."""

    def __init__(self, name, budget):
        self.name = name
        self.log_path = os.path.join(LOGS, name + ".log")
        self.deadline = time.monotonic() + budget
        self.counts = Counts()
        self.notes = []
        with open(self.log_path, "w", encoding="utf-8"):
            pass

    def run(self, command, cwd=ROOT, **environment):
        """Runs a command with its output in the log; its exit status, or None when the budget had run out."""
        with open(self.log_path, "a", encoding="utf-8") as log:
            log.write("$ " + " ".join([f"{k}={v}" for k, v in environment.items()] + command) + "\n")
            log.flush()
            process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       env={**os.environ, **environment}, start_new_session=True)
            try:
                return process.wait(timeout=max(1.0, self.deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self.notes.append("out of time: " + " ".join(command[:3]))
                return None
            finally:
                end_group(process)

    def one(self, command, **environment):
        """Runs a command that counts as one test."""
        passed = self.run(command, **environment) == 0
        self.counts.add(Counts(passed=1) if passed else Counts(failed=1))
        return passed

    def fail(self, why):
        self.counts.failed += 1
        self.notes.append(why)

    def log_text(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def counted(self, command, pattern, **environment):
        """Runs a command that prints its counts; the groups of `pattern` are named passed and failed."""
        before = len(self.log_text())
        status = self.run(command, **environment)
        found = list(re.finditer(pattern, self.log_text()[before:], re.M))
        if not found:
            self.fail(f"{command[-1]} printed no counts, status {status}")
            return
        numbers = {name: int(text or 0) for name, text in found[-1].groupdict().items()}
        self.counts.add(Counts(**numbers))
        if status != 0 and numbers.get("failed", 0) == 0:
            self.fail(f"{command[-1]} ended with {status}")

    def junit(self, command, report, **environment):
        """Runs a test program that writes its report in JUnit's XML, as GoogleTest and pytest do."""
        if os.path.exists(report):
            os.unlink(report)
        status = self.run(command, **environment)
        try:
            counts = read_junit(report)
        except (OSError, ElementTree.ParseError):
            self.fail(f"{os.path.basename(command[0])} ended with {status} and without a report")
            return
        self.counts.add(counts)
        if counts.passed + counts.failed + counts.skipped == 0:
            self.fail(f"{os.path.basename(command[0])} has no test")
        elif status != 0 and counts.failed == 0:
            self.fail(f"{os.path.basename(command[0])} ended with {status}")


def read_junit(path):
    counts = Counts()
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            counts.failed += 1
        elif case.find("skipped") is not None or case.get("result") in ("skipped", "suppressed") or \
                case.get("status") == "notrun":
            counts.skipped += 1
        else:
            counts.passed += 1
    return counts


# Processes -----------------------------------------------------------------------------------------------------------


def end_group(process):
    """Ends what is left of a command's process group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()


def adopt_orphans():
    """Makes daemons and orphans of the steps our children (PR_SET_CHILD_SUBREAPER), so that none stays unseen."""
    ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0)


def left_running():
    """Ends the children that a finished step has left; their command lines. Short-lived ones get a moment to go."""
    left, deadline = {}, time.monotonic() + 3
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return list(left.values())
        if pid != 0:
            continue
        if time.monotonic() > deadline:
            for child in children():
                left.setdefault(child, command_line(child))
                os.kill(child, signal.SIGKILL)
            deadline = time.monotonic() + 1
        time.sleep(0.05)


def children():
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return [int(pid) for pid in file.read().split()]


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as file:
            return f"{pid} {file.read().replace(chr(0), ' ').strip()}"
    except OSError:
        return str(pid)


# Steps ---------------------------------------------------------------------------------------------------------------


def exists(pattern):
    return bool(glob.glob(os.path.join(ROOT, pattern)))


def tidy(step):
    step.one([PYTHON, "-B", "tests/tidy_selftest.py"])
    step.one([PYTHON, "-B", "tests/check_selftest.py"])
    step.one([PYTHON, "-B", "tests/tidy.py"])
    step.one([PYTHON, "-B", "tests/threats.py"])


def format_check(step):
    step.one(["make", "--no-print-directory", "format-check"])


def headers(step):
    step.counted([PYTHON, "-B", "tests/headers.py"], r"^(?P<passed>\d+) passed, (?P<failed>\d+) failed")


def docs(step):
    """What is made from the program: pages, and the list of libraries."""
    step.one([PYTHON, "-B", "tests/docs.py", "--check"])
    step.one([PYTHON, "-B", "tests/sbom.py", "--check"])


def build(kind):
    def action(step):
        step.one(["make", "--no-print-directory"] + (["all"] if kind == "release" else []) + [f"build-{kind}"])
    return action


def gtest_programs(kind, names, **environment):
    """Runs the GoogleTest programs of a build whose sources exist; one that was not built is a failure."""
    def action(step):
        for name in names():
            # In the build directory, from which __FILE__ leads to the sources (ccache makes it relative).
            report = os.path.join(LOGS, f"{kind}-{name}.xml")
            step.junit([os.path.join(".", name), f"--gtest_output=xml:{report}", "--gtest_brief=1"], report,
                       cwd=os.path.join(ROOT, "build", kind), **sanitizers(), **environment)
    return action


def unit_names():
    layers = {os.path.basename(path).split("_")[0] for path in glob.glob(os.path.join(ROOT, "tests/unit/*.cc"))}
    return sorted(f"{layer}_unit" for layer in layers)


def simulation_names():
    return ["simulation"]


def sanitizers():
    """Options under which a finding is always an error."""
    return {"ASAN_OPTIONS": "detect_leaks=1:abort_on_error=0", "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
            "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1"}


def e2e(binary, *options, **environment):
    def action(step):
        report = os.path.join(LOGS, step.name + ".xml")
        paths = [*options, "tests/e2e"]
        variables = {"PGBERTH": os.path.join(ROOT, binary), "PYTHONUNBUFFERED": "1",
                     "PGBERTH_E2E_SEED": os.environ.get("PGBERTH_E2E_SEED", E2E_SEED), **environment}
        command = [PYTHON, "-B", "-m", "pytest", "-q"]
        step.junit([*command, f"--junitxml={report}", *paths], report, **variables)
        again = second_chance(report)
        if not again:
            return
        # Real processes on a noisy machine: few failures are tried once more, said aloud, and count if they fail again.
        second = os.path.join(LOGS, step.name + "-again.xml")
        step.counts.failed -= len(again)
        step.notes.append("tried again: " + ", ".join(again))
        step.junit([*command, f"--junitxml={second}", *again], second, **variables)
    return action


def second_chance(report):
    """The node ids of failed tests that may run once more: few, and none of them a crash of the broker."""
    try:
        cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return []
    again = []
    for case in cases:
        problem = case.find("failure") if case.find("failure") is not None else case.find("error")
        if problem is None:
            continue
        if re.search(r"assertion failed|Sanitizer|ended by itself", problem.text or ""):
            return []
        again.append("tests/e2e/" + case.get("classname").split(".")[-1] + ".py::" + case.get("name"))
    return again if len(again) <= SECOND_CHANCES else []


def demo(step):
    step.one([PYTHON, "-B", "tests/demo/demo.py", "run"])


def sql(step):
    step.counted([PYTHON, "-B", "tests/sql/run.py"], r"^(?P<passed>\d+) passed, (?P<failed>\d+) failed")


def tools(step):
    step.counted([PYTHON, "-B", "tests/tools/run.py", "sqitch"], r"^(?P<passed>\d+) passed, (?P<failed>\d+) failed")


def fuzz(step):
    step.counted([PYTHON, "-B", "tests/fuzz/run.py", "--seconds", str(FUZZ_SECONDS), "--seed", FUZZ_SEED],
                 r"^(?P<passed>\d+) passed, (?P<failed>\d+) failed")


def planted(step):
    step.counted([PYTHON, "-B", "tests/planted/run.py"], r"^(?P<passed>\d+) passed, (?P<failed>\d+) failed")


MINUTE = 60
# (name, what it needs, the source without which there is no such step, seconds that it may take, action)
STEPS = (
    ("tidy", None, "tests/tidy.py", MINUTE, tidy),
    ("format", None, "broker", MINUTE, format_check),
    ("headers", None, "broker", 5 * MINUTE, headers),
    ("build", None, "broker/*.cc", 25 * MINUTE, build("release")),
    ("docs", "build", "broker/*.cc", MINUTE, docs),
    ("unit", "build", "tests/unit/*.cc", 3 * MINUTE, gtest_programs("release", unit_names)),
    ("simulation", "build", "tests/sim/*.cc", 5 * MINUTE, gtest_programs("release", simulation_names)),
    ("demo", "build", "broker/*.cc", 4 * MINUTE, demo),
    ("e2e", "build", "tests/e2e/test_*.py", 12 * MINUTE, e2e("build/pgberth")),
    ("sql", "build", "tests/sql/run.py", 5 * MINUTE, sql),
    ("tools", "build", "tests/tools/run.py", 2 * MINUTE, tools),
    ("asan-build", None, "broker/*.cc", 25 * MINUTE, build("asan")),
    ("asan-unit", "asan-build", "tests/unit/*.cc", 4 * MINUTE, gtest_programs("asan", unit_names)),
    ("asan-simulation", "asan-build", "tests/sim/*.cc", 6 * MINUTE,
     gtest_programs("asan", simulation_names, SIM_SEEDS=str(SIM_SEEDS_ASAN))),
    ("asan-e2e", "asan-build", "tests/e2e/test_*.py", 6 * MINUTE,
     e2e("build/asan/pgberth", "-m", "short", PGBERTH_E2E_PATIENCE="3")),
    ("tsan-build", None, "broker/*.cc", 25 * MINUTE, build("tsan")),
    ("tsan-unit", "tsan-build", "tests/unit/*.cc", 4 * MINUTE, gtest_programs("tsan", unit_names)),
    ("tsan-simulation", "tsan-build", "tests/sim/*.cc", 8 * MINUTE,
     gtest_programs("tsan", simulation_names, SIM_SEEDS=str(SIM_SEEDS_TSAN))),
    ("tsan-e2e", "tsan-build", "tests/e2e/test_*.py", 8 * MINUTE,
     e2e("build/tsan/pgberth", "-m", "short", PGBERTH_E2E_PATIENCE="4", PGBERTH_E2E_WORKERS="2")),
    ("fuzz-build", None, "tests/fuzz/*.cc", 25 * MINUTE, build("fuzz")),
    ("fuzz", "fuzz-build", "tests/fuzz/*.cc", 6 * MINUTE, fuzz),
    ("planted-build", None, "tests/planted/run.py", 25 * MINUTE, build("faults")),
    ("planted", "planted-build", "tests/planted/run.py", 8 * MINUTE, planted),
)


def chosen_steps():
    """The steps to run: all whose sources exist, or those of CHECK_STEPS with the builds that they need."""
    wanted = [name for name in os.environ.get("CHECK_STEPS", "").split(",") if name]
    known = {name: needs for name, needs, *_ in STEPS}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        sys.exit(f"check: no such step: {', '.join(unknown)}; there are {', '.join(known)}")
    needed = {known[name] for name in wanted}
    return [row for row in STEPS if exists(row[2]) and (not wanted or row[0] in wanted or row[0] in needed)]


def run_step(name, budget, action):
    step = Step(name, budget)
    started = time.monotonic()
    try:
        action(step)
    except Exception as error:  # a mistake in this file is a failure of its step, and the others still run
        step.fail(f"{type(error).__name__}: {error}")
    for line in left_running():
        step.fail(f"left running: {line}")
    counts, seconds = step.counts, time.monotonic() - started
    text = f"{name:<16} {counts.passed:>5} passed {counts.failed:>3} failed"
    text += f" {counts.skipped:>3} skipped" if counts.skipped else ""
    print(f"{text} {seconds:>6.0f} s" + "".join(f"\n    {note}" for note in step.notes), flush=True)
    if counts.failed or counts.skipped:
        print_tail(step.log_path)
    return step


def print_tail(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        tail = file.readlines()[-TAIL_LINES:]
    print(f"    --- end of {os.path.relpath(path, ROOT)}")
    print("".join("    | " + line.rstrip("\n")[:300] + "\n" for line in tail), end="", flush=True)


def main():
    shutil.rmtree(LOGS, ignore_errors=True)
    os.makedirs(LOGS)
    # Whoever runs as root runs programs as user postgres too: what they need must not be private.
    os.umask(0o022)
    adopt_orphans()
    total, broken = Counts(), set()
    for name, needs, _, budget, action in chosen_steps():
        if needs in broken:
            print(f"{name:<16} not run: {needs} failed", flush=True)
            total.failed += 1
            continue
        step = run_step(name, budget, action)
        total.add(step.counts)
        if step.counts.failed:
            broken.add(name)
    if total.skipped:
        print(f"{total.skipped} skipped: a test that does not run proves nothing, so each counts as failed")
        total.failed += total.skipped
    print(f"{total.passed} passed, {total.failed} failed")
    sys.exit(1 if total.failed or not total.passed else 0)


if __name__ == "__main__":
    main()
