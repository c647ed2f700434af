#!/usr/bin/env bash
# The form of proto/ (buf lint), and that clients of the last version go on (buf breaking against
# proto/released.txtpb; CONTRIBUTING.md says how to renew it). Skips where npx is absent.
set -euo pipefail
cd "$(dirname "$0")/../proto"

command -v npx >/dev/null || { echo "buf: skipped, no npx"; exit 0; }
npx --yes @bufbuild/buf@1 lint
npx --yes @bufbuild/buf@1 breaking --against released.txtpb
