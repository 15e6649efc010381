"""Runs every fuzz target of build/fuzz: `make fuzz` long, `make check` briefly.

A target fuzz_NAME comes from tests/fuzz/NAME.cc; its seeds are in tests/fuzz/corpus/NAME, its dictionary in
tests/fuzz/NAME.dict, where these exist. What a run learns is kept in build/fuzz-corpus/NAME, what breaks a target in
build/fuzz-findings. fuzz_base_canary has a planted bug that must be found. The last line is "N passed, N failed".
"""

import argparse
import concurrent.futures
import glob
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CANARY = "base_canary"
CANARY_SECONDS = 60  # an upper bound; the bug is found within a second or two


def options(name, seconds):
    findings = os.path.join(ROOT, "build", "fuzz-findings")
    learned = os.path.join(ROOT, "build", "fuzz-corpus", name)
    os.makedirs(findings, exist_ok=True)
    os.makedirs(learned, exist_ok=True)
    found = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1",
             f"-artifact_prefix={findings}/{name}-"]
    dictionary = os.path.join(ROOT, "tests", "fuzz", name + ".dict")
    if os.path.exists(dictionary):
        found.append(f"-dict={dictionary}")
    seeds = os.path.join(ROOT, "tests", "fuzz", "corpus", name)
    return found + [learned] + ([seeds] if os.path.isdir(seeds) else [])


def fuzz(name, seconds):
    """(why it failed or None, what it printed, how many inputs it ran)."""
    program = os.path.join(ROOT, "build", "fuzz", "fuzz_" + name)
    if not os.path.exists(program):
        return "was not built", "", 0
    done = subprocess.run([program, *options(name, CANARY_SECONDS if name == CANARY else seconds)],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", check=False)
    runs = re.search(r"number_of_executed_units:\s*(\d+)", done.stdout)
    runs = int(runs[1]) if runs else 0
    if name == CANARY:
        found = done.returncode != 0 and "AddressSanitizer: heap-buffer-overflow" in done.stdout
        return (None if found else "did not find the planted bug"), done.stdout, runs
    if done.returncode != 0:
        return f"ended with {done.returncode}", done.stdout, runs
    return (None if runs > 0 else "ran no input"), done.stdout, runs


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=10, help="for each target")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("names", nargs="*", help="targets, without fuzz_; all by default")
    arguments = parser.parse_args()
    names = arguments.names or sorted(os.path.splitext(os.path.basename(path))[0]
                                      for path in glob.glob(os.path.join(ROOT, "tests", "fuzz", "*_*.cc")))
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        jobs = {name: pool.submit(fuzz, name, arguments.seconds) for name in names}
        for name, job in jobs.items():
            why, output, runs = job.result()
            print(f"{name:<24} {'failed: ' + why if why else 'ok'}, {runs:,} inputs", flush=True)
            if why:
                failed += 1
                print("\n".join("    " + line for line in output.splitlines()[-60:]), flush=True)
    print(f"{len(names) - failed} passed, {failed} failed")
    sys.exit(1 if failed or not names else 0)


if __name__ == "__main__":
    main()
