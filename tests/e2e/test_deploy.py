"""deploy/ against the real server: what the files of Docker, systemd and Kubernetes say of
flags, ports and waiting times is true, and they agree."""

import json
import pathlib
import re
import subprocess

import pytest
import yaml

from deploy_files import (DEPLOY, KUBERNETES, PORTS, compose, config, container, dockerfile, flags,
                          kustomization, manifests, patches, pod, port_of, seconds, sidecar, unit)
from server_process import DEADLINE_S, bin_dir

CLOSE_S = 1  # what the server takes to close its ports behind a drain


# ---- flags


def usage_error(words, state):
    """What the server has against these flags; the folder of the model is always absent."""
    done = subprocess.run(
        [bin_dir() / "olmoe-server", *words, f"--model={state}/none", f"--state-dir={state}/state"],
        capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode in (1, 2), done.stderr
    return done.stderr if done.returncode == 2 else None


def without_folders(words):
    return [word for word in words if not word.startswith(("--model=", "--state-dir="))]


def test_the_server_refuses_a_flag_that_it_does_not_have(tmp_path):
    """So that the tests below can fail."""
    assert "--lame-dog" in usage_error(["--lame-dog=5s"], tmp_path)


@pytest.mark.parametrize("folder", ["docker", "systemd"])
def test_the_server_accepts_every_key_of_a_config_file(folder, tmp_path):
    path = DEPLOY / folder / "server.toml"
    assert usage_error(["--config", path], tmp_path) is None
    everything = tmp_path / "everything.toml"
    everything.write_text(re.sub(r"^# (?=[a-z-]+ = )", "", path.read_text(), flags=re.MULTILINE))
    assert usage_error(["--config", everything], tmp_path) is None


def test_the_server_accepts_the_flags_of_compose_and_kubernetes(tmp_path):
    added = [step["value"] for step in patches("full-model")
             if step["path"].endswith("/args/-")]
    assert added
    image = ["--config", str(DEPLOY / "docker/server.toml")]
    for words in (compose()["olmoe-server"]["command"], container()["args"] + added):
        assert usage_error(image + without_folders(words), tmp_path) is None


def test_the_image_starts_with_the_config_file_that_it_has():
    steps = dict(dockerfile())
    assert json.loads(steps["ENTRYPOINT"]) == ["olmoe-server", "--config", "/etc/olmoe/server.toml"]
    assert ("COPY", "deploy/docker/server.toml /etc/olmoe/server.toml") in dockerfile()


# ---- ports


def test_ports_are_the_same_everywhere():
    help_text = subprocess.run([bin_dir() / "olmoe-server", "--help"], capture_output=True,
                               text=True, timeout=DEADLINE_S, check=True).stdout
    defaults = re.findall(r"--([a-z-]*listen) ADDRESS=127\.0\.0\.1:(\d+)", help_text)
    assert {name: int(port) for name, port in defaults} == PORTS
    for folder in ("docker", "systemd"):
        assert {key: port_of(config(folder)[key]) for key in PORTS} == PORTS
    assert [int(port) for port in dict(dockerfile())["EXPOSE"].split()] == [*PORTS.values()]
    in_pod = sidecar()["ports"] + container()["ports"]
    assert [port["containerPort"] for port in in_pod] == [*PORTS.values()]
    published = [port.split(":") for name in ("edge", "olmoe-server")
                 for port in compose()[name]["ports"]]
    assert published == [["127.0.0.1", str(port), str(port)] for port in PORTS.values()]
    assert (DEPLOY / "docker/healthcheck.sh").read_text().count(str(PORTS["http-listen"])) == 1


def test_the_admin_port_is_open_to_nobody_by_default():
    for folder in ("docker", "systemd"):
        assert config(folder)["admin-listen"].startswith("127.0.0.1:")
    assert all(port.startswith("127.0.0.1:")
               for service in compose().values() for port in service["ports"])
    assert "admin-token-file" in flags(container()["args"])
    ports = manifests()["Service", "olmoe-server"]["spec"]["ports"]
    assert [port["name"] for port in ports] == ["grpc"]
    rules = manifests()["NetworkPolicy", "olmoe-server"]["spec"]["ingress"]
    to_admin = [rule for rule in rules if {"port": PORTS["admin-listen"]} in rule["ports"]]
    assert [rule["from"] for rule in to_admin] == [
        [{"podSelector": {"matchLabels": {"olmoe/operator": "true"}}}]]


def test_prometheus_and_grafana_find_what_compose_gives_them():
    observability = DEPLOY / "observability"
    ours, composes = (yaml.safe_load((folder / "prometheus.yml").read_text())
                      for folder in (observability, DEPLOY / "docker"))
    for scraped, host in ((ours, "127.0.0.1"), (composes, "olmoe-server")):
        targets = scraped["scrape_configs"][0]["static_configs"][0].pop("targets")
        assert targets == [f"{host}:{PORTS['http-listen']}"]
    assert ours == composes
    assert "olmoe-server" in compose()
    mounts = {}
    for service in compose().values():
        for volume in service["volumes"]:
            source, target = re.fullmatch(r"(\$\{.*?:-.*?\}|[^:]+):([^:]+)(?::ro)?", volume).groups()
            if source.startswith("."):
                assert (DEPLOY / "docker" / source).exists(), source
                mounts[target] = DEPLOY / "docker" / source
    provider, = (observability / "grafana/provisioning/dashboards").iterdir()
    folder = yaml.safe_load(provider.read_text())["providers"][0]["options"]["path"]
    assert list(mounts[folder].glob("*.json"))
    source, = (observability / "grafana/provisioning/datasources").iterdir()
    assert yaml.safe_load(source.read_text())["datasources"][0]["url"] == "http://prometheus:9090"


# ---- ending


def test_a_drain_is_over_before_the_server_is_killed():
    docker, systemd = config("docker"), config("systemd")
    assert seconds(docker["drain-grace"]) + CLOSE_S < seconds(
        compose()["olmoe-server"]["stop_grace_period"])
    assert (seconds(systemd["lame-duck"]) + seconds(systemd["drain-grace"]) + CLOSE_S
            < seconds(unit()["TimeoutStopSec"]))
    given = flags(container()["args"])
    sleep, wait = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert sleep == "sleep"
    assert (int(wait) + seconds(given["lame-duck"]) + seconds(given["drain-grace"]) + CLOSE_S
            < pod()["spec"]["terminationGracePeriodSeconds"])


def test_everything_ends_the_server_by_sigterm():
    assert dict(dockerfile())["STOPSIGNAL"] == "SIGTERM"
    assert unit()["KillSignal"] == "SIGTERM"


# ---- Kubernetes


def test_every_manifest_is_in_its_kustomization():
    for file in KUBERNETES.rglob("kustomization.yaml"):
        here = {path.name for path in file.parent.glob("*.yaml")} - {file.name}
        listed = yaml.safe_load(file.read_text()).get("resources", [])
        assert {pathlib.Path(name).name for name in listed if name.endswith(".yaml")} == here, file


def test_selectors_find_the_pods():
    labels = pod()["metadata"]["labels"]
    objects = manifests()
    name = "olmoe-server"
    assert objects["StatefulSet", name]["spec"]["selector"]["matchLabels"] == labels
    assert objects["PodDisruptionBudget", name]["spec"]["selector"]["matchLabels"] == labels
    assert objects["PodMonitor", name]["spec"]["selector"]["matchLabels"] == labels
    assert objects["NetworkPolicy", name]["spec"]["podSelector"]["matchLabels"] == labels
    for service in (name, objects["StatefulSet", name]["spec"]["serviceName"]):
        assert objects["Service", service]["spec"]["selector"] == labels
    port, = objects["PodMonitor", name]["spec"]["podMetricsEndpoints"]
    assert port["port"] in [item["name"] for item in container()["ports"]]


def test_probes_ask_for_what_the_server_answers(demo):
    """The HTTP port, which answers whatever the gRPC ports are attacked with."""
    spec = container()
    assert spec["ports"] == [{"name": "http", "containerPort": PORTS["http-listen"]}]
    for probe, path in (("startupProbe", "/readyz"), ("readinessProbe", "/readyz"),
                        ("livenessProbe", "/healthz")):
        assert spec[probe]["httpGet"] == {"port": "http", "path": path}
        assert demo.http(path)[0] == 200


def test_pods_may_do_nothing_but_serve():
    security = container()["securityContext"]
    assert security == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]}}
    assert pod()["spec"]["automountServiceAccountToken"] is False
    assert sidecar()["securityContext"] == security
    written = {mount["mountPath"] for mount in container()["volumeMounts"]
               if not mount.get("readOnly")}
    assert written == {"/var/lib/olmoe", "/tmp", "/run/olmoe"}
    assert flags(container()["args"])["state-dir"].startswith("/var/lib/olmoe/")


def test_what_requests_may_hold_fits_into_the_memory_of_a_pod():
    def mebibytes(size):
        number, unit = re.fullmatch(r"(\d+)([MG])i?B?", size).groups()
        return int(number) * (1024 if unit == "G" else 1)
    limit = mebibytes(container()["resources"]["limits"]["memory"])
    assert mebibytes(flags(container()["args"])["max-request-memory"]) <= limit // 4
    wanted = {step["path"]: step["value"] for step in patches("full-model")
              if step["op"] == "replace"}
    limit = mebibytes(wanted["/spec/template/spec/containers/0/resources/limits/memory"])
    budget = flags([wanted["/spec/template/spec/containers/0/args/1"]])["max-request-memory"]
    assert (13.8 + 4) * 1024 + mebibytes(budget) < limit  # weights, keys and values


def test_threads_are_the_cores_that_were_asked_for():
    assert flags(container()["args"])["threads"] == container()["resources"]["requests"]["cpu"]
    wanted = {step["path"].rpartition("/")[2]: step["value"] for step in patches("full-model")
              if step["op"] == "replace"}
    assert wanted["0"] == f"--threads={wanted['cpu']}"
