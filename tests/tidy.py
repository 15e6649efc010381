"""Style that compilers do not check, as a test: `make tidy`.

Each rule is a function that takes a file and yields (line, text) for what it does not like; the list RULES at the end
says which rules apply to which files. tests/tidy_selftest.py shows for each rule one text that it must refuse and one
that it must let pass. A rule that is in the way of a clear program is to be changed here, in the same commit.
"""

import ast
import dataclasses
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

LINES_MAX = 700
FUNCTION_LINES_MAX = 120
COLUMNS_MAX = {"cc": 118, "cpp": 118, "h": 118, "py": 140}
# Where the clock, randomness, and the streams of the process may be touched.
CLOCK_FILES = ("broker/base/base.cc", "broker/base/time.", "broker/base/random.", "broker/base/log.", "tests/bench/")
STREAM_FILES = ("broker/base/base.cc", "broker/base/fault.", "broker/base/log.", "broker/base/assert.")


@dataclasses.dataclass
class File:
    path: str  # from the root of the repository
    text: str

    @property
    def lines(self):
        return self.text.split("\n")

    @property
    def code(self):
        """The lines of a C++ file with comments and the insides of literals blanked; the columns stay."""
        return blank_comments(self.text).split("\n")

    @property
    def layer(self):
        parts = self.path.split("/")
        return parts[1] if len(parts) > 2 else "main"


TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|R"\((.*?)\)"|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])*\'', re.S)


def blank_comments(text):
    def blank(match):
        token = match[0]
        inside = re.sub(r"[^\n]", " ", token)
        if token[0] in "\"'" and len(token) >= 2:
            return token[0] + inside[1:-1] + token[-1]
        return inside

    return TOKEN.sub(blank, text)


def read_layers():
    """{layer: the layers that its files may include}."""
    layers = {}
    with open(os.path.join(ROOT, "tests", "layers.txt"), encoding="utf-8") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                name, allowed = line.split(":")
                layers[name.strip()] = set(allowed.split())
    return layers


# Rules for C++ -------------------------------------------------------------------------------------------------------


def include_to_the_left(file, layers=None):
    layers = layers or read_layers()
    if file.layer not in layers:
        yield 1, f"layer {file.layer} is not in tests/layers.txt"
        return
    for number, line in enumerate(file.lines, 1):
        match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if not match:
            continue
        target = match[1].split("/")[0] if "/" in match[1] else "main"
        if target.startswith(".") or (target != file.layer and target not in layers):
            yield number, f'"{match[1]}" is not a path from broker/'
        elif target != file.layer and target not in layers[file.layer]:
            yield number, f"layer {file.layer} may not include layer {target}"


def pragma_once(file):
    if "#pragma once" not in file.lines:
        yield 1, "a header needs #pragma once"


def opens_with_purpose(file):
    """Only a source whose header of the same name says it may go without."""
    if not file.lines[0].startswith("//") and f'{os.path.splitext(file.path)[0].split("/", 1)[1]}.h"' not in file.text:
        yield 1, "the first line is a comment that says what the file is"


def function_length(file):
    """A function is what opens with `{` after a parenthesis at depth 0 or 2 and closes with `}` at the same depth."""
    start = {}
    for number, line in enumerate(file.code, 1):
        for indent in ("", "  "):
            if re.match(rf"{indent}}}", line) and indent in start:
                length = number - start.pop(indent) + 1
                if length > FUNCTION_LINES_MAX:
                    yield number, f"a function of {length} lines; it should fit a screen ({FUNCTION_LINES_MAX} at most)"
            if re.match(rf"{indent}\S", line) and line.rstrip().endswith("{") and ")" in line and \
                    not re.match(r"\s*(namespace|class|struct|enum|union|if|for|while|switch|extern)\b", line):
                start[indent] = number


def columns(file):
    most = COLUMNS_MAX[file.path.rsplit(".", 1)[1]]
    for number, line in enumerate(file.lines, 1):
        if len(line) > most:
            yield number, f"{len(line)} columns; at most {most}"


def commented_out_code(file):
    code = re.compile(r"^(#\s*(include|if|define)\b.*|\}|(if|for|while|return|const|auto|int|bool|delete)\b.*[;{]|"
                      r"[\w:]+(->|\.|::)\w+\(.*\);|[\w:]+\(.*\);|[\w.>-]+ [+-]?= .*;)$")
    for number, line in enumerate(file.lines, 1):
        match = re.match(r"\s*//\s?(.*)$", line)
        if match and code.match(match[1].strip()):
            yield number, "commented-out code"


def forbidden(pattern, why, exempt=()):
    """A rule that refuses a pattern in the code of a file (comments and literals do not count)."""
    expression = re.compile(pattern)

    def rule(file):
        if any(file.path.startswith(prefix) for prefix in exempt):
            return
        for number, line in enumerate(file.code, 1):
            match = expression.search(line)
            if match:
                yield number, f"{match[0].strip()}: {why}"

    return rule


no_exceptions = forbidden(r"\bthrow\b", "no exceptions; use Result (base/result.h)")
no_clock = forbidden(
    r"(?<![\w.>:])(?:std::|::)?(?:time\s*\(\s*(?:nullptr|NULL|0|&)|(?:gettimeofday|clock_gettime|localtime|gmtime)\s*\()"
    r"|\b\w+_clock::now\b",
    "time is an argument; only base/ asks the clock", CLOCK_FILES)
no_random = forbidden(r"(?<![\w.>:])(?:std::|::)?s?rand\s*\(|\bstd::(?:random_device|mt19937|minstd_rand)",
                      "randomness comes from base/random.h, with a seed that is printed", CLOCK_FILES)
no_streams = forbidden(r"\b(?:v?f?printf|puts|putchar)\s*\(|\bstd::(?:cout|cerr|clog)\b",
                       "output goes through base/log.h", STREAM_FILES)
no_using_std = forbidden(r"^\s*using namespace std\s*;", "names of the library keep their namespace")
no_missing_library = forbidden(r"#\s*include\s*<(?:format|expected|print|generator)>",
                               "clang 14 with Debian 12's library does not have it")

no_memcmp = forbidden(r"(?<![\w])(?:std::|::)?(?:mem|strn?)cmp\s*\(|\bstd::equal\s*\(",
                      "secrets are compared in constant time: equal_constant_time (T17)")

# Rules for every text file -------------------------------------------------------------------------------------------


def no_tabs(file):
    for number, line in enumerate(file.lines, 1):
        if "\t" in line:
            yield number, "a tab"


def no_trailing_space(file):
    for number, line in enumerate(file.lines, 1):
        if line != line.rstrip():
            yield number, "white space at the end of the line"


def ends_with_newline(file):
    if file.text and (not file.text.endswith("\n") or file.text.endswith("\n\n")):
        yield len(file.lines), "a file ends with exactly one newline"


def file_length(file):
    if len(file.lines) > LINES_MAX:
        yield len(file.lines), f"{len(file.lines)} lines; where would it divide? ({LINES_MAX} at most)"


def todo_has_issue(file):
    for number, line in enumerate(file.lines, 1):
        for word in re.finditer(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))", line):
            yield number, f"{word[1]} without an issue: write {word[1]}(#12)"


# Written in pieces, so that this file does not refuse itself.
MACHINE_PATH = re.compile(r"(?<![\w.}$/-])/(?:" + "wo" + "rk|fa" + "rm|ho" + r"me/\w+|ro" + r"ot/\w+)(?=[/\s\"'`),]|$)")


def no_machine_paths(file):
    for number, line in enumerate(file.lines, 1):
        match = MACHINE_PATH.search(line)
        if match:
            yield number, f"{match[0]} is a path of one machine"


# Rules for Python and shell ------------------------------------------------------------------------------------------


def python_parses(file):
    try:
        tree = ast.parse(file.text)
    except SyntaxError as error:
        yield error.lineno or 1, f"syntax: {error.msg}"
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = node.end_lineno - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield node.lineno, f"{node.name} has {length} lines; it should fit a screen ({FUNCTION_LINES_MAX} at most)"


def shell_is_strict(file):
    if "set -euo pipefail" not in file.text:
        yield 1, "a script begins with set -euo pipefail"
    done = subprocess.run(["bash", "-n"], input=file.text, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        yield 1, done.stderr.strip()


def no_skipped_test(file):
    """Every test runs everywhere, or it is not a test. (skipif is for another broker in our place.)"""
    for number, line in enumerate(file.code, 1):
        match = re.search(r"\bGTEST_SKIP\b|\bTEST(?:_F|_P)?\(\w+, DISABLED_|@pytest\.mark\.(?:skip\b|xfail)|\bpytest\.skip\(",
                          line)
        if match:
            yield number, f"{match[0]}: a test that does not run proves nothing"


TEXT = (no_tabs, no_trailing_space, ends_with_newline, file_length, todo_has_issue, no_machine_paths)
CPP = (columns, commented_out_code, function_length, opens_with_purpose, no_clock, no_random, no_missing_library,
       no_using_std)

# (which paths, which rules). A file obeys every row that matches it.
RULES = (
    (r"\.(cc|cpp|h|def|py|sh|sql|md|json|ini|service|txt|yml|control)$|(^|/)(\.clang-\w+|run)$", TEXT),
    (r"\.(cc|cpp|h)$", CPP),
    (r"\.h$", (pragma_once,)),
    (r"^broker/.*\.(cc|h)$", (include_to_the_left, no_exceptions)),
    (r"^broker/.+/.*\.(cc|h)$", (no_streams,)),
    (r"^broker/auth/.*\.(cc|h)$|^broker/session/(client_auth|cancel)\.cc$", (no_memcmp,)),
    (r"\.py$", (python_parses, columns)),
    (r"\.sh$|^\.ci/run$", (shell_is_strict,)),
    (r"^tests/.*\.(cc|py)$", (no_skipped_test,)),
)
# Texts that have to show what the rules refuse, and the makefiles' own use of tabs.
EXEMPT = {
    "tests/tidy_selftest.py": TEXT + (no_skipped_test,),
    "tests/tidy.py": (todo_has_issue, no_skipped_test),
    "tests/e2e/conftest.py": (no_skipped_test,),
    "tests/e2e/harness/broker.py": (no_skipped_test,),
    "docs/style.md": (todo_has_issue,),
    "CHANGELOG.md": (file_length,),
    # An extension's script is one file, and a third of it says what each column means.
    "sql/pgberth--0.1.0.sql": (file_length,),
}


def rules_for(path):
    found = []
    for pattern, rules in RULES:
        if re.search(pattern, path):
            found += [rule for rule in rules if rule not in found and rule not in EXEMPT.get(path, ())]
    return found


def repository_files():
    """What git has or would add, so that build directories and private files do not count."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            capture_output=True, text=True, check=True).stdout
    return sorted(path for path in listed.split("\0") if path and os.path.isfile(os.path.join(ROOT, path)))


def main():
    paths, problems, checked = repository_files(), [], 0
    for path in paths:
        rules = rules_for(path)
        if not rules:
            continue
        with open(os.path.join(ROOT, path), encoding="utf-8") as handle:
            file = File(path, handle.read())
        checked += 1
        problems += [f"{path}:{line}: {text}" for rule in rules for line, text in rule(file)]
    print("\n".join(problems) if problems else f"tidy: {checked} files are tidy")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
