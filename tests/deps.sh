#!/usr/bin/env bash
# Installs what building and testing needs, on Debian 12. Idempotent: nothing is asked of apt, and no rights are needed,
# when all of it is there. `tests/deps.sh --list` only prints the packages.
set -euo pipefail

packages=(
  # build
  make g++ cmake ninja-build ccache pkg-config
  libboost1.81-dev libspdlog-dev libfmt-dev libcli11-dev libssl-dev libsystemd-dev libidn-dev libutf8proc-dev libpq-dev
  libpam0g-dev libldap-dev
  # tests: the frameworks, PostgreSQL (with pgbench and psql), and the drivers that talk through the broker
  libgtest-dev postgresql-15 postgresql-client-15
  slapd libpam-wrapper
  systemd  # for systemd-analyze
  python3 python3-pytest python3-psycopg python3-psycopg2 python3-asyncpg openssl
  # the extension: PGXS, and pgTAP with its runner
  postgresql-server-dev-15 postgresql-15-pgtap libtap-parser-sourcehandler-pgtap-perl
  # a migration tool, for the adoption of its history
  sqitch libdbd-pg-perl
  # the second compiler with its fuzzer, and the checks of style
  clang-14 libclang-rt-14-dev clang-format-14 clang-tidy-14
  # PostgreSQL's own parser, for the fuzzer of what the broker reads in SQL
  libpg-query-dev
)

if [ "${1:-}" = --list ]; then
  printf '%s\n' "${packages[@]}"
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    printf 'deps: these packages are missing, and without root or sudo they cannot be installed:\n  %s\n' "${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

# Installing postgresql-15 for the first time would create and start a cluster of the system on port 5432. Nobody asked
# for one here: the tests and the demo make private clusters. A cluster that exists is left alone.
no_cluster=/etc/postgresql-common/createcluster.d/pgberth-deps.conf
# Nor should slapd be started as a service.
no_start=/usr/sbin/policy-rc.d
[ -e "$no_start" ] && no_start=
put_back() { "${as_root[@]}" rm -f "$no_cluster" ${no_start:+"$no_start"}; }
trap put_back EXIT
if [ -n "$no_start" ]; then
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$no_start" >/dev/null
  "${as_root[@]}" chmod 755 "$no_start"
fi
"${as_root[@]}" mkdir -p "$(dirname "$no_cluster")"
echo 'create_main_cluster = false' | "${as_root[@]}" tee "$no_cluster" >/dev/null

printf 'deps: installing %s\n' "${missing[*]}"
install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive
  apt-get install -y -q --no-install-recommends "${missing[@]}")
# The package lists may be old or absent: try with them, and fetch them only when that fails.
if ! "${install[@]}" </dev/null >/dev/null 2>&1; then
  "${as_root[@]}" apt-get update -q </dev/null
  "${install[@]}" </dev/null
fi
