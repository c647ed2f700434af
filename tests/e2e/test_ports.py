"""Ports of the running server: Unix sockets, and the truth of its readiness."""

import os
import re
import resource

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import api
import models
from server_process import DEADLINE_S, ServerProcess, run_server, wait_until
from unread_stream import UnreadStream

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def admin_health(server):
    stub = health_pb2_grpc.HealthStub(server.channel("admin"))
    return stub.Check(health_pb2.HealthCheckRequest(service="olmoe.v1.RoutingAdminService"),
                      timeout=DEADLINE_S).status


@pytest.fixture(name="unix_server")
def _unix_server(demo_folder, tmp_path):
    with ServerProcess(demo_folder, listen=f"unix:{tmp_path}/inference.sock") as server:
        yield server


def test_a_unix_socket_serves_and_its_file_goes_with_the_server(unix_server, tmp_path):
    assert unix_server.ports["listen"] == 0
    assert unix_server.greedy([1, 2], 3).usage.completion_tokens == 3
    wait_until(lambda: f"unix:{tmp_path}/inference.sock" in unix_server.log(), "it is logged")
    unix_server.process.terminate()
    assert unix_server.process.wait(DEADLINE_S) == 0
    assert not (tmp_path / "inference.sock").exists()


def test_a_port_that_does_not_answer_is_not_ready_until_it_does(unix_server, tmp_path):
    assert unix_server.http("/readyz")[0] == 200
    assert admin_health(unix_server) == SERVING
    os.rename(tmp_path / "inference.sock", tmp_path / "away")
    wait_until(lambda: unix_server.http("/readyz")[0] == 503, "the server is not ready")
    wait_until(lambda: admin_health(unix_server) == NOT_SERVING, "gRPC's health says so too")
    assert unix_server.http("/healthz")[0] == 200
    os.rename(tmp_path / "away", tmp_path / "inference.sock")
    wait_until(lambda: unix_server.http("/readyz")[0] == 200, "the server is ready")
    wait_until(lambda: admin_health(unix_server) == SERVING, "gRPC's health says so too")


def test_a_port_listens_on_all_of_its_addresses(demo_folder, tmp_path):
    other = f"unix:{tmp_path}/inference.sock"
    with ServerProcess(demo_folder, "--listen", other) as server:
        assert server.ports["listen"] > 0
        assert server.greedy([1, 2], 3).usage.completion_tokens == 3
        with grpc.insecure_channel(other) as channel:
            stub = api.inference_grpc.InferenceServiceStub(channel)
            reply = stub.Generate(api.tokens_request([1, 2], 3), timeout=DEADLINE_S)
            assert reply.usage.completion_tokens == 3
        wait_until(lambda: f"127.0.0.1:{server.ports['listen']}, {other}" in server.log(),
                   "both are logged")


@pytest.mark.parametrize("flags, has_a_share", [((), False), (("--behind-proxy",), True)])
def test_behind_a_proxy_each_forwarded_client_has_its_share_of_the_queue(demo_folder, flags,
                                                                         has_a_share):
    places = 9  # one client gets all but one of them

    with ServerProcess(demo_folder, "--max-batch-sequences", 1, "--max-queue", places,
                       *flags) as server, UnreadStream(server):
        def ask(client):
            return server.stub.Generate.future(api.tokens_request([1], 1), timeout=DEADLINE_S,
                                               metadata=[("x-forwarded-for", client)])

        waiting = [ask("192.0.2.1") for _ in range(places - 1)]
        wait_until(lambda: server.status().queued_requests == places - 1, "they wait")
        refused = ask("192.0.2.1")
        assert refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "your share" in refused.details()
        waiting.append(ask("192.0.2.2"))
        if has_a_share:
            wait_until(lambda: server.status().queued_requests == places, "the other waits")
        else:
            assert waiting[-1].code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        for call in waiting:
            call.cancel()


@pytest.mark.parametrize("flag", ["--listen", "--admin-listen"])
def test_a_port_is_refused_before_the_model_is_loaded(flag):
    ports = {"--listen": "127.0.0.1:0", "--admin-listen": "127.0.0.1:0",
             "--http-listen": "127.0.0.1:0", flag: "192.0.2.1:0"}
    done = run_server(models.demo_model(), ports=[part for pair in ports.items() for part in pair])
    assert done.returncode == 1
    assert "192.0.2.1:0" in done.stderr
    assert "loaded" not in done.stderr


def test_grpc_ports_beyond_loopback_without_an_edge_are_warned_of(demo_folder):
    for flags, warned in (((), True), (("--behind-proxy",), False)):
        with ServerProcess(demo_folder, *flags, listen="0.0.0.0:0") as server:
            # The line that comes after the warnings.
            wait_until(lambda: "routing generation" in server.log(), "the start is logged")
            assert ("--behind-proxy" in server.log()) == warned


def test_the_limit_of_descriptors_is_raised(demo):
    soft, hard = map(int, re.search(r"Max open files +(\d+) +(\d+)", limits(demo)).groups())
    assert soft == hard == resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def limits(server):
    with open(f"/proc/{server.process.pid}/limits", encoding="ascii") as file:
        return file.read()
