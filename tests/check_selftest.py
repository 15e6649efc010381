"""The test of tests/check.py: programs that fail, crash, hang, skip, or leave something running do not pass."""

import contextlib
import io
import os
import tempfile
import unittest

import check

PASSED = '<testsuites><testsuite><testcase name="a"/><testcase name="b"/></testsuite></testsuites>'
MIXED = ('<testsuites><testsuite><testcase name="a"/><testcase name="b"><failure/></testcase>'
         '<testcase name="c"><error/></testcase><testcase name="d"><skipped/></testcase>'
         '<testcase name="e" status="notrun" result="suppressed"/></testsuite></testsuites>')
COUNTS = r"^(?P<passed>\d+) passed, (?P<failed>\d+) failed"


class Steps(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.logs, check.LOGS = check.LOGS, self.directory.name

    def tearDown(self):
        check.LOGS = self.logs
        self.directory.cleanup()

    def run_step(self, action, budget=20):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            step = check.run_step("a-step", budget, action)
        return step.counts, printed.getvalue()

    def junit(self, script, budget=20):
        report = os.path.join(self.directory.name, "report.xml")
        return self.run_step(lambda step: step.junit(["bash", "-c", script.replace("REPORT", report)], report), budget)

    def test_one(self):
        self.assertEqual(self.run_step(lambda step: step.one(["true"]))[0], check.Counts(passed=1))
        counts, printed = self.run_step(lambda step: step.one(["bash", "-c", "echo the reason; exit 3"]))
        self.assertEqual(counts, check.Counts(failed=1))
        self.assertIn("| the reason", printed)

    def test_a_program_that_is_not_there(self):
        self.assertEqual(self.run_step(lambda step: step.one(["/nowhere/program"]))[0], check.Counts(failed=1))

    def test_reports(self):
        self.assertEqual(self.junit(f"echo '{PASSED}' >REPORT")[0], check.Counts(passed=2))
        self.assertEqual(self.junit(f"echo '{MIXED}' >REPORT; exit 1")[0], check.Counts(passed=1, failed=2, skipped=2))

    def test_a_program_that_crashes(self):
        self.assertEqual(self.junit("kill -SEGV $$")[0], check.Counts(failed=1))
        self.assertEqual(self.junit("echo '<testsuites><testsu' >REPORT; kill -SEGV $$")[0], check.Counts(failed=1))

    def test_a_program_that_fails_after_its_tests(self):
        self.assertEqual(self.junit(f"echo '{PASSED}' >REPORT; exit 99")[0], check.Counts(passed=2, failed=1))

    def test_a_program_without_tests(self):
        self.assertEqual(self.junit("echo '<testsuites/>' >REPORT")[0], check.Counts(failed=1))

    def test_a_report_of_an_earlier_run_does_not_count(self):
        self.junit(f"echo '{PASSED}' >REPORT")
        self.assertEqual(self.junit("true")[0], check.Counts(failed=1))

    def test_a_program_that_hangs(self):
        counts, printed = self.junit("sleep 300 & sleep 300", budget=1)
        self.assertEqual(counts, check.Counts(failed=1))
        self.assertIn("out of time", printed)

    def test_counted(self):
        def counted(script):
            return self.run_step(lambda step: step.counted(["bash", "-c", script], COUNTS))[0]
        self.assertEqual(counted("echo 7 passed, 0 failed"), check.Counts(passed=7))
        self.assertEqual(counted("echo 6 passed, 1 failed; exit 1"), check.Counts(passed=6, failed=1))
        self.assertEqual(counted("echo 7 passed, 0 failed; exit 1"), check.Counts(passed=7, failed=1))
        self.assertEqual(counted("true"), check.Counts(failed=1))

    def test_what_is_left_running(self):
        check.adopt_orphans()
        away = os.path.join(self.directory.name, "away")
        script = f"setsid -f bash -c 'touch {away}; exec sleep 300'; until [ -e {away} ]; do sleep 0.05; done"
        counts, printed = self.run_step(lambda step: step.one(["bash", "-c", script]))
        self.assertEqual(counts, check.Counts(passed=1, failed=1))
        self.assertIn("left running", printed)
        self.assertEqual(check.children(), [])

    def test_a_mistake_in_a_step(self):
        counts, printed = self.run_step(lambda step: 1 // 0)
        self.assertEqual(counts, check.Counts(failed=1))
        self.assertIn("ZeroDivisionError", printed)


if __name__ == "__main__":
    unittest.main()
