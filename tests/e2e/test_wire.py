"""Reflection, health, HTTP and grpcurl: what tools find without our .proto files."""

import json
import os
import shutil
import subprocess

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

import api
from server_process import DEADLINE_S

INFERENCE = "olmoe.v1.InferenceService"
ADMIN = "olmoe.v1.RoutingAdminService"


def test_reflection_lists_the_service_of_each_port(demo):
    inference = ProtoReflectionDescriptorDatabase(demo.channel()).get_services()
    admin = ProtoReflectionDescriptorDatabase(demo.channel("admin")).get_services()
    assert INFERENCE in inference and ADMIN not in inference
    assert ADMIN in admin and INFERENCE not in admin


def test_reflection_describes_every_method(demo):
    database = ProtoReflectionDescriptorDatabase(demo.channel())
    service = database.FindFileContainingSymbol(INFERENCE).service[0]
    assert {method.name for method in service.method} == {
        method.name for method in api.inference.DESCRIPTOR.services_by_name[
            "InferenceService"].methods}


def check(server, port, service):
    stub = health_pb2_grpc.HealthStub(server.channel(port))
    return stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=DEADLINE_S).status


def test_health_of_the_process_and_of_each_service(demo):
    assert check(demo, "listen", "") == health_pb2.HealthCheckResponse.SERVING
    assert check(demo, "listen", INFERENCE) == health_pb2.HealthCheckResponse.SERVING
    assert check(demo, "admin", ADMIN) == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as error:
        check(demo, "listen", "no.such.Service")
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


def test_http_says_alive_and_ready(demo):
    assert demo.http("/healthz")[0] == 200
    assert demo.http("/readyz")[0] == 200
    assert demo.http("/no-such-page")[0] == 404


def test_metrics_are_text_that_promtool_would_take(demo):
    _, text = demo.http("/metrics")
    names = {line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    documented = {line.split(" ")[2] for line in text.splitlines() if line.startswith("# HELP ")}
    assert {"olmoe_kv_cache_used_bytes", "olmoe_kv_cache_capacity_bytes",
            "olmoe_routing_generation"} <= names
    assert names <= documented
    assert text.endswith("\n")


def test_metrics_count_experts_exactly(demo):
    names = ("olmoe_moe_expert_tokens_total", "olmoe_moe_routed_tokens_total")
    demo.greedy([1, 2, 3], 2)
    before = [demo.metric(name) for name in names]
    reply = demo.greedy([1, 2, 3, 4], 5)
    demo.wait_until_idle()
    after = [demo.metric(name) for name in names]
    rows = 4 + 5 - 1
    assert after[0] - before[0] == reply.usage.expert_activations
    assert after[1] - before[1] == rows * demo.model_info().num_layers


# ---- grpcurl, which takes the names of fields from reflection as the .proto files spell them

def grpcurl(server, port, *arguments):
    tools = api.SOURCE_DIR / "build/tools"
    path = os.pathsep.join([str(tools), os.environ.get("PATH", "")])
    program = shutil.which("grpcurl", path=path)
    if program is None:
        pytest.skip("grpcurl is neither on PATH nor in build/tools")
    *flags, method = arguments
    done = subprocess.run([program, "-plaintext", *flags, server.address(port), *method],
                          capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_grpcurl_lists_the_services(demo):
    assert INFERENCE in grpcurl(demo, "listen", ["list"]).split()
    assert ADMIN in grpcurl(demo, "admin", ["list"]).split()
    assert "GenerateStream" in grpcurl(demo, "listen", ["describe", INFERENCE])


def test_grpcurl_generates(demo):
    request = {"text": "Once upon a time", "max_new_tokens": 4, "sampling": {"temperature": 0}}
    reply = json.loads(grpcurl(demo, "listen", "-d", json.dumps(request),
                               [f"{INFERENCE}/Generate"]))
    assert reply["text"]
    assert len(reply["token_ids"]) == 4


def test_grpcurl_scores(demo):
    request = {"items": [{"context_text": "Once upon", "continuation_text": " a time"}]}
    reply = json.loads(grpcurl(demo, "listen", "-d", json.dumps(request), [f"{INFERENCE}/Score"]))
    assert reply["results"][0]["logprob_sum"] < 0


def test_grpcurl_patches_and_unpatches(demo):
    request = {"policy": {"policy_id": "by-hand", "apply": {"top_k": {"k": 2}}}}
    reply = json.loads(grpcurl(demo, "admin", "-d", json.dumps(request),
                               [f"{ADMIN}/PatchRouters"]))
    assert reply["changed"]
    assert demo.greedy([1], 1).routing.policy_id == "by-hand"
    assert json.loads(grpcurl(demo, "admin", [f"{ADMIN}/UnpatchRouters"]))["changed"]
