#!/usr/bin/env bash
# Measures which experts and layers the demo model needs, and prints the table of
# docs/guide/evaluation.md: starts a server, counts experts and plans a budget on training text,
# evaluates held-out text with single layers at k = 1, with experts banned or drawn at random, and
# with the planned budget, and stops the server. Flags go to selection_table.py: --limit 32 for a
# trial, --resume FILE to go on later.
#   OLMOE_EVAL_CORPUS  folder with stories_calibration.txt and stories_heldout.txt
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/demo_server.sh

bin=${OLMOE_BIN_DIR:-build/release/bin}
model=${OLMOE_EVAL_MODEL:-deploy/demo}
corpus=${OLMOE_EVAL_CORPUS:-deploy/demo/data}

start_server "$bin" "$model" --allow-inline-policy --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 \
  --http-listen 127.0.0.1:0
python3 deploy/selection_table.py --olmoectl "$bin/olmoectl" \
  --plan-on "$corpus/stories_calibration.txt" --data "$corpus/stories_heldout.txt" "$@"
