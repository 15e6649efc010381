#!/usr/bin/env bash
# What `make check-tools` needs beside the packages of tests/deps.sh: Sqitch from Debian, and from npm dbmate and
# node-pg-migrate, and Liquibase, whose package there brings its own jar files. They go to build/tools.
set -euo pipefail
cd "$(dirname "$0")/../.."
place=$PWD/build/tools
mkdir -p "$place"

packages=(sqitch libdbd-pg-perl)
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)
command -v java >/dev/null || packages+=(default-jre-headless)
missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -q </dev/null
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" </dev/null
fi
if [ ! -d "$place/node_modules/node-liquibase" ]; then
  npm install --prefix "$place" --no-audit --no-fund --silent dbmate@2 node-pg-migrate@7 pg@8 node-liquibase@4.3
fi
