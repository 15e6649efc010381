"""The table of docs/security.md: every advisory's number has one row, and every test that a row names exists.

`test_FILE.py::NAME` is below tests/e2e, `Suite.Name` in tests/unit or tests/sim (`Suite.*`: any of the suite), `fuzz_NAME` in
tests/fuzz. A row without a test has to say why: "cannot apply". The number stands in each file that the row names, too, so that a
search for it finds the test from either side.
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


def cpp_tests():
    """{"Suite.Name": file} of the unit tests and the simulation."""
    found = {}
    for folder in ("unit", "sim"):
        for name in sorted(os.listdir(os.path.join(ROOT, "tests", folder))):
            if not name.endswith(".cc"):
                continue
            for suite, test in re.findall(r"^TEST(?:_F|_P)?\((\w+), (\w+)\)", read("tests", folder, name), re.M):
                found[f"{suite}.{test}"] = found[f"{suite}.*"] = f"tests/{folder}/{name}"
    return found


def file_of(name, known):
    """The file of a named test; None if there is no such test."""
    if name.startswith("fuzz_"):
        path = f"tests/fuzz/{name[5:]}.cc"
        return path if os.path.exists(os.path.join(ROOT, path)) else None
    if "::" not in name:
        return known.get(name)
    path, test = name.split("::")
    path = f"tests/e2e/{path}"
    if not os.path.exists(os.path.join(ROOT, path)):
        return None
    return path if re.search(rf"^def {test}\(", read(path), re.M) else None


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
            path = file_of(name, known)
            if path is None:
                yield f"T{number}: there is no test {name}"
            elif not re.search(rf"(?<![A-Z])T{number}(?!\d)", read(path)):
                yield f"T{number}: {path} does not mention it"


def main():
    found = list(problems(read("docs", "security.md"), cpp_tests()))
    print("\n".join(found) if found else "threats: every advisory has its tests, or a reason")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
