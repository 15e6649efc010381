"""What docs/security.md says of tests: every advisory's number has one row, every promise and every row about files names a
test, and every test that the page names exists.

`test_FILE.py::NAME` is below tests/e2e, `Suite.Name` in tests/unit or tests/sim (`Suite.*`: any of the suite), `fuzz_NAME` in
tests/fuzz. A row without a test has to say why: "cannot apply". The number stands in each test that the row names, too (its name, its
text or the comment before it), so that a search for it finds the test from either side.
"""

import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NUMBERS = range(1, 35)
NAME = re.compile(r"`(test_\w+\.py::\w+|[A-Z]\w+\.(?:\w+|\*)|fuzz_\w+)`")


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


def with_comment(text, start, stop, mark):
    """The lines of `text` from `start` to before `stop`, and those just before that begin with one of `mark`."""
    before = text[:start].splitlines()
    comment = []
    while before and before[-1].startswith(mark):
        comment.append(before.pop())
    return "\n".join(reversed(comment)) + "\n" + text[start:stop]


def cpp_tests():
    """{"Suite.Name": its text} of the unit tests and the simulation, its comment included; of "Suite.*" the text of all."""
    found = {}
    for folder in ("unit", "sim"):
        for name in sorted(os.listdir(os.path.join(ROOT, "tests", folder))):
            if not name.endswith(".cc"):
                continue
            text = read("tests", folder, name)
            for test in re.finditer(r"^TEST(?:_F|_P)?\((\w+), (\w+)\).*?^}", text, re.M | re.S):
                own = with_comment(text, test.start(), test.end(), "//")
                found[f"{test[1]}.{test[2]}"] = own
                found[f"{test[1]}.*"] = found.get(f"{test[1]}.*", "") + own
    return found


def python_test(text, name):
    """The text of a test with its comment and its decorators; None if there is none of the name."""
    found = re.search(rf"^def {name}\(.*?(?=^[^\s)]|\Z)", text, re.M | re.S)
    return with_comment(text, found.start(), found.end(), ("#", "@", " ", "]", ")")) if found else None


def text_of(name, known):
    """What a named test says; None if there is no such test."""
    if name.startswith("fuzz_"):
        path = os.path.join("tests", "fuzz", f"{name[5:]}.cc")
        return read(path) if os.path.exists(os.path.join(ROOT, path)) else None
    if "::" not in name:
        return known.get(name)
    path, test = name.split("::")
    path = os.path.join("tests", "e2e", path)
    return python_test(read(path), test) if os.path.exists(os.path.join(ROOT, path)) else None


def problems(page, known):
    rows = re.findall(r"^\| T(\d+) \|(.*)\|(.*)\|$", page, re.M)
    numbers = [int(row[0]) for row in rows]
    for number in NUMBERS:
        if numbers.count(number) != 1:
            yield f"T{number} has {numbers.count(number)} rows"
    for number, _, tests in rows:
        names = NAME.findall(tests)
        if not names and "cannot apply" not in tests:
            yield f"T{number}: no test, and no reason why it cannot apply"
        for name in names:
            text = text_of(name, known)
            if text is None:
                yield f"T{number}: there is no test {name}"
            elif not re.search(rf"(?<![A-Z])T{number}(?!\d)", text):
                yield f"T{number}: {name} does not mention it"
    for name in sorted(set(NAME.findall(page))):
        if text_of(name, known) is None:
            yield f"there is no test {name}"
    for chapter, item in (("What is promised", r"^- .*?(?=^- |\Z)"), ("Files", r"^\| [^|]*\|[^-].*?$")):
        said = re.search(rf"^## {chapter}\n(.*?)(?=^## )", page, re.M | re.S)
        items = re.findall(item, said[1], re.M | re.S) if said else []
        if len(items) < 4:
            yield f"{chapter}: where are its promises?"
        for text in items:
            if not NAME.findall(text) and not text.startswith("| file |"):
                yield f"{chapter}: no test in: {text[:60]}"


def main():
    found = list(problems(read("docs", "security.md"), cpp_tests()))
    print("\n".join(found) if found else "threats: every advisory has its tests, or a reason")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
