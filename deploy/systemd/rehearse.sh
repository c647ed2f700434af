#!/usr/bin/env bash
# deploy/systemd/rehearse.sh ROOT BIN_DIR: the unit under a real systemd. Makes a Debian 12 with only
# the runtime packages in ROOT, unless it is there, installs the unit as README.md says, and boots
# it without a network: the service must start, answer, reload, come back with its plan
# after a restart, and stop cleanly. As root; needs mmdebstrap and systemd-container.
set -euo pipefail
root=$1
bin=$(realpath "$2")
cd "$(dirname "$0")/.."

packages=$(grep -v '^#' runtime-packages.txt | tr '\n' ,)systemd-sysv,dbus
[ -d "$root" ] ||
  mmdebstrap --quiet --variant=minbase --mode=root --format=directory --include="$packages" bookworm "$root"
units=$root/etc/systemd/system
install "$bin/olmoe-server" "$bin/olmoectl" "$root/usr/local/bin/"
install -D -m 644 systemd/server.toml "$root/etc/olmoe/server.toml"
install -D -m 644 -t "$root/srv/olmoe/model" demo/config.json demo/model.safetensors demo/tokenizer.json
install -D -m 644 -t "$units" systemd/olmoe-server.service

cat >"$root/usr/local/bin/tour" <<'TOUR'
#!/usr/bin/env bash
ready() { for _ in $(seq 300); do olmoectl health && return; sleep 0.2; done; return 1; }
exec >/tour.log 2>&1
trap 'journalctl -u olmoe-server -o cat --no-pager >/journal.log; systemctl poweroff --force --force' EXIT
set -ex
ready
grep -E 'Uid|CapEff|NoNewPrivs|Seccomp:' "/proc/$(systemctl show -P MainPID olmoe-server)/status"
olmoectl generate "Once upon a time" --max-new-tokens 16 --seed 7
olmoectl patch --top-k 1 --policy-id one-expert
systemctl reload olmoe-server
systemctl restart olmoe-server
ready
olmoectl routing | grep one-expert
systemctl stop olmoe-server
test "$(systemctl show -P Result olmoe-server)" = success
test "$(systemctl show -P ExecMainStatus olmoe-server)" = 0
set +x
echo "the unit works"
TOUR
chmod +x "$root/usr/local/bin/tour"
printf '[Service]\nExecStart=/usr/local/bin/tour\n' >"$units/tour.service"
mkdir -p "$units/multi-user.target.wants"
ln -sf /etc/systemd/system/{olmoe-server,tour}.service "$units/multi-user.target.wants/"

rm -f "$root/tour.log" "$root/journal.log"
timeout 180 systemd-nspawn --quiet --register=no --keep-unit --private-network -D "$root" --boot \
  </dev/null >"$root/boot.log" 2>&1 || true
cat "$root/tour.log"
grep -qx "the unit works" "$root/tour.log" || { cat "$root/journal.log" >&2; exit 1; }
