"""Prints what build/pgberth is made of, as CycloneDX JSON: the Debian packages of the libraries that it loads, and of those that
are only headers. A scanner of advisories reads it: `make sbom >pgberth.cdx.json`. With --check only whether the list has what the
broker is known to be made of, for `make check`.
"""

import json
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HEADERS_ONLY = ("libboost1.81-dev", "libcli11-dev")
# What the sources call (docs/decisions/0001-libraries.md), without the numbers that stand in packages' names.
KNOWN = ("libc", "libstdc++", "libssl", "libpq", "libfmt", "libspdlog", "libsystemd", "libidn", "libutf8proc", "libpam", "libldap")


COMMAND_TIME = 60  # seconds; each takes less than one


def output_of(*command, may_fail=False):
    """Of a command that neither reads what is typed nor may take for ever."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=COMMAND_TIME, check=not may_fail,
                          stderr=subprocess.DEVNULL if may_fail else None)
    return done.stdout


def libraries(program):
    """The files that the loader finds for it, its own libraries' libraries among them."""
    return sorted({os.path.realpath(path) for path in re.findall(r"(/\S+\.so\S*)", output_of("ldd", program))})


def packages_of(paths):
    """Asks once for all of them: each question reads the lists of all packages. A package may know a file of /usr/lib by its
    path in /lib."""
    names = {name: path for path in paths for name in (path, path.removeprefix("/usr"))}
    found = {}
    for line in output_of("dpkg-query", "-S", *names, may_fail=True).splitlines():
        packages, _, name = line.rpartition(": ")
        if name in names:
            found[names[name]] = packages.split(",")[0]
    for path in paths:
        if path not in found:
            sys.exit(f"sbom: no package has {path}")
    return set(found.values())


def component(package):
    shown = output_of("dpkg-query", "-W", "-f", "${Package}\t${Version}\t${Architecture}\t${source:Package}\t${Homepage}", package)
    name, version, architecture, source, homepage = shown.split("\t")
    made = {"type": "library", "name": name, "version": version,
            "purl": f"pkg:deb/debian/{name}@{version}?arch={architecture}&distro=debian-12",
            "properties": [{"name": "debian:source", "value": source}]}
    if homepage:
        made["externalReferences"] = [{"type": "website", "url": homepage}]
    return made


def main():
    program = os.path.join(ROOT, "build", "pgberth")
    if not os.path.exists(program):
        sys.exit("sbom: build/pgberth is not built")
    packages = sorted(packages_of(libraries(program)) | set(HEADERS_ONLY))
    version = output_of(program, "-V").split()[1]
    components = [component(package) for package in packages]
    if sys.argv[1:] == ["--check"]:
        names = [made["name"] for made in components if made["version"]]
        missing = [known for known in KNOWN if not any(re.fullmatch(rf"{re.escape(known)}[-0-9.g]*", name) for name in names)]
        if missing or len(names) < len(packages):
            sys.exit(f"sbom: {len(names)} of {len(packages)} packages have a name and a version, missing: {missing}")
        print(f"sbom: {len(names)} packages")
        return
    print(json.dumps({
        "bomFormat": "CycloneDX", "specVersion": "1.4", "version": 1,
        "metadata": {"component": {"type": "application", "name": "pgberth", "version": version}},
        "components": components,
    }, indent=1))


if __name__ == "__main__":
    main()
