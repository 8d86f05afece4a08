#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh SOURCE BUILD WORK: see CMakeLists.txt.
set -euo pipefail
source=$1 build=$2 work=$3
here=$(cd "$(dirname "$0")" && pwd)
cli=$build/cli/loopscope
python=${PYTHON:-python3}

fail() {
  echo "consumer: $*" >&2
  exit 1
}

# The recording of the last `turns`: its turns, no stall, nothing dropped.
check_turns() {
  local binary=$1 recordings
  recordings=$(mktemp -d "$work/recordings.XXXXXX")
  LOOPSCOPE_DIR=$recordings "$binary" >"$work/turns.out" || fail "$binary failed"
  [ "$(cat "$work/turns.out")" = "" ] || fail "$binary: recording error: $(cat "$work/turns.out")"
  "$cli" report --format json -o "$work/turns.json" "$recordings"/*.loopscope
  "$python" - "$work/turns.json" <<'PY' || fail "$binary recorded something else"
import json, sys
process = json.load(open(sys.argv[1]))["processes"][0]
loop, = process["loops"]
assert process["state"] == "exited" and process["exit_status"] == 0, process["state"]
assert loop["name"] == "turns" and loop["backend"] == "epoll", loop
# Ten waits for the timer and the one without waiting; libev polls once more when a timeout in whole ms was too short.
assert 11 <= loop["iterations"] <= 40, loop["iterations"]
assert loop["polls"]["timeout"] == loop["iterations"] and loop["polls"]["nonblocking"] >= 1, loop["polls"]
assert loop["stalls"] == 0, loop["stalls"]
assert loop["busy_seconds"] < 0.2, loop["busy_seconds"]
tick, = loop["watchers"]
assert tick["name"] == "tick" and tick["invocations"] == 10, tick
assert process["findings"] == [], process["findings"]
PY
  rm -r "$recordings"
}

# hello prints its URL; the page and the metrics must be there.
check_hello() {
  local binary=$1 url=""
  stdbuf -oL "$binary" >"$work/hello.out" 2>&1 </dev/null &
  local pid=$!
  for _ in $(seq 100); do
    url=$(grep -oE 'http://[0-9.]+:[0-9]+' "$work/hello.out" | head -1) || true
    if [ -n "$url" ]; then break; fi
    sleep 0.05
  done
  local body=""
  if [ -n "$url" ]; then body=$(curl -s --max-time 5 "$url/metrics") || true; fi
  kill "$pid" 2>/dev/null
  wait "$pid" 2>/dev/null || true
  [ -n "$url" ] || fail "$binary printed no URL: $(cat "$work/hello.out")"
  grep -q '^loopscope_iterations_total{' <<<"$body" || fail "$binary: no loopscope_iterations_total in $url/metrics"
}

rm -rf "$work/static" "$work/shared" "$work/shared-build"
mkdir -p "$work"
cmake --install "$build" --prefix "$work/static" >/dev/null
cmake -S "$source" -B "$work/shared-build" -G Ninja -DBUILD_SHARED_LIBS=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo \
  -DLOOPSCOPE_BUILD_TESTS=OFF -DLOOPSCOPE_BUILD_EXAMPLES=OFF -DLOOPSCOPE_PAGE_DIR="$build/webui/page" \
  -DCMAKE_INSTALL_PREFIX="$work/shared" >/dev/null
cmake --build "$work/shared-build" >"$work/shared-build.log" || { tail -40 "$work/shared-build.log"; fail "the shared build failed"; }
cmake --install "$work/shared-build" >/dev/null

for kind in static shared; do
  prefix=$work/$kind
  libdir=$(dirname "$(find "$prefix" -name 'libloopscope.*' -print -quit)")
  export LD_LIBRARY_PATH=$libdir
  export PKG_CONFIG_PATH=$libdir/pkgconfig
  "$prefix/bin/loopscope" --version >/dev/null || fail "the installed command does not start"
  if grep -q '^LOOPSCOPE_HARDENING:BOOL=ON' "$build/CMakeCache.txt"; then
    "$python" "$here/../security/hardening_test.py" --installed "$prefix" || fail "what is installed ($kind) is not hardened"
  fi

  # find_package
  cmake -S "$here/cmake" -B "$work/$kind-cmake" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" -DEXAMPLES="$source/examples" \
    -DLOOPSCOPE_INCLUDE="$prefix/include" >/dev/null
  cmake --build "$work/$kind-cmake" >"$work/$kind-cmake.log" || { tail -40 "$work/$kind-cmake.log"; fail "find_package ($kind) failed"; }
  check_turns "$work/$kind-cmake/turns"
  check_hello "$work/$kind-cmake/hello_cpp"
  check_hello "$work/$kind-cmake/hello_c"
  if ldd "$work/$kind-cmake/turns" | grep -qE 'prometheus|ssl'; then fail "loopscope::loop drags the inspector's libraries in"; fi

  # pkg-config
  # shellcheck disable=SC2046
  cc "$here/turns.c" -o "$work/$kind-pc" $(pkg-config --define-variable=prefix="$prefix" \
    --define-variable=libdir="$libdir" --define-variable=includedir="$prefix/include" --cflags --libs loopscope)
  check_turns "$work/$kind-pc"
  # shellcheck disable=SC2046
  cc "$source/examples/hello/hello.c" -o "$work/$kind-pc-hello" $(pkg-config --define-variable=prefix="$prefix" \
    --define-variable=libdir="$libdir" --define-variable=includedir="$prefix/include" --cflags --libs loopscope-inspector)
  check_hello "$work/$kind-pc-hello"

  # libev before loopscope, the order that hides ev_run from us: turns and outside time must come out the same.
  extra=()
  if [ $kind = static ]; then extra=(-lstdc++ -ldl); fi
  cc "$here/turns.c" -o "$work/$kind-reversed" -I"$prefix/include" -L"$libdir" -lev -lloopscope "${extra[@]}"
  check_turns "$work/$kind-reversed"
done

# libev linked statically into the program.
export LD_LIBRARY_PATH=""
cc "$here/turns.c" -o "$work/static-libev" -I"$work/static/include" "$(find "$work/static" -name libloopscope.a)" \
  "$(cc -print-file-name=libev.a)" -lstdc++ -ldl -lm
check_turns "$work/static-libev"
# Nothing shared at all: the wait calls have no other definition behind ours.
if [ -e "$(cc -print-file-name=libc.a)" ]; then
  cc -static "$here/turns.c" -o "$work/all-static" -I"$work/static/include" "$(find "$work/static" -name libloopscope.a)" \
    "$(cc -print-file-name=libev.a)" -lstdc++ -lm 2>"$work/all-static.log" || { cat "$work/all-static.log"; fail "the static link failed"; }
  check_turns "$work/all-static"
fi
echo "consumer: ok"
