"""Compiles every header of broker/ alone, and twice in one unit, with the flags of the release build.

A header that needs another one to be included first, or that cannot be included twice, does not compile. Through ccache,
so that only changed headers cost time. The last line is "N passed, N failed".
"""

import concurrent.futures
import glob
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OUT = os.path.join(ROOT, "build", "headers")
FLAGS = ["-std=c++20", "-O0", "-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers", "-Ibroker"]


def compile_alone(header):
    """None, or what the compiler said."""
    name = os.path.relpath(header, os.path.join(ROOT, "broker"))
    stem = os.path.join(OUT, name.replace("/", "_"))
    source = os.path.relpath(stem + ".cc", ROOT)
    with open(os.path.join(ROOT, source), "w", encoding="utf-8") as file:
        file.write(f'#include "{name}"\n#include "{name}"\n')
    compiler = (["ccache"] if shutil.which("ccache") else []) + ["g++"]
    done = subprocess.run([*compiler, *FLAGS, "-c", source, "-o", os.path.relpath(stem + ".o", ROOT)], cwd=ROOT,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else f"{name}\n{done.stderr}"


def main():
    os.makedirs(OUT, exist_ok=True)
    headers = sorted(glob.glob(os.path.join(ROOT, "broker", "**", "*.h"), recursive=True))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        mistakes = [text for text in pool.map(compile_alone, headers) if text]
    print("\n".join(mistakes))
    print(f"{len(headers) - len(mistakes)} passed, {len(mistakes)} failed")
    sys.exit(1 if mistakes or not headers else 0)


if __name__ == "__main__":
    main()
