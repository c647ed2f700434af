#!/usr/bin/env bash
# deploy/install.sh [PACKAGE ...]: installs the Debian packages named, else those of
# deploy/packages.txt, that are missing. Needs root or sudo only when something is missing.
# OLMOE_PACKAGES: another list in deploy/.
set -euo pipefail
cd "$(dirname "$0")"

wanted=("$@")
[ $# -gt 0 ] || mapfile -t wanted < <(grep -v '^#' "${OLMOE_PACKAGES:-packages.txt}")
missing=()
for package in "${wanted[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
echo "installing ${#missing[@]} Debian packages: ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
