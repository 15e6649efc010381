#!/bin/bash
# Fetches the newest packaged peers, PgBouncer and Odyssey, from Debian unstable into build/peers: `make bench-peers`.
#
# Nothing is installed. The packages and the libraries that they need are unpacked in build/peers/root, and the wrappers
# build/peers/pgbouncer and build/peers/odyssey run them with the loader and the C library that came along, so they
# work on an older Debian. apt does the fetching, with state of its own, and checks the archive's signature. The mirror
# is the one that this machine's apt already uses.
#
# Done before? Then it only says so; `--refresh` fetches again.
set -euo pipefail

repository=$(cd "$(dirname "$0")/../.." && pwd)
peers=$repository/build/peers
wanted=(pgbouncer odyssey)

versions_of() {
  local peer
  for peer in "${wanted[@]}"; do
    printf '%s: ' "$peer"
    "$1/$peer" --version 2>/dev/null | head -n 1
  done
}

if [ "${1:-}" != --refresh ] && [ -e "$peers/complete" ] && versions_of "$peers"; then
  echo "already in $peers (--refresh fetches them again)"
  exit 0
fi

fresh=$peers.new
rm -rf "$fresh"
mkdir -p "$fresh"/apt/state/lists/partial "$fresh"/apt/cache/archives/partial "$fresh"/packages "$fresh"/root
: > "$fresh/apt/status"  # an empty status file: no package counts as installed, so libc6 is fetched too

# One apt call with its own world. The sandbox user could not enter a clone under /root, hence root or whoever we are.
own_apt() {
  local tool=$1
  shift
  "$tool" -o Dir::State="$fresh/apt/state" -o Dir::State::status="$fresh/apt/status" -o Dir::Cache="$fresh/apt/cache" \
    -o Dir::Etc::sourcelist="$fresh/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null -o APT::Sandbox::User="$(id -un)" \
    -o APT::Install-Recommends=0 -o Acquire::Languages=none -o Acquire::Retries=3 \
    -o Debug::NoLocking=1 "$@"
}

# The mirrors in this machine's sources, in either format (apt reads them for us); security archives have no unstable.
# shellcheck disable=SC2016  # the dollars are apt's
mirrors() {
  apt-get indextargets --format '$(SITE) $(RELEASE)' 'Created-By: Packages' | grep -v -- -security |
    awk '$1 ~ /^(https?|file|copy):/ { print $1 }' | awk '!seen[$0]++'
}

key=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e "$key" ] || { echo "peers.sh: $key is missing: apt-get install debian-archive-keyring" >&2; exit 1; }

found=
for mirror in $(mirrors); do
  echo "deb [signed-by=$key] $mirror sid main" > "$fresh/apt/sources.list"
  if own_apt apt-get -qq update > "$fresh/update.log" 2>&1 && own_apt apt-cache show "${wanted[@]}" > /dev/null 2>&1; then
    found=$mirror
    break
  fi
done
if [ -z "$found" ]; then
  echo "peers.sh: no mirror in this machine's apt sources carries Debian unstable; the last answer was:" >&2
  cat "$fresh/update.log" >&2 2>/dev/null || echo "(none: apt has no sources)" >&2
  exit 1
fi

# Of everything that the packages depend on, the shared libraries and the C library are enough to run them.
mapfile -t packages < <(own_apt apt-get install --simulate "${wanted[@]}" |
  awk '$1 == "Inst" { print $2 }' | grep -E "^(lib|zlib1g|$(IFS='|'; echo "${wanted[*]}")\$)" | grep -v perl)
(cd "$fresh/packages" && own_apt apt-get -qq download "${packages[@]}")
for package in "$fresh"/packages/*.deb; do dpkg-deb --extract "$package" "$fresh/root"; done

for peer in "${wanted[@]}"; do
  program=$(cd "$fresh/root" && find usr/sbin usr/bin -name "$peer" -type f)
  [ -n "$program" ] || { echo "peers.sh: the package $peer holds no program of that name" >&2; exit 1; }
  cat > "$fresh/$peer" <<WRAPPER
#!/bin/sh
# Runs $peer of Debian unstable with its own loader and libraries; made by tests/bench/peers.sh.
root=\$(dirname "\$(readlink -f "\$0")")/root
libraries=\$(dirname "\$(find "\$root/usr/lib" -name libc.so.6 | head -n 1)")
exec "\$(find "\$libraries" -name 'ld-linux*' | head -n 1)" --library-path "\$libraries" "\$root/$program" "\$@"
WRAPPER
  chmod 755 "$fresh/$peer"
done

versions_of "$fresh"
rm -rf "$fresh/packages" "$fresh/apt" "$fresh/update.log"
chmod -R a+rX "$fresh"
touch "$fresh/complete"
rm -rf "$peers"
mv "$fresh" "$peers"
echo "peers are in $peers"
