#!/usr/bin/env bash
# tests/tidy.sh [BASE]: what clang-tidy finds in the product's C++ files that differ from BASE
# (default: where the branch began), by the allow-list in .clang-tidy.
#   OLMOE_TIDY_SECONDS  after which it stops looking, 180; what it has found by then counts
#   OLMOE_TOOLS         folder of clang-tidy, build/venv/bin
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/changed_files.sh

tidy=${OLMOE_TOOLS:-build/venv/bin}/clang-tidy
[ -x "$tidy" ] || { echo "tidy.sh: $tidy is absent: tests/run.sh installs it" >&2; exit 2; }
mapfile -t files < <(changed_files "${1:-}" 'server/*.cc' 'client/*.cc' 'bench/*.cc')
[ ${#files[@]} -gt 0 ] || { echo "tidy: no file to look at"; exit 0; }

# compile_commands.json, and the headers that are made from proto/; nothing else is built.
deploy/build.sh release olmoe_generated

seconds=${OLMOE_TIDY_SECONDS:-180}
log=build/tidy.log
echo "tidy: ${#files[@]} files"
rc=0
# An exit code above 1 is not clang-tidy's: it was killed, and xargs ends with 124.
look='rc=0
  "$0" -p build/release --quiet --extra-arg=-Wno-unknown-warning-option "$1" || rc=$?
  [ $rc -le 1 ] || rc=255
  exit $rc'
printf '%s\0' "${files[@]}" |
  timeout --preserve-status "$seconds" xargs -0 -n 1 -P "$(nproc)" bash -c "$look" "$tidy" \
    >"$log" 2>&1 || rc=$?
# The names of the checks that .clang-tidy allows, and not what clang itself says.
checks='\[(bugprone|cppcoreguidelines|google|misc|modernize|performance|readability)-'
if grep -q -E " (warning|error): .*$checks" "$log"; then
  cat "$log" >&2
  exit 1
fi
case $rc in
  0) ;;
  123) echo "tidy: what clang cannot read, such as LibTorch's headers, was not looked at" ;;
  143) echo "tidy: stopped after $seconds s; nothing found in what was looked at" ;;
  *) cat "$log" >&2; echo "tidy: ended with $rc" >&2; exit 1 ;;
esac
