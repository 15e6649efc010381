"""Tests the tests: every planted bug of broker/base/faults.def must turn the test red that FAULTS names for it.

The programs come from build/faults (`make build-faults`). Each named test first passes without a fault, once; then it runs
with PGBERTH_FAULT set, and has to fail. The simulation has to find its share within the number of seeds that stands in the
table. A bug without a row, or a row without a bug, fails too. `run.py NAME ...` tries only some bugs. The last line is
"N passed, N failed".
"""

import argparse
import concurrent.futures
import dataclasses
import os
import re
import resource
import signal
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, "build", "faults")
E2E_SEED = "20261126"


@dataclasses.dataclass(frozen=True)
class Unit:
    program: str
    filter: str

    def __str__(self):
        return f"{self.program} {self.filter}"


@dataclasses.dataclass(frozen=True)
class Simulation:
    seeds: int  # within these the bug has to be found
    tls: bool = False  # worlds with TLS only

    def __str__(self):
        return f"simulation, {self.seeds} seeds" + (" with TLS" if self.tls else "")


@dataclasses.dataclass(frozen=True)
class EndToEnd:
    test: str

    def __str__(self):
        return self.test


FAULTS = {
    "frame_length_three": Unit("wire_unit", "Frame.LengthsAtEveryBorder"),
    "parse_types_unchecked": Unit("wire_unit", "ParseMessageTest.Examples"),
    "second_option_lost": Unit("wire_unit", "StartupOptionsTest.EverySpelling"),
    "limit_off_by_one": Simulation(20),
    "budget_not_given_back": Simulation(20),
    "free_server_not_published": Unit("pool_unit", "EveryOrder.TwoWorkersOneServer"),
    "last_waiter_first": Unit("pool_unit", "EveryOrder.TwoClientsOneServer"),
    "reserve_ignored": Unit("pool_unit", "Opening.SessionClientsLeaveTheTransactionReserve"),
    "no_back_off": Unit("pool_unit", "Opening.FailuresBackOff"),
    "pause_ignored": Unit("pool_unit", "EveryOrder.TimeAndCommands"),
    "statement_of_other_settings": Simulation(300),
    "pause_reasons_forgotten": Unit("net_unit", "*/ReadTest.PausedMeansSilentUntilTheLastReasonGoes/*"),
    "stale_receive_buffer": Unit("net_unit", "*/ReadTest.NeedIsHonouredAtEveryBoundary/*"),
    "kept_bytes_lost": Unit("net_unit", "*/CloseTest.HandOverWithUnreadBytes/*"),
    "last_words_lost": Unit("net_unit", "*/CloseTest.UnsentBytesFollowTheClose/*"),
    "ticket_before_proof": Unit("net_unit", "*/TlsVersions.ATicketForWhoHasProvedItself/*"),
    "bad_file_accepted": Unit("config_unit", "LoadTest.MistakesOfAllFiles"),
    "all_is_replication": Unit("config_unit", "HbaMatch.EverySmallCase"),
    "last_bits_ignored": Unit("config_unit", "HbaMatch.EveryPrefixOfIpv4"),
    "first_secret_counts": Unit("config_unit", "Userlist.TheLastLineOfAUserCounts"),
    "time_with_a_rest": Unit("config_unit", "Values.TimeAndBack"),
    "parked_by_place": Unit("simulation", "Aside.AnAnswerForAClientThatHasLeftReachesNobody"),
    "empty_password_asked": Unit("auth_unit", "PasswordCheck.NothingIsAskedForAnEmptyOrMalformedOne"),
    "ldap_name_unescaped": Unit("auth_unit", "Ldap.ANameInAFilterIsOnlyAName"),
    "auth_cache_stale": Unit("link_unit", "AuthCache.AChangedRoleIsAskedForAgain"),
    "auth_cache_outlives": Unit("link_unit", "AuthCache.ValidUntilEndsByTheServersClock"),
    "auth_answer_too_old": Unit("link_unit", "AuthMachine.WhoComesLaterThanAQuerySharesTheNextOne"),
    "unknown_user_told_early": Unit("auth_unit", "Exchange.UnknownUserReadsAndCostsAsAWrongPasswordT3"),
    "prefix_is_equal": Unit("auth_unit", "Secrets.ComparisonT17"),
    "proof_compared_by_prefix": Unit("auth_unit", "ServerLoginTest.NoChangedBitOfTheServersProofPasses"),
    "release_too_early": Simulation(100),
    "waiter_not_woken": Simulation(20),
    "answer_not_drained": Simulation(300),
    "half_message_continued": Simulation(1000),
    "rollback_skipped": Simulation(100),
    "reset_skipped": Simulation(100),
    "settings_not_set": Simulation(20),
    "reset_forgets_startup": Simulation(2000),
    "cancel_hits_the_next": Simulation(4000),
    "cancel_key_unchecked": Simulation(300),
    "cancel_in_queue_lost": EndToEnd("test_cancel.py::test_while_waiting_in_the_queue"),
    "failed_parse_kept": Simulation(2000),
    "settings_in_doubt_shared": EndToEnd("test_prepared_settings.py::test_nobody_shares_what_a_transaction_of_one_batch_has_prepared"),
    "failed_name_kept": Simulation(2000),
    "unnamed_not_forgotten": Simulation(2000),
    "evicted_without_close": Simulation(500),
    "swallowed_sync_counted": Simulation(100),
    "reply_into_a_message": Simulation(2000),
    "dropped_bytes_sent": Simulation(20),
    "arena_overwritten": Unit("session_unit", "OutboxTest.EveryByteOnceAndInOrder"),
    "newcomer_stays_counted": Simulation(100),
    "failures_not_counted": Unit("session_unit", "ThrottleTest.AnswersWaitLongerAndLonger"),
    "client_place_kept": Simulation(20),
    "backpressure_for_ever": Simulation(200),
    "skipped_close_counted": Simulation(2000),
    "identity_kept": EndToEnd("test_params.py::test_session_authorization_does_not_leak"),
    "console_alias": EndToEnd("test_hba.py::test_the_console_by_either_name"),
    "database_told_early": EndToEnd("test_auth.py::test_unknown_database_only_after_authentication"),
    "moved_entry_kept": EndToEnd("test_files.py::test_reload_leads_a_database_elsewhere"),
    "clear_words_let_in": Simulation(100, tls=True),
    "clear_servers_kept": Simulation(300, tls=True),
    "cancel_in_clear_words": Simulation(100, tls=True),
    "declined_tls_accepted": Simulation(200, tls=True),
    "any_protocol_taken": Simulation(300, tls=True),
    "admin_room_missing": EndToEnd("test_limits.py::test_max_client_conn"),
    "wake_up_lost": Unit("worker_unit", "Mailbox.OneWakeUpForAReaderThatSleeps"),
    "outbox_overtaken": Unit("worker_unit", "Mailbox.NewMailStaysBehindWhatWaitsForRoom"),
    "stats_user_may_all": Unit("admin_unit", "AdminConsole.T10RoleByCommand"),
    "kill_means_all": Unit("admin_unit", "AdminParser.ArgumentsKeepTheirLetters"),
    "batch_goes_on": Unit("admin_unit", "AdminExtended.AfterAnErrorEverythingIsSkippedUpToSync"),
}


class Outcome:
    """What a test did: passed, failed (red, as it should with a fault), or neither (`trouble` says why)."""

    def __init__(self, status, output, trouble="", seeds=0):
        self.passed = status == 0 and not trouble
        self.failed = status not in (0, None) and not trouble
        self.output, self.trouble, self.seeds = output, trouble, seeds


def execute(command, cwd, seconds, fault, **variables):
    """(exit status or None when out of time, output)."""
    environment = {**os.environ, **variables}
    environment.pop("PGBERTH_FAULT", None)
    if fault:
        environment["PGBERTH_FAULT"] = fault
    process = subprocess.Popen(command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True)
    try:
        output, _ = process.communicate(timeout=seconds)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return None, process.communicate()[0]


def run_unit(test, fault):
    command = [os.path.join(".", test.program), "--gtest_brief=1", f"--gtest_filter={test.filter}"]
    status, output = execute(command, BUILD, 60, fault)
    trouble = ""
    if status is None:
        trouble = "out of time"
    elif status == 0 and not re.search(r"\[  PASSED  \] [1-9]", output):
        trouble = "no test of this name ran"
    elif status > 0 and "[  FAILED  ]" not in output:
        trouble = f"ended with {status} without a failed test"
    return Outcome(status, output, trouble)


def run_simulation(test, fault):
    """Ends with the first seed that is red."""
    command = ["./simulation", "--gtest_brief=1", "--gtest_break_on_failure", "--gtest_filter=Simulation.Worlds"]
    which = {"SIM_TLS": "1"} if test.tls else {}
    status, output = execute(command, BUILD, 120, fault, SIM_FIRST="1", SIM_SEEDS=str(test.seeds), **which)
    found = re.search(r"\bseed (\d+):", output)
    if status is None:
        return Outcome(status, output, "out of time")
    if status != 0 and not found:
        return Outcome(status, output, f"ended with {status} and named no seed")
    return Outcome(status, output, seeds=int(found[1]) if status != 0 else test.seeds)


def run_end_to_end(test, fault):
    command = ["/usr/bin/python3", "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/e2e/" + test.test]
    status, output = execute(command, ROOT, 120, fault, PGBERTH=os.path.join(BUILD, "pgberth"), PGBERTH_E2E_SEED=E2E_SEED)
    if status is None:
        return Outcome(status, output, "out of time")
    return Outcome(status, output, "" if status in (0, 1) else f"pytest ended with {status}")


RUNNERS = {Unit: run_unit, Simulation: run_simulation, EndToEnd: run_end_to_end}


def run(test, fault=None):
    return RUNNERS[type(test)](test, fault)


def fault_list():
    with open(os.path.join(ROOT, "broker", "base", "faults.def"), encoding="utf-8") as file:
        return re.findall(r"^FAULT_ENTRY\((\w+), ", file.read(), re.M)


def green_tests(names):
    """The tests that must pass without a fault: each once, the simulation over as many seeds as the longest row has."""
    tests = {FAULTS[name] for name in names}
    longest = {}
    for test in tests:
        if isinstance(test, Simulation):
            longest[test.tls] = max(longest.get(test.tls, 0), test.seeds)
    tests = {test for test in tests if not isinstance(test, Simulation)} | {Simulation(most, tls) for tls, most in longest.items()}
    return sorted(tests, key=str)


class Report:
    def __init__(self):
        self.passed = self.failed = 0

    def add(self, name, good, text, output=""):
        self.passed, self.failed = self.passed + good, self.failed + (not good)
        print(f"{name:<28} {'ok' if good else 'FAILED'}: {text}", flush=True)
        if not good and output:
            print("\n".join("    " + line for line in output.splitlines()[-40:]), flush=True)


def check_list(report):
    listed = fault_list()
    alone = sorted(set(listed) ^ set(FAULTS))
    report.add("faults.def", not alone and len(listed) == len(set(listed)),
               f"{len(listed)} bugs, each with its test" if not alone else "in one of the two lists only: " + ", ".join(alone))


def check_unknown_name(report):
    """A misspelt name must not pass for a bug that no test sees."""
    status, output = execute(["./base_unit", "--gtest_brief=1"], BUILD, 60, "no_such_fault")
    good = status == -signal.SIGABRT and "there is no such fault" in output and all(n in output for n in fault_list())
    report.add("no_such_fault", good, "an unknown name ends the process with the list", output)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", help="bugs; all by default")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    names = arguments.names or [name for name in fault_list() if name in FAULTS]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # many of these programs are meant to crash
    report = Report()
    check_list(report)
    check_unknown_name(report)
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        green = [(test, pool.submit(run, test)) for test in green_tests(names)]
        red = [(name, pool.submit(run, FAULTS[name], name)) for name in names]
        red_anyway = 0
        for test, job in green:
            outcome = job.result()
            red_anyway = outcome.seeds if isinstance(test, Simulation) and outcome.failed else red_anyway
            report.add("none", outcome.passed, f"{test} passes" if outcome.passed else
                       f"{test} does not pass. {outcome.trouble}", outcome.output)
        for name, job in red:
            outcome = job.result()
            if outcome.failed and red_anyway and outcome.seeds == red_anyway:
                outcome.failed, outcome.trouble = False, f"seed {red_anyway} is red without it, too"
            if outcome.failed:
                text = f"{FAULTS[name]}" + (f", found with {outcome.seeds}" if outcome.seeds else "")
            else:
                text = f"{FAULTS[name]}: {outcome.trouble or 'does not see it'}"
            report.add(name, outcome.failed, text, outcome.output)
    print(f"{report.passed} passed, {report.failed} failed")
    sys.exit(1 if report.failed or not report.passed else 0)


if __name__ == "__main__":
    main()
