#!/usr/bin/env bash
# Runs a command of this repository beside another PostgreSQL: `tests/other_version.sh 18 sid python3 -B tests/sql/run.py` (as
# root; `make check-postgresql` and `make check-libpq`).
#
# A Debian of that suite with that PostgreSQL, its psql and libpq is unpacked into build/postgresql-VERSION by debootstrap and
# entered by chroot; the extension is built there, against its own server. The broker is the one of this machine, with the
# libraries that it uses. The second call needs no network. Nothing is installed, and the mounts end with the command.
set -euo pipefail

version=$1 suite=$2
shift 2
repository=$(cd "$(dirname "$0")/.." && pwd)
root=$repository/build/postgresql-$version
[ "$(id -u)" -eq 0 ] || { echo "other_version.sh: chroot needs root" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "other_version.sh: apt-get install debootstrap" >&2; exit 1; }

packages=postgresql-$version,postgresql-server-dev-$version,postgresql-$version-pgtap
packages+=,libtap-parser-sourcehandler-pgtap-perl,libpq-dev,make,g++,python3,python3-pytest,python3-psycopg,openssl

# A folder that was made with fewer packages is made anew.
if [ "$(cat "$root/complete" 2>/dev/null)" != "$packages" ]; then
  # shellcheck disable=SC2016  # the dollars are apt's
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -E '^https?:' | grep -v security | head -n 1)
  rm -rf "$root"
  mkdir -p "$repository/build"
  debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror" >"$root.log" 2>&1 ||
    { tail -n 20 "$root.log" >&2; exit 1; }
  echo "$packages" >"$root/complete"
fi

# The sources as they are here, and the broker with its loader.
rm -rf "$root/pgberth"
mkdir -p "$root/pgberth/broker-of-host"
(cd "$repository" && git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$root/pgberth")
broker=$root/pgberth/broker-of-host
cp -L "$repository/build/pgberth" "$broker/program"
ldd "$broker/program" | grep -oE '/[^ ]+' | xargs cp -L -t "$broker"
cat >"$broker/pgberth" <<'WRAPPER'
#!/bin/sh
# The host's broker with the host's libraries.
exec /pgberth/broker-of-host/ld-linux-x86-64.so.2 --library-path /pgberth/broker-of-host /pgberth/broker-of-host/program "$@"
WRAPPER
chmod -R a+rX "$root/pgberth"
chmod a+x "$broker/pgberth" "$broker/program" "$broker/ld-linux-x86-64.so.2"

export root version
unshare --mount --fork bash -euc '
  mount -t proc proc "$root/proc"
  mount --bind /dev "$root/dev"
  exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 PGBERTH=/pgberth/broker-of-host/pgberth \
    PG_BIN="/usr/lib/postgresql/$version/bin" PG_CONFIG="/usr/lib/postgresql/$version/bin/pg_config" \
    bash -c '\''cd /pgberth && exec "$@"'\'' bash "$@"' bash "$@"
