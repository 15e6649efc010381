#!/usr/bin/env bash
# Applies the migrations of this directory in order: a plain loop over psql. Run it again after whatever happened.
#
#   DATABASE_POOLER_URL=postgresql://... ./migrate.sh [FROM [TO]]
#
# What is applied is passed over, what was interrupted goes on at its step. Of failures only those are tried again that pass by
# themselves: somebody else migrates (MG006), a lock was not to be had (MG010, 55P03), a deadlock (40P01).
set -euo pipefail
cd "$(dirname "$0")"
: "${DATABASE_POOLER_URL:?the address of the database}"
from=${1:-0000} to=${2:-9999}
attempts=5

# By this name the failure of a run is told to be ours, and not that of somebody else who migrates.
export PGAPPNAME="migrate.sh $HOSTNAME $$"
sql() { psql -XAtq -v ON_ERROR_STOP=1 -d "$DATABASE_POOLER_URL" "$@"; }

files=()
for file in [0-9]*.sql; do
  version=${file%%_*}
  [[ $version < $from || $version > $to ]] || files+=("$file")
done
for file in "${files[@]}"; do  # what is pending is visible to everybody before it begins
  MIGRATION=$file sql -v version="${file%%_*}" -v name="${file%.sql}" <<'SQL'
\set body `cat "$MIGRATION"`
SELECT berth.plan(:'version', :'name', berth.checksum(:'body')) \g /dev/null
SQL
done
for file in "${files[@]}"; do
  for ((attempt = 1; ; attempt++)); do
    if errors=$(sql -v VERBOSITY=verbose -f "$file" 2>&1 >/dev/null); then
      echo "ok     $file"
      break
    fi
    echo "$errors" >&2
    # The last one is the error; what came before are notices. What failed is kept, with the reason, and a run in steps may be resumed
    # at once.
    state=$(grep -oE ':  [0-9A-Z]{5}:' <<<"$errors" | tail -n 1) || state=:
    state=${state//[: ]/}
    if [[ $state == ????? && $state != MG00[6-8] ]]; then
      sql -v version="${file%%_*}" -v state="$state" -v text="${errors:0:10000}" <<'SQL' || true
SELECT berth.migration_failed(:'version', :'state', :'text') \g /dev/null
SQL
    fi
    if ((attempt == attempts)) || [[ $state != @(MG006|MG010|55P03|40P01) ]]; then
      echo "failed $file" >&2
      exit 1
    fi
    sleep $((attempt * 2))
  done
done
