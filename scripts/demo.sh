#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# The demo as `make demo` shows it: under `loopscope run`, so that the page has the demo's watchers (it links the library) and
# where its descriptors come from (the probe), and goes on showing it after its end. Ctrl-C ends all of it.
#
#   demo.sh BUILD [OPTIONS OF THE DEMO]      LISTEN: address and port of the page, default 127.0.0.1:9123
set -euo pipefail

build=$1
shift
listen=${LISTEN:-127.0.0.1:9123}

# In a process group of its own, so that Ctrl-C comes to this script only: the command would leave it to the demo, and then
# wait for another one.
set -m
"$build/cli/loopscope" run --listen "$listen" --linger forever --summary none -- \
  "$build/examples/demo" --no-inspector --page "http://$listen/" "$@" &
run=$!
set +m

# shellcheck disable=SC2317  # the trap calls it
stop() {
  trap '' INT TERM HUP
  # To the demo, which takes its leave; once it is gone, to the page.
  while kill -TERM "$run" 2>/dev/null; do sleep 0.5; done
}
trap stop INT TERM HUP
status=0
wait "$run" || status=$?
# 130 and the like: it is us who were told to end.
if [ "$status" -gt 128 ] && ! kill -0 "$run" 2>/dev/null; then status=0; fi
exit "$status"
