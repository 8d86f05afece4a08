#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# run.sh DIRECTORY SECONDS [TARGET...]: runs the fuzzers that were built in DIRECTORY (all of them,
# or fuzz_TARGET), each for so long, as many at once as there are cores. The kept corpus is replayed
# first, and begun from. Fails on a crash, a leak, a promise not kept (must.h), an input that takes
# longer than 25 s or more than 2 GiB; then it prints how to repeat it. SECONDS 0: replay only.
#
# SEED=N: the same inputs in the same order every time, as far as the time allows: what `make test`
# takes, so that only a change can break it. Without, others each time.
#
# Nothing is written to the repository: finds go to DIRECTORY/corpus, what fails to
# DIRECTORY/crashes, what was printed to DIRECTORY/TARGET.log.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
build="$(cd "$1" && pwd)"
seconds="$2"
shift 2
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
  for fuzzer in "$build"/fuzz_*; do targets+=("${fuzzer##*/fuzz_}"); done
fi
export ASAN_OPTIONS="abort_on_error=0:detect_leaks=1:allocator_may_return_null=1:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="print_stacktrace=1:${UBSAN_OPTIONS:-}"

run_one() {
  local target="$1" fuzzer="$build/fuzz_$1" kept="$here/corpus/$1" found="$build/corpus/$1"
  local limits=(-timeout=25 -rss_limit_mb=2048 -malloc_limit_mb=2048 -max_len=4096 -print_final_stats=1
    "-artifact_prefix=$build/crashes/$target-")
  if [ -n "${SEED:-}" ]; then limits+=("-seed=$SEED"); fi
  if [ -e "$here/$target.dict" ]; then limits+=("-dict=$here/$target.dict"); fi
  mkdir -p "$found" "$build/crashes"
  # So that a fuzzer that stands still ends too.
  local patience=$((seconds + 300))
  timeout -k 10 "$patience" "$fuzzer" "${limits[@]}" -runs=0 "$kept" </dev/null >"$build/$target.log" 2>&1 || return 1
  if [ "$seconds" -gt 0 ]; then
    timeout -k 10 "$patience" "$fuzzer" "${limits[@]}" -max_total_time="$seconds" "$found" "$kept" \
      </dev/null >>"$build/$target.log" 2>&1 || return 1
  fi
}

failed=()
running=()
reap() {
  local target="${running[0]%%:*}" pid="${running[0]##*:}" artifact
  running=("${running[@]:1}")
  if wait "$pid"; then
    # The line that docs/reliability.md is renewed from (scripts/reliability.py).
    echo "reliability: fuzz-${target//_/-}: $(sed -n 's/^stat::number_of_executed_units: *//p' "$build/$target.log" | awk '{n += $1} END {print n + 0}') inputs in ${seconds} s," \
      "$(sed -n 's/.*cov: \([0-9]*\).*/\1/p' "$build/$target.log" | tail -1) edges"
    return
  fi
  failed+=("$target")
  echo "FAILED fuzz $target:"
  tail -40 "$build/$target.log"
  artifact="$(sed -n 's/.*Test unit written to //p' "$build/$target.log" | tail -1)"
  if [ -n "$artifact" ]; then echo "To repeat it: $build/fuzz_$target $artifact"; fi
}
for target in "${targets[@]}"; do
  if [ ! -x "$build/fuzz_$target" ]; then
    echo "there is no $build/fuzz_$target: build the target \"fuzzers\"" >&2
    exit 2
  fi
  if [ ! -d "$here/corpus/$target" ]; then
    echo "there is no corpus $here/corpus/$target: a fuzzer keeps what it once found" >&2
    exit 2
  fi
  while [ ${#running[@]} -ge "$(nproc)" ]; do reap; done
  run_one "$target" &
  running+=("$target:$!")
done
while [ ${#running[@]} -gt 0 ]; do reap; done
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}"
  exit 1
fi
