"""The test of tests/tidy.py: each rule refuses the text that it exists for, and lets a decent one pass."""

import unittest

import tidy
from tidy import File

LONG_CPP = "int f() {\n" + "  g();\n" * tidy.FUNCTION_LINES_MAX + "}\n"
LONG_METHOD = "class A {\n  int f() const {\n" + "    g();\n" * tidy.FUNCTION_LINES_MAX + "  }\n};\n"
LONG_PYTHON = "def f():\n" + "    g()\n" * tidy.FUNCTION_LINES_MAX
HOME = "/ho" + "me/someone"

# (rule, path, a text that is refused, a text that passes)
CASES = (
    (tidy.include_to_the_left, "broker/wire/a.h", '#include "net/engine.h"\n', '#include "base/time.h"\n'),
    (tidy.include_to_the_left, "broker/base/a.h", '#include "wire/tags.h"\n', '#include "base/time.h"\n'),
    (tidy.include_to_the_left, "broker/admin/a.cc", '#include "link/link.h"\n', '#include "worker/worker.h"\n'),
    (tidy.include_to_the_left, "broker/wire/a.h", '#include "tags.h"\n', '#include "wire/tags.h"\n'),
    (tidy.include_to_the_left, "broker/wire/a.h", '#include "../base/time.h"\n', "#include <string>\n"),
    (tidy.include_to_the_left, "broker/elsewhere/a.h", "", None),
    (tidy.pragma_once, "broker/wire/a.h", "#ifndef A\n", "#pragma once\n"),
    (tidy.opens_with_purpose, "broker/wire/a.h", "#pragma once\n", "// What it is.\n"),
    (tidy.opens_with_purpose, "broker/wire/a.cc", "int a;\n", '#include "wire/a.h"\n'),
    (tidy.function_length, "broker/wire/a.cc", LONG_CPP, "int f() {\n  g();\n}\n"),
    (tidy.function_length, "broker/wire/a.h", LONG_METHOD, "namespace a {\n" + "int b;\n" * 300 + "}\n"),
    (tidy.columns, "broker/wire/a.cc", "x" * 119, "x" * 118),
    (tidy.columns, "tests/a.py", "x" * 141, "x" * 140),
    (tidy.commented_out_code, "broker/wire/a.cc", "  // return value;\n", "// It returns the value.\n"),
    (tidy.commented_out_code, "broker/wire/a.cc", "  // client->close(reason);\n", "// See client.close() below.\n"),
    (tidy.commented_out_code, "broker/wire/a.cc", '// #include "base/time.h"\n', "// #1234 is the issue.\n"),
    (tidy.no_exceptions, "broker/wire/a.cc", "  throw 1;\n", "  // A throw of dice.\n"),
    (tidy.no_clock, "broker/wire/a.cc", "  auto t = time(nullptr);\n", "  stats.time(now);\n"),
    (tidy.no_clock, "broker/wire/a.cc", "  std::chrono::steady_clock::now();\n", '  log("time() is called");\n'),
    (tidy.no_clock, "broker/wire/a.cc", "  gettimeofday(&t, 0);\n", "  wait_time(t);\n"),
    (tidy.no_clock, "broker/admin/a.h", "  time(&now);\n", "  Table& time(Micros value);\n"),
    (tidy.no_random, "broker/wire/a.cc", "  int n = rand();\n", "  int n = random.below(7);\n"),
    (tidy.no_random, "tests/sim/a.cc", "  std::mt19937 source;\n", "  Random random(seed);\n"),
    (tidy.no_streams, "broker/wire/a.cc", '  printf("x");\n', '  snprintf(to, 4, "x");\n'),
    (tidy.no_streams, "broker/wire/a.cc", "  std::cout << 1;\n", "  LOG_INFO(text);\n"),
    (tidy.no_memcmp, "broker/auth/a.cc", "  if (memcmp(a, b, 32) == 0)\n", "  if (CRYPTO_memcmp(a, b, 32) == 0)\n"),
    (tidy.no_memcmp, "broker/auth/a.cc", "  std::equal(a.begin(), a.end(), b.begin());\n", "  equal_constant_time(a, b);\n"),
    (tidy.no_missing_library, "broker/wire/a.cc", "#include <format>\n", "#include <fmt/format.h>\n"),
    (tidy.no_using_std, "broker/wire/a.cc", "using namespace std;\n", "using std::string;\n"),
    (tidy.no_tabs, "docs/a.md", "a\tb\n", "a b\n"),
    (tidy.no_trailing_space, "docs/a.md", "a \n", "a\n"),
    (tidy.ends_with_newline, "docs/a.md", "a", "a\n"),
    (tidy.ends_with_newline, "docs/a.md", "a\n\n", "a\n"),
    (tidy.file_length, "docs/a.md", "a\n" * 701, "a\n" * 500),
    (tidy.todo_has_issue, "docs/a.md", "TODO: later\n", "TODO(#12): later\n"),
    (tidy.todo_has_issue, "docs/a.md", "FIXME\n", "It is fixed.\n"),
    (tidy.no_machine_paths, "docs/a.md", f"see {HOME}/a\n", "see broker/worker/a and ~/a\n"),
    (tidy.python_parses, "tests/a.py", "def f(:\n", "def f():\n    pass\n"),
    (tidy.python_parses, "tests/a.py", LONG_PYTHON, "x = 1\n"),
    (tidy.shell_is_strict, "tests/a.sh", "echo\n", "set -euo pipefail\n"),
    (tidy.shell_is_strict, "tests/a.sh", "set -euo pipefail\nif\n", "set -euo pipefail\nif true; then echo; fi\n"),
    (tidy.no_skipped_test, "tests/unit/a.cc", "  GTEST_SKIP();\n", "  EXPECT_EQ(skip(4), 4);\n"),
    (tidy.no_skipped_test, "tests/unit/a.cc", "TEST(A, DISABLED_b) {\n", "TEST(A, b) {\n"),
    (tidy.no_skipped_test, "tests/e2e/test_a.py", "@pytest.mark.skip\n", "@pytest.mark.limit(9)\n"),
)


class Rules(unittest.TestCase):
    def test_each_rule_refuses_and_lets_pass(self):
        for rule, path, refused, passes in CASES:
            with self.subTest(rule=getattr(rule, "__name__", "rule"), text=refused[:40]):
                self.assertTrue(list(rule(File(path, refused))), "not refused")
                if passes is not None:
                    self.assertEqual(list(rule(File(path, passes))), [])

    def test_every_rule_has_a_case(self):
        used = {rule for _, rules in tidy.RULES for rule in rules}
        self.assertEqual(used - {rule for rule, *_ in CASES}, set())

    def test_rules_reach_their_files(self):
        self.assertIn(tidy.include_to_the_left, tidy.rules_for("broker/wire/frame.h"))
        self.assertIn(tidy.include_to_the_left, tidy.rules_for("broker/main.cc"))
        self.assertIn(tidy.no_streams, tidy.rules_for("broker/wire/frame.cc"))
        self.assertNotIn(tidy.no_streams, tidy.rules_for("broker/main.cc"))
        self.assertIn(tidy.no_skipped_test, tidy.rules_for("tests/e2e/test_basic.py"))
        self.assertEqual(tidy.rules_for("build/a.o"), [])

    def test_literals_and_comments_are_blank(self):
        self.assertEqual(tidy.blank_comments("a /* b\nc */ d"), "a     \n     d")
        self.assertEqual(tidy.blank_comments('f("x // y", \'"\');'), 'f("      ", \' \');')
        self.assertEqual(tidy.blank_comments("1'000'000 // x"), "1'000'000     ")


if __name__ == "__main__":
    unittest.main()
