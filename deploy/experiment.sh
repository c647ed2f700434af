#!/usr/bin/env bash
# An A/B experiment of an hour in a minute: serves the demo model, splits units between the
# model's own routing and another policy, sends them traffic of which a part is scored, and
# prints what each arm did and, at the end, in what they differ. Where Prometheus is installed, one scrapes the server every
# second by the rules of deploy/observability, and what the dashboards show is printed too;
# --keep DIR leaves its data for Grafana.
#   OLMOE_EXPERIMENT_SECONDS  of traffic, 60
#   OLMOE_EVAL_CORPUS         folder with stories_calibration.txt; without: top-p
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/demo_server.sh

keep=
case "${1:-}" in
  "") ;;
  --keep) keep=${2:?"--keep needs a folder"} ;;
  *) echo "usage: deploy/experiment.sh [--keep DIR]" >&2; exit 2 ;;
esac

bin=${OLMOE_BIN_DIR:-build/release/bin}
seconds=${OLMOE_EXPERIMENT_SECONDS:-60}
corpus=${OLMOE_EVAL_CORPUS:-deploy/demo/data}
rules=deploy/observability
prometheus=

step() { printf '\n%s\n' "$*"; }

stop_all() {
  if [ -n "$prometheus" ]; then
    kill "$prometheus" 2>/dev/null || true
    wait "$prometheus" 2>/dev/null || true
  fi
  stop_server
}

# The committed configuration, with this server and an interval for a minute in place of an hour.
start_prometheus() {
  local folder=${keep:-$run_dir/prometheus}
  mkdir -p "$folder"
  cp "$rules/rules.yml" "$folder"
  sed -E -e "s/targets: \[.*\]/targets: [\"127.0.0.1:$http_port\"]/" \
    -e 's/(scrape|evaluation)_interval: .*/\1_interval: 1s/' "$rules/prometheus.yml" >"$folder/prometheus.yml"
  prometheus --config.file="$folder/prometheus.yml" --storage.tsdb.path="$folder/data" \
    --web.listen-address=127.0.0.1:0 2>"$run_dir/prometheus.log" &
  prometheus=$!
  until address=$(sed -n 's/.*msg="Listening on" address=\([0-9.:]*\).*/\1/p' "$run_dir/prometheus.log") &&
    [ -n "$address" ]; do
    kill -0 "$prometheus" 2>/dev/null || { cat "$run_dir/prometheus.log" >&2; exit 1; }
    sleep 0.1
  done
  # It looks for targets every five seconds only.
  local try
  for ((try = 0; try < 100; ++try)); do
    promtool query instant "http://$address" 'up == 1' 2>/dev/null | grep -q up && return
    sleep 0.2
  done
  echo "experiment.sh: Prometheus does not scrape 127.0.0.1:$http_port" >&2
  exit 1
}

step "1. Serve the demo model"
start_server "$bin" deploy/demo --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --http-listen 127.0.0.1:0
trap stop_all EXIT
if command -v prometheus >/dev/null && [ -r "$rules/prometheus.yml" ]; then
  start_prometheus
  echo "Prometheus at http://$address scrapes it every second"
fi

step "2. Half of the units stay with the model's own routing, half get another policy"
if [ -r "$corpus/stories_calibration.txt" ]; then
  head -c 50000 "$corpus/stories_calibration.txt" >"$run_dir/calibration.txt"
  "$bin/olmoectl" calibration build stories-t8 --trim-top 8 --texts "$run_dir/calibration.txt"
  candidate=(--bh 0.12,calibration=stories-t8)
else
  echo "$corpus/stories_calibration.txt is absent (OLMOE_EVAL_CORPUS): a rule that needs no calibration"
  candidate=(--top-p 0.5)
fi
# The control arm counts, without running it, what the candidate's rule would choose.
"$bin/olmoectl" patch --arm control --policy-id native "${candidate[@]}" --analyze \
  --arm candidate "${candidate[@]}" --ttl 1h --note "one hour in one minute" \
  --probe "Once upon a time" --require-change

step "3. $seconds s of traffic from many units"
"$bin/olmoectl" bench --prompts deploy/experiment_prompts.jsonl --duration "${seconds}s" -c 4 \
  --units 100000 --json-out "$run_dir/bench.json"

step "4. What the candidate's routers did differently"
"$bin/olmoectl" experts diff control candidate

step "5. What do the dashboards show?"
if [ -n "$prometheus" ]; then
  python3 deploy/experiment_report.py rules "http://$address"
else
  echo "Without Prometheus (Debian package prometheus) there is nothing for dashboards."
fi
if [ -n "$keep" ] && [ -n "$prometheus" ]; then
  echo "The data is in $keep. For Grafana, with deploy/observability/grafana:"
  echo "  prometheus --config.file=$keep/prometheus.yml --storage.tsdb.path=$keep/data"
fi

step "6. The verdict: was the split as planned, and in what do the arms differ?"
python3 deploy/experiment_report.py verdict "$run_dir/bench.json"
