#!/usr/bin/env bash
# What `make check-drivers` needs beside the packages of tests/deps.sh: a JDK with PostgreSQL's JDBC driver, and node with
# two of its drivers, which go to build/drivers.
set -euo pipefail
cd "$(dirname "$0")/../../.."
place=$PWD/build/drivers
mkdir -p "$place/node"

packages=(default-jdk-headless libpostgresql-jdbc-java libhikaricp-java libslf4j-java)
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)
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
if [ ! -d "$place/node/node_modules/postgres" ]; then
  npm install --prefix "$place/node" --no-audit --no-fund --silent pg@8 pg-copy-streams@6 postgres@3
fi
