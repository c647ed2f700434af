#!/usr/bin/env bash
# tests/format.sh [--fix] [--all | BASE]: are the C++ files formatted as .clang-format says?
# Looks at those that differ from BASE (default: where the branch began), or at all.
#   --fix              formats them
#   OLMOE_TOOLS        folder of clang-format, build/venv/bin
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/changed_files.sh

fix=false all=false base=
for argument in "$@"; do
  case $argument in
    --fix) fix=true ;;
    --all) all=true ;;
    -*) echo "usage: tests/format.sh [--fix] [--all | BASE]" >&2; exit 2 ;;
    *) base=$argument ;;
  esac
done

format=${OLMOE_TOOLS:-build/venv/bin}/clang-format
[ -x "$format" ] || { echo "format.sh: $format is absent: tests/run.sh installs it" >&2; exit 2; }
if $all; then
  mapfile -t files < <(git ls-files '*.cc' '*.h')
else
  mapfile -t files < <(changed_files "$base" '*.cc' '*.h')
fi
[ ${#files[@]} -gt 0 ] || { echo "format: no file to look at"; exit 0; }

if $fix; then
  "$format" -i --style=file "${files[@]}"
elif ! "$format" --dry-run --Werror --style=file "${files[@]}"; then
  echo "format: tests/format.sh --fix formats them" >&2
  exit 1
else
  echo "format: ${#files[@]} files are well"
fi
