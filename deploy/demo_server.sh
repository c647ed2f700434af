# Sourced by scripts that show or measure the demo model: start_server starts one and
# waits until it is ready; it ends with the script. Sets OLMOE_SERVER, OLMOE_ADMIN,
# http_port and run_dir, a folder that goes with the server.

# start_server BIN_DIR MODEL [FLAG ...]
start_server() {
  local bin=$1 model=$2
  shift 2
  run_dir=$(mktemp -d)
  "$bin/olmoe-server" --model "$model" --ports-file "$run_dir/ports.json" "$@" 2>"$run_dir/server.log" &
  server=$!
  trap stop_server EXIT
  until [ -s "$run_dir/ports.json" ]; do
    kill -0 "$server" 2>/dev/null || { cat "$run_dir/server.log" >&2; exit 1; }
    sleep 0.1
  done
  export OLMOE_SERVER=127.0.0.1:$(port listen) OLMOE_ADMIN=127.0.0.1:$(port admin)
  http_port=$(port http)
}

port() { sed -n "s/.*\"$1\": *\([0-9]*\).*/\1/p" "$run_dir/ports.json"; }

stop_server() {
  kill "$server" 2>/dev/null || true
  wait "$server" 2>/dev/null || true
  rm -rf "$run_dir"
}
