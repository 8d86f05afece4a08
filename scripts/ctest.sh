#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# scripts/ctest.sh BUILD [CTEST-OPTION...]: runs the tests of a build tree. A few that fail among all the others get a second
# look: each is run three times more, alone, and has to pass every time. If it does, the run goes on and names it at its end as
# unsteady: a bug of the test or of what it tests, to be mended, but not this change's. No second look for what a sanitizer
# reports (a race that shows once is a race), for more than three tests, or with STRICT=1.
#
# ROW=NAME: prints how many tests passed for that row of docs/reliability.md (scripts/reliability.py).
set -uo pipefail
build=$1
shift
count_passed() {
  [ -z "${ROW:-}" ] || echo "reliability: $ROW: $(ctest --test-dir "$build" -N "$@" | sed -n 's/^Total Tests: //p') tests"
}
ctest --test-dir "$build" --output-on-failure --no-tests=error "$@" && count_passed "$@" && exit 0
status=$?

failed="$build/Testing/Temporary/LastTestsFailed.log"
log="$build/Testing/Temporary/LastTest.log"
[ -z "${STRICT:-}" ] && [ -s "$failed" ] && [ "$(wc -l < "$failed")" -le 3 ] || exit "$status"
if grep -qE 'Sanitizer: |: runtime error: ' "$log"; then exit "$status"; fi

names=$(cut -d: -f2- "$failed" | paste -sd' ')
echo "A second look at: $names"
ctest --test-dir "$build" --rerun-failed --output-on-failure -j 1 --repeat until-fail:3 || exit "$status"
echo "UNSTEADY: failed among the others, passed three times of three alone (its first output is above): $names"
count_passed "$@"
