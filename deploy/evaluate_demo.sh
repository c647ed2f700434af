#!/usr/bin/env bash
# Measures routing policies on the demo model and prints the table of
# docs/guide/evaluation.md: starts a server, builds a trimmed calibration from training text,
# evaluates held-out text under k = 1..64, top-p and Benjamini-Hochberg, and stops the server.
# What follows the script's name goes to `olmoectl eval`: --limit 32 for a trial, --resume FILE
# to go on later, --format csv.
#   OLMOE_EVAL_CORPUS  folder with stories_calibration.txt and stories_heldout.txt
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/demo_server.sh

bin=${OLMOE_BIN_DIR:-build/release/bin}
model=${OLMOE_EVAL_MODEL:-deploy/demo}
corpus=${OLMOE_EVAL_CORPUS:-deploy/demo/data}
for file in "$corpus/stories_calibration.txt" "$corpus/stories_heldout.txt"; do
  [ -r "$file" ] || { echo "evaluate_demo.sh: $file is absent (OLMOE_EVAL_CORPUS)" >&2; exit 2; }
done

start_server "$bin" "$model" --allow-inline-policy --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 \
  --http-listen 127.0.0.1:0

# The null of the p-values: router logits of text that the model was trained on, the eight
# highest of every token left out.
"$bin/olmoectl" calibration build stories-t8 --trim-top 8 \
  --texts "$corpus/stories_calibration.txt" >&2

"$bin/olmoectl" eval --data "$corpus/stories_heldout.txt" --window 256 --stride 256 \
  --format markdown \
  --policy native \
  --policy top-k=1 --policy top-k=2 --policy top-k=4 --policy k-8@top-k=8 --policy top-k=16 \
  --policy top-k=64 \
  --policy top-p=0.3 --policy top-p=0.5 \
  --policy bh-0-05@bh=0.05,calibration=stories-t8 \
  --policy bh-0-12@bh=0.12,calibration=stories-t8 \
  --policy bh-0-3@bh=0.3,calibration=stories-t8 \
  "$@"
