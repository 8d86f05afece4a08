#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Takes the pictures of docs/images anew: those that the browser's stories take of the real demo.
#
#   screenshots.sh BUILD       needs the demo, the command, the probe, and what `ctest -R 'browser\.(copy|install)'` installs
set -euo pipefail

build=$(cd "$1" && pwd)
images=$(cd "$(dirname "$0")/../docs/images" && pwd)
# What is in the pictures: paths that could be anybody's.
recordings=/dev/shm/loopscope-pictures
taken=$(mktemp -d)
rm -rf "$recordings"
mkdir -m 700 "$recordings"
trap 'rm -rf "$taken" "$recordings"' EXIT

cd "$build/tests/browser/story"
export PATH="$build/examples:$PATH" LOOPSCOPE_DEMO=demo LOOPSCOPE_BIN="$build/cli/loopscope"
export LOOPSCOPE_DIR="$recordings" SCREENSHOTS="$taken"
node --test story.test.mjs
node --test --test-name-pattern='a narrow screen' inspector.test.mjs

for picture in overview overview-stalled overview-dark loop loop-dark over-time watchers descriptors findings killed take-away narrow-overview; do
  cp "$taken/$picture.png" "$images/"
  bytes=$(stat -c %s "$images/$picture.png")
  [ "$bytes" -le 200000 ] || echo "$picture.png has $bytes bytes: more than a page should have to load" >&2
done
