#!/usr/bin/env bash
# deploy/build.sh PRESET [TARGET ...]: configures and builds; see CMakePresets.json.
# OLMOE_CMAKE_ARGS: further arguments for the configuration.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
shift

# A translation unit that includes LibTorch takes up to 2 GB of memory.
memory_gib=$(awk '/MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo)
jobs=$(nproc)
[ $((memory_gib / 2)) -lt "$jobs" ] && jobs=$((memory_gib / 2))
[ "$jobs" -lt 1 ] && jobs=1

# Compiler caches hit across checkouts.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1

log=build/$preset.log
mkdir -p build
# shellcheck disable=SC2086
cmake --preset "$preset" ${OLMOE_CMAKE_ARGS:-} >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
cmake --build --preset "$preset" -j "$jobs" ${1:+--target "$@"}
