#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Sees to it that what a make target needs is there.
#
#   need.sh PACKAGE...              Debian packages: installs the missing ones, prints nothing if there are none
#   need.sh --tool T... PACKAGE     only if a command T is missing from PATH
#   need.sh --tool T... --unpack P  likewise, but unpacks package P below build/tools instead of installing it: for servers
#                                   whose package would start a service on the machine
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
tools="$root/build/tools"
as_root=()
if [ "$(id -u)" -ne 0 ]; then as_root=(sudo); fi

wanted_tools=()
packages=()
unpack=()
while [ $# -gt 0 ]; do
  case "$1" in
    --tool) wanted_tools+=("$2"); shift 2 ;;
    --unpack) unpack+=("$2"); shift 2 ;;
    *) packages+=("$1"); shift ;;
  esac
done

if [ ${#wanted_tools[@]} -gt 0 ]; then
  missing=no
  for tool in "${wanted_tools[@]}"; do
    PATH="$PATH:$tools/usr/bin:$tools/usr/sbin" command -v "$tool" >/dev/null || missing=yes
  done
  if [ $missing = no ]; then exit 0; fi
fi

installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# A command that came from elsewhere (a newer compiler, node from its makers) serves as well as Debian's package.
provided() {
  case "$1" in
    g++ | cmake | curl | strace | python3 | clang-format | clang-tidy | shellcheck | npm | ccache) command -v "$1" >/dev/null ;;
    ninja-build) command -v ninja >/dev/null ;;
    nodejs) command -v node >/dev/null ;;
    pkg-config) command -v pkg-config >/dev/null ;;
    *) false ;;
  esac
}

missing=()
for package in "${packages[@]}"; do
  if ! provided "$package" && ! installed "$package"; then missing+=("$package"); fi
done
if [ ${#missing[@]} -eq 0 ] && [ ${#unpack[@]} -eq 0 ]; then exit 0; fi

if ! command -v apt-get >/dev/null; then
  echo "loopscope: this needs Debian's packages: ${missing[*]} ${unpack[*]}" >&2
  echo "loopscope: apt-get is not here; install their equivalents and run again" >&2
  exit 1
fi
echo "loopscope: installing from Debian: ${missing[*]} ${unpack[*]}" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
run() {
  if ! "$@" >"$log" 2>&1; then
    cat "$log" >&2
    echo "loopscope: '$*' failed" >&2
    exit 1
  fi
}
# Once an hour is enough: a make target may come here many times.
stamp="$root/build/.package-lists"
if [ -z "$(find "$stamp" -mmin -60 2>/dev/null)" ]; then
  run "${as_root[@]}" apt-get update
  mkdir -p "$root/build"
  touch "$stamp"
fi
if [ ${#missing[@]} -gt 0 ]; then
  run "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
fi
for package in "${unpack[@]}"; do
  mkdir -p "$tools"
  (cd "$tools" && run apt-get download "$package" && for deb in "${package}"_*.deb; do dpkg-deb -x "$deb" . && rm "$deb"; done)
done
