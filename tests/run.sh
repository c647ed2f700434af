#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test. A second run rebuilds only
# what changed.
#   tests/run.sh           release build, all tests; then the parts without gRPC and
#                          LibTorch again, by clang under ThreadSanitizer
#   tests/run.sh release   only the first, tests/run.sh tsan only the second
#   tests/run.sh asan      all tests under AddressSanitizer and UBSan
set -euo pipefail
cd "$(dirname "$0")/.."
cmake_args="-DOLMOE_WERROR=ON -DOLMOE_E2E_PYTHON=$PWD/build/venv/bin/python"

run_preset() {
  echo "== $1: build"
  if [ "$1" = release ]; then
    OLMOE_CMAKE_ARGS="$cmake_args -DOLMOE_ODR=ON" deploy/build.sh "$1"
    echo "== $1: one name, one type in all programs?"
    deploy/build.sh "$1" odr
  else
    OLMOE_CMAKE_ARGS=$cmake_args deploy/build.sh "$1"
  fi
  echo "== $1: test"
  ctest --preset "$1" --no-tests=error -j "$(nproc)"
}

python_tools() {
  local stamp=build/venv/requirements.sha256
  local wanted
  wanted=$(sha256sum tests/e2e/requirements.txt)
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && return
  echo "== Python packages of the tests and checks"
  python3 -m venv --clear build/venv
  build/venv/bin/pip install --quiet --disable-pip-version-check -r tests/e2e/requirements.txt
  echo "$wanted" >"$stamp"
}

# The Python client, as pip installs it for its users; again when what it is made of has
# changed.
python_client() {
  local stamp=build/venv/python_client.sha256
  local wanted
  wanted=$(find client/python/pyproject.toml client/python/setup.py client/python/README.md \
    client/python/src proto -type f ! -name '*_pb2*' ! -name '*.pyc' ! -path '*.egg-info/*' \
    -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
  [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && return
  echo "== Python client"
  # --no-deps, --no-build-isolation: all that it needs is in requirements.txt.
  build/venv/bin/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps \
    --force-reinstall ./client/python
  echo "$wanted" >"$stamp"
}

# The newest that Debian's Go can build.
grpcurl() {
  [ -x build/tools/grpcurl ] && return
  command -v go >/dev/null || deploy/install.sh golang-go
  echo "== grpcurl"
  GOBIN=$PWD/build/tools go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.8.9
}

# Quick, and before anything is compiled.
checks() {
  echo "== format"
  tests/format.sh --all
  echo "== API"
  tests/api.sh
  echo "== clang-tidy"
  OLMOE_CMAKE_ARGS=$cmake_args tests/tidy.sh
}

deploy/install.sh
mapfile -t test_packages < <(grep -v '^#' tests/packages.txt)
deploy/install.sh "${test_packages[@]}"
mkdir -p build
case "${1:-all}" in
  all)
    python_tools
    checks
    python_client
    grpcurl
    run_preset tsan
    run_preset release
    ;;
  tsan) run_preset tsan ;;
  release | asan | dev)
    python_tools
    python_client
    grpcurl
    run_preset "$1"
    ;;
  *)
    echo "usage: tests/run.sh [release|tsan|asan|dev]" >&2
    exit 2
    ;;
esac
