#!/usr/bin/env bash
# From a fresh Debian 12 machine to a patched router: installs what is missing,
# builds, serves the demo model of the repository, generates, patches, and shows
# what changed. Leaves the server running until Ctrl-C; --once ends after the tour.
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/demo_server.sh

once=false
case "${1:-}" in
  "") ;;
  --once) once=true ;;
  *) echo "usage: deploy/quickstart.sh [--once]" >&2; exit 2 ;;
esac

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || step() { printf '\n%s\n' "$*"; }
show() {
  printf '$ olmoectl'
  local word
  for word in "$@"; do
    case $word in
      *' '*) printf ' "%s"' "$word" ;;
      *) printf ' %s' "$word" ;;
    esac
  done
  printf '\n'
  build/release/bin/olmoectl "$@"
}

step "1. Install and build"
deploy/install.sh
deploy/build.sh release olmoe-server olmoectl

step "2. Serve the demo model"
listen=127.0.0.1:0 admin=127.0.0.1:0 http=127.0.0.1:0
$once || { listen=127.0.0.1:50051 admin=127.0.0.1:50052 http=127.0.0.1:9464; }
start_server build/release/bin deploy/demo --allow-inline-policy --listen $listen --admin-listen $admin --http-listen $http
show model

prompt="Once upon a time there was a little fox who"
generate() {
  show generate "$prompt" --max-new-tokens 60 --temperature 0.7 --seed 7
}
score() {
  show score --context "The little rabbit ran as fast as he" --continuation " could."
}

step "3. Generate and score with the model's own routing: 8 of 64 experts per token and layer"
generate
score

step "4. Patch all routers to one expert, while the server runs"
show patch --top-k 1 --policy-id one-expert
generate
score

step "5. Patch only the first four layers to 32 experts"
show patch --top-k 32 --layers 0-3 --policy-id wide-bottom
score

step "6. Unpatch: the model's own routing, and the first answer again"
show unpatch
generate
score

step "7. What Prometheus sees"
python3 - "http://127.0.0.1:$http_port/metrics" <<'PYTHON'
import sys
import urllib.request

metrics = urllib.request.urlopen(sys.argv[1]).read().decode()
wanted = ("olmoe_routing_generation", "olmoe_routing_swaps_total", "olmoe_tokens_total", "olmoe_kv_cache_used_bytes")
print("\n".join(line for line in metrics.splitlines() if line.startswith(wanted)))
PYTHON

$once && exit 0
step "The server goes on: gRPC $OLMOE_SERVER, admin $OLMOE_ADMIN, live page http://127.0.0.1:$http_port/. Ctrl-C ends it."
wait "$server"
