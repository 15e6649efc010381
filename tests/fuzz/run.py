"""Runs the fuzz targets of build/fuzz: `make fuzz` long, `make check` briefly.

A target fuzz_NAME comes from tests/fuzz/NAME.cc; its seeds are in tests/fuzz/corpus/NAME, inputs that have broken it once in
tests/fuzz/regressions/NAME, its dictionary in tests/fuzz/NAME.dict, where these exist. All these inputs run once, then the
fuzzer for so many seconds of CPU time. What a run learns is kept in build/fuzz-corpus/NAME, what breaks a target in
build/fuzz-findings. Then come the canaries: planted bugs, each of which must be found. A table of what was done is printed;
the last line is "N passed, N failed".
"""

import argparse
import concurrent.futures
import dataclasses
import glob
import math
import os
import re
import subprocess
import sys
import tempfile
import threading

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, "build", "fuzz")
CANARY = "base_canary"
# Target -> bug of broker/base/faults.def that it must find; all of these are compiled in.
PLANTED = {
    "admin_command": "kill_means_all",
    "admin_session": "batch_goes_on",
    "auth_password": "prefix_is_equal",
    "auth_scram_client": "proof_compared_by_prefix",
    "auth_scram_server": "prefix_is_equal",
    "config_hba": "last_bits_ignored",
    "config_ini": "bad_file_accepted",
    "config_userlist": "first_secret_counts",
    "config_values": "time_with_a_rest",
    "net_tls": "ticket_before_proof",
    "wire_backend": "frame_length_three",
    "wire_frontend": "parse_types_unchecked",
    "wire_startup": "second_option_lost",
    "sim_stateful": "release_too_early",
    "sim_rewrite": "failed_name_kept",
    "sim_cancel": "cancel_key_unchecked",
}
CANARY_SECONDS = 60  # of CPU time, an upper bound; most are found within a second or two
# libFuzzer's clock is the wall's: on a busy machine an input of a millisecond has taken half a minute.
LIMITS = ("-timeout=300", "-rss_limit_mb=2048")
# The worlds of the simulation: what happens how often is no news there, and they are slow.
WORLDS = ("-max_len=1024", "-len_control=0", "-use_counters=0", "-entropic=0")
OPTIONS = {"sim_cancel": WORLDS, "sim_rewrite": WORLDS, "sim_stateful": WORLDS}


@dataclasses.dataclass
class Result:
    name: str
    why: str = ""  # it failed; empty: it did not
    output: str = ""
    once: int = 0  # inputs of the repository
    runs: int = 0  # inputs of the fuzzer
    edges: int = 0
    features: int = 0
    cpu: float = 0.0


def folder(*parts):
    path = os.path.join(ROOT, *parts)
    os.makedirs(path, exist_ok=True)
    return path


def kept(kind, name):
    return sorted(glob.glob(os.path.join(ROOT, "tests", "fuzz", kind, name, "*")))


def execute(command, fault=None):
    """(exit status, output, CPU seconds)."""
    environment = {**os.environ}
    environment.pop("PGBERTH_FAULT", None)
    if fault:
        environment["PGBERTH_FAULT"] = fault
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        return process.returncode, output.read().decode(errors="replace"), usage.ru_utime + usage.ru_stime


def command_of(name, seconds, learned, findings):
    command = [os.path.join(BUILD, "fuzz_" + name), f"-max_total_time={math.ceil(seconds)}", *LIMITS,
               "-print_final_stats=1", f"-artifact_prefix={findings}/{name}-", *OPTIONS.get(name, ())]
    dictionary = os.path.join(ROOT, "tests", "fuzz", name + ".dict")
    if os.path.exists(dictionary):
        command.append(f"-dict={dictionary}")
    seeds = os.path.join(ROOT, "tests", "fuzz", "corpus", name)
    return command + [learned] + ([seeds] if os.path.isdir(seeds) else [])


def run_kept(result):
    """The inputs of the repository, each once."""
    inputs = kept("corpus", result.name) + kept("regressions", result.name)
    if not inputs:
        return True
    status, output, cpu = execute([os.path.join(BUILD, "fuzz_" + result.name), *LIMITS, *inputs])
    result.cpu += cpu
    result.once = len(inputs)
    if status != 0:
        last = re.findall(r"^Running: (.*)$", output, re.M)
        result.why, result.output = f"{last[-1] if last else 'an input'} ended with {status}", output
    return status == 0


def fuzz(name, seconds, seed):
    """Runs one target until it has used its seconds: on a busy machine several times, each going on from what was learned."""
    result = Result(name)
    if not os.path.exists(os.path.join(BUILD, "fuzz_" + name)):
        result.why = "was not built"
        return result
    if not run_kept(result):
        return result
    used = 0.0
    command = command_of(name, 1, folder("build", "fuzz-corpus", name), folder("build", "fuzz-findings"))
    if seed is not None:
        command.insert(2, f"-seed={seed}")
    while used < seconds - 0.5:
        command[1] = f"-max_total_time={max(1, math.ceil(seconds - used))}"
        status, result.output, cpu = execute(command)
        used += cpu
        runs = re.search(r"number_of_executed_units:\s*(\d+)", result.output)
        seen = re.findall(r"cov: (\d+) ft: (\d+)", result.output)
        result.runs += int(runs[1]) if runs else 0
        if seen:
            result.edges, result.features = int(seen[-1][0]), int(seen[-1][1])
        if status != 0 or not runs:
            result.why = f"ended with {status}" if status else "ran no input"
            break
    result.cpu += used
    return result


def canary(name, fault):
    """A planted bug: the target has to break, by what it checks or by a sanitizer."""
    result = Result(f"{name}, {fault or 'planted'}")
    with tempfile.TemporaryDirectory() as scratch:
        corpus = os.path.join(scratch, "corpus")
        os.mkdir(corpus)
        command = command_of(name, CANARY_SECONDS, corpus, scratch)
        while result.cpu < CANARY_SECONDS:
            status, result.output, cpu = execute(command, fault)
            result.cpu += cpu
            runs = re.search(r"number_of_executed_units:\s*(\d+)", result.output)
            result.runs += int(runs[1]) if runs else 0
            if status != 0:
                break
    wanted = r"assertion failed|deadly signal" if fault else r"AddressSanitizer: heap-buffer-overflow"
    if status == 0 or not re.search(wanted, result.output):
        result.why = "did not find the planted bug"
    return result


def names_of_targets():
    paths = glob.glob(os.path.join(ROOT, "tests", "fuzz", "*_*.cc"))
    return sorted(name for name in (os.path.splitext(os.path.basename(path))[0] for path in paths) if name != CANARY)


def say(result, is_canary):
    text = "FAILED: " + result.why if result.why else ("found" if is_canary else "ok")
    seen = f"{result.edges:>7,} {result.features:>8,}" if result.edges else f"{'':>16}"
    print(f"{result.name:<44} {result.once:>4} {result.runs:>12,} {seen} {result.cpu / 60:>8.2f}  {text}", flush=True)
    if result.why:
        print("\n".join("    " + line for line in result.output.splitlines()[-60:]), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=10, help="of CPU time, for each target")
    parser.add_argument("--seed", type=int, help="of libFuzzer's dice: a change is judged by the same ones")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("names", nargs="*", help="targets, without fuzz_; all by default, and the canaries")
    arguments = parser.parse_args()
    names = arguments.names or names_of_targets()
    canaries = [(CANARY, None), *PLANTED.items()] if not arguments.names else []
    results, lock = [], threading.Lock()

    def one(action, *parts):
        result = action(*parts)
        with lock:
            results.append(result)
            say(result, action is canary)

    print(f"{'target':<44} {'kept':>4} {'executions':>12} {'edges':>7} {'features':>8} {'CPU min':>8}", flush=True)
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        jobs = [pool.submit(one, fuzz, name, arguments.seconds, arguments.seed) for name in names]
        jobs += [pool.submit(one, canary, *pair) for pair in canaries]
        for job in jobs:
            job.result()
    print(f"in all {sum(r.runs for r in results):,} executions, {sum(r.cpu for r in results) / 60:.1f} minutes of CPU time")
    failed = sum(bool(result.why) for result in results)
    print(f"{len(results) - failed} passed, {failed} failed")
    sys.exit(1 if failed or not results else 0)


if __name__ == "__main__":
    main()
