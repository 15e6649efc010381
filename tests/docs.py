"""The generated pages of docs/: `make docs` writes them, `tests/docs.py --check` says which are stale.

A page comes from the program itself (`pgberth --docs PAGE`), which prints it from the lists in its sources. The check also
looks at every link from one page of the repository to another file of it, and at META.json.
"""

import glob
import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGES = ("config", "admin")


def generated(page):
    return subprocess.run([os.path.join(ROOT, "build", "pgberth"), "--docs", page], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, text=True, check=True).stdout


def stale_pages():
    for page in PAGES:
        path = os.path.join(ROOT, "docs", page + ".md")
        current = ""
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                current = file.read()
        if current != generated(page):
            yield f"docs/{page}.md is not what pgberth --docs {page} prints; run make docs"


def broken_links():
    for path in [os.path.join(ROOT, name) for name in glob.glob("*.md", root_dir=ROOT)] + \
            glob.glob(os.path.join(ROOT, "docs", "**", "*.md"), recursive=True):
        with open(path, encoding="utf-8") as file:
            text = re.sub(r"```.*?```|`[^`]*`", "", file.read(), flags=re.S)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if not re.match(r"\w+:", target) and not os.path.exists(os.path.join(os.path.dirname(path), target)):
                yield f"{os.path.relpath(path, ROOT)}: the link to {target} leads nowhere"


def wrong_metadata():
    """What PGXN demands of META.json, and that its version is the program's."""
    with open(os.path.join(ROOT, "META.json"), encoding="utf-8") as file:
        meta = json.load(file)
    for key in ("name", "version", "abstract", "maintainer", "license", "provides", "meta-spec"):
        if not meta.get(key):
            yield f"META.json: {key} is missing"
    with open(os.path.join(ROOT, "broker", "CMakeLists.txt"), encoding="utf-8") as file:
        version = re.search(r"project\(pgberth VERSION (\S+)", file.read())[1]
    for name, provided in {"the distribution": meta, **meta["provides"]}.items():
        if provided.get("version") != version:
            yield f"META.json: {name} has version {provided.get('version')}, broker/CMakeLists.txt has {version}"
        for key in ("file", "docfile"):
            if key in provided and not os.path.exists(os.path.join(ROOT, provided[key])):
                yield f"META.json: {name}: {provided[key]} is not there"


def main():
    if sys.argv[1:] == ["--check"]:
        problems = [*stale_pages(), *broken_links(), *wrong_metadata()]
        print("\n".join(problems) or "docs: all pages are current")
        sys.exit(1 if problems else 0)
    for page in PAGES:
        with open(os.path.join(ROOT, "docs", page + ".md"), "w", encoding="utf-8") as file:
            file.write(generated(page))


if __name__ == "__main__":
    main()
