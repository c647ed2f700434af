"""Routers of one's own: the reference's numbers, files by olmoectl, restarts, and many at once."""

import json
import math
import sqlite3
import struct
import threading

import grpc
import pytest
from google.protobuf import json_format

import api
import safetensors_files
from api import admin, inference, routing
from server_process import DEADLINE_S, ServerProcess
from test_golden import LOGPROB_TOLERANCE, NEAR_TIE, read_tensor

SELECTION = api.SOURCE_DIR / "tests/data/selection/golden"
GATE = "model.layers.{}.mlp.gate.weight"


def put(server, name, layers):
    """`layers`: layer -> bytes of float32, in the order in which they are sent."""
    def requests():
        for index, (layer, weights) in enumerate(layers.items()):
            yield admin.PutRouterRequest(
                router_id=name if index == 0 else "",
                router_layer=admin.RouterLayer(layer=layer, float32=weights))
    return server.admin.PutRouter(requests(), timeout=DEADLINE_S).router


def get(server, name=""):
    """layer -> its message."""
    replies = server.admin.GetRouter(admin.GetRouterRequest(router_id=name), timeout=DEADLINE_S)
    return {reply.router_layer.layer: reply.router_layer for reply in replies}


def delete(server, name):
    server.admin.DeleteRouter(admin.DeleteRouterRequest(router_id=name), timeout=DEADLINE_S)


def wide(layer):
    """float32 of a layer in either type."""
    if layer.WhichOneof("weight") == "float32":
        return layer.float32
    halves = layer.bfloat16
    return b"".join(b"\0\0" + halves[i:i + 2] for i in range(0, len(halves), 2))


def policy_of(router, rule=None, policy_id="routed"):
    return routing.RoutingPolicy(policy_id=policy_id, router=router, apply=rule)


def logprobs(server, ids):
    item = inference.ScoreItem()
    item.context_tokens.ids.append(ids[0])
    item.continuation_tokens.ids.extend(ids[1:])
    return [token.logprob for token in server.score(item, per_token=True).results[0].tokens]


@pytest.fixture(scope="module", name="numbers")
def _numbers():
    return json.loads((SELECTION / "sharded.json").read_text())


@pytest.fixture(scope="module", name="reference")
def _reference(golden_server, numbers):
    """The router of the reference, put under the name "golden"."""
    tensors = safetensors_files.read(SELECTION / "sharded.safetensors")
    layers = {layer: tensors[GATE.format(layer)][2] for layer in numbers["router_layers"]}
    info = put(golden_server, "golden", layers)
    assert list(info.layers) == numbers["router_layers"]
    return layers


@pytest.mark.parametrize("plan", ["router", "router_ban"])
@pytest.mark.usefixtures("reference")
def test_a_model_with_another_router_is_the_reference(golden, numbers, plan):
    policy = json_format.ParseDict(numbers["plans"][plan]["policy"], routing.RoutingPolicy())
    policy.policy_id = "patched"
    near = {(name, sequence): position
            for name, sequence, _, position, _ in reversed(numbers["near"])}
    with golden.patched(policy):
        for name, sequence in numbers["sequences"].items():
            certain = near.get((plan, name), len(sequence["ids"]))
            expected = read_tensor(SELECTION / "sharded.safetensors",
                                   f"{name}.{plan}.next_logprobs")[:certain]
            found = logprobs(golden, sequence["ids"])[:certain]
            for mine, theirs in zip(found, expected, strict=True):
                assert abs(mine - theirs) < LOGPROB_TOLERANCE
        if plan not in numbers["greedy"]:
            return
        greedy = numbers["greedy"][plan]["short"]
        short = numbers["sequences"]["short"]
        reply = golden.generate(api.tokens_request(short["ids"][:short["prompt_tokens"]],
                                                   len(greedy["ids"]), logprobs=0))
        sure = next((i for i, margin in enumerate(greedy["top2_logit_margin"])
                     if margin < NEAR_TIE), len(greedy["ids"]))
        assert list(reply.token_ids)[:sure] == greedy["ids"][:sure]


def test_the_models_own_under_a_name_is_the_model(golden):
    own = {layer: wide(weights) for layer, weights in get(golden).items()}
    assert sorted(own) == list(range(golden.model_info().num_layers))
    put(golden, "own", own)
    prompt = [1, 5, 9, 13]
    item_logprobs = logprobs(golden, [1, 2, 3, 4, 5, 6, 7, 8])
    plain = golden.generate(api.tokens_request(prompt, 16, logprobs=2))
    with golden.patched(policy_of("own")):
        assert logprobs(golden, [1, 2, 3, 4, 5, 6, 7, 8]) == item_logprobs
        again = golden.generate(api.tokens_request(prompt, 16, logprobs=2))
    assert again.tokens == plain.tokens
    assert again.routing.policy_digest != plain.routing.policy_digest
    delete(golden, "own")


def test_several_routers_in_one_step_do_not_touch_each_other(golden, golden_numbers):
    """Each of many concurrent requests, under four arms, has the bits of its solo run."""
    own = get(golden)
    arms = [routing.RoutingPolicy(policy_id="native")]
    for number in range(3):
        layers = {}
        for layer in (number, number + 1):
            values = struct.unpack(f"<{len(wide(own[layer])) // 4}f", wide(own[layer]))
            turned = values[64 * (number + 1):] + values[:64 * (number + 1)]
            layers[layer] = struct.pack(f"<{len(turned)}f", *turned)
        put(golden, f"r{number}", layers)
        arms.append(policy_of(f"r{number}", policy_id=f"r{number}"))
    plan = admin.RoutingPlan()
    for policy in arms:
        plan.arms.add(arm_id=policy.policy_id, weight=1, allow_explicit=True, policy=policy)
    golden.admin.PatchRouters(admin.PatchRoutersRequest(plan=plan), timeout=DEADLINE_S)
    ids = golden_numbers["sequences"]["len17"]["ids"]

    def request(arm, first):
        return api.tokens_request(ids[first:first + 5], 12, logprobs=1,
                                  routing=inference.RoutingSelector(arm_id=arm))

    wanted = [(policy.policy_id, first) for policy in arms for first in range(6)]
    alone = {each: golden.generate(request(*each)).tokens for each in wanted}
    assert len({str(alone[policy.policy_id, 0]) for policy in arms}) > 1
    together = {}

    def run(each):
        together[each] = golden.generate(request(*each)).tokens

    threads = [threading.Thread(target=run, args=(each,)) for each in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone
    golden.unpatch()
    golden.wait_until_idle()
    for number in range(3):
        delete(golden, f"r{number}")


def test_files_go_down_and_up_by_olmoectl(golden, golden_folder, tmp_path):
    own = get(golden)
    exported = tmp_path / "own.safetensors"
    assert golden.ctl("router", "export", exported).returncode == 0
    tensors = safetensors_files.read(exported)
    assert set(tensors) == {GATE.format(layer) for layer in own}
    info = golden.model_info()
    for layer, weights in own.items():
        dtype, shape, data = tensors[GATE.format(layer)]
        assert shape == [info.num_experts, info.hidden_size]
        assert data == (weights.float32 if dtype == "F32" else weights.bfloat16)
    # The file, and the checkpoint itself in its shards.
    digests = {golden.ctl_json("router", "put", name, source)["router"]["digest"]
               for name, source in (("file", exported), ("folder", golden_folder))}
    assert len(digests) == 1
    copied = tmp_path / "copied.safetensors"
    assert golden.ctl("router", "get", "folder", copied).returncode == 0
    assert safetensors_files.read(copied) == tensors
    done = golden.ctl("patch", "--router", "file")
    assert done.returncode == 0, done.stderr
    assert "router file" in golden.ctl("routing").stdout
    assert "native/router=file" in golden.ctl("history").stdout
    assert "file" in golden.ctl("complete-names", "routers").stdout.split()
    done = golden.ctl("router", "delete", "file")
    assert done.returncode == 4
    assert "ROUTER_IN_USE routers/file" in done.stderr
    golden.unpatch()
    for name in ("file", "folder"):
        assert golden.ctl("router", "delete", name).stdout == f"deleted: router {name}\n"
    listed = golden.ctl_json("router", "list").get("routers", [])
    assert not {each["router_id"] for each in listed} & {"file", "folder"}
    # The ports are up, the file is wrong.
    gate = tensors[GATE.format(1)]
    for wrong, said in (({"x": gate}, "has no tensor such as model.layers.0.mlp.gate.weight"),
                        ({GATE.format(1): (gate[0], gate[1][::-1], gate[2])}, "must have shape"),
                        ({GATE.format(99): gate}, "the model has")):
        safetensors_files.write(copied, wrong)
        done = golden.ctl("router", "put", "wrong", copied)
        assert done.returncode == 2
        assert said in done.stderr


@pytest.mark.parametrize(("message", "field", "said"), [
    (admin.PutRouterRequest(router_id="a b"), "messages[0].router_id", "must match"),
    (admin.PutRouterRequest(router_id="r"), "router_layer", "at least one layer"),
    (admin.PutRouterRequest(router_id="r", router_layer=admin.RouterLayer(layer=99, float32=b"")),
     "messages[0].router_layer.layer", "must be 0.."),
    (admin.PutRouterRequest(router_id="r", router_layer=admin.RouterLayer(layer=0, float32=b"x")),
     "messages[0].router_layer.float32", "bytes for layer 0, has 1"),
    (admin.PutRouterRequest(router_id="r", router_layer=admin.RouterLayer(layer=0)),
     "messages[0].router_layer.weight", "float32 or bfloat16 must be set"),
])
def test_bad_uploads_are_refused_by_field(golden, message, field, said):
    with pytest.raises(grpc.RpcError) as error:
        golden.admin.PutRouter(iter([message]), timeout=DEADLINE_S)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert field in api.violated_fields(error.value)
    assert said in error.value.details()


def test_weights_must_be_finite_and_of_one_content(golden):
    size = len(wide(get(golden)[0])) // 4
    for value in (math.nan, math.inf):
        weights = struct.pack("<f", value) + bytes(4 * (size - 1))
        with pytest.raises(grpc.RpcError) as error:
            put(golden, "r", {0: weights})
        assert "must be finite" in error.value.details()
    put(golden, "zero", {0: bytes(4 * size)})
    with pytest.raises(grpc.RpcError) as error:
        put(golden, "zero", {1: bytes(4 * size)})
    assert error.value.code() == grpc.StatusCode.ALREADY_EXISTS
    delete(golden, "zero")
    with pytest.raises(grpc.RpcError) as error:
        golden.patch(policy_of("zero"))
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert 'policy.router: router "zero" does not exist' in error.value.details()


def test_a_router_and_its_plan_survive_a_restart(golden_folder, tmp_path):
    def start():
        return ServerProcess(golden_folder, "--dtype", "float32", "--state-dir",
                             tmp_path / "state")
    ids = [1, 2, 3, 4, 5, 6]
    with start() as server:
        layer = wide(get(server)[1])
        put(server, "turned", {1: layer[256:] + layer[:256]})
        native = logprobs(server, ids)
        server.patch(policy_of("turned"))
        before = logprobs(server, ids)
        assert before != native
        digest = server.admin.ListRouters(admin.ListRoutersRequest()).routers[0].digest
        assert server.terminate() == 0
    with start() as server:
        router, = server.admin.ListRouters(admin.ListRoutersRequest()).routers
        assert (router.digest, router.in_use) == (digest, True)
        assert logprobs(server, ids) == before
        server.unpatch()
        assert logprobs(server, ids) == native
        delete(server, "turned")
        with pytest.raises(grpc.RpcError) as error:
            server.admin.RollbackRouting(admin.RollbackRoutingRequest(to_generation=2),
                                         timeout=DEADLINE_S)
        assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert 'router "turned" does not exist' in error.value.details()
        assert server.terminate() == 0
    with start() as server:
        assert not server.admin.ListRouters(admin.ListRoutersRequest()).routers


def test_a_router_of_another_model_is_left_out(golden_folder, demo_folder, tmp_path):
    state = ("--state-dir", tmp_path / "state")
    with ServerProcess(golden_folder, *state) as server:
        put(server, "small", {0: wide(get(server)[0])})
        assert server.terminate() == 0
    # The plans of the state directory are the model's too: without them it starts.
    with sqlite3.connect(tmp_path / "state/state.db") as database:
        database.execute("DELETE FROM plans")
    database.close()
    (tmp_path / "state/newest_generation").unlink()
    with ServerProcess(demo_folder, *state) as server:
        assert not server.admin.ListRouters(admin.ListRoutersRequest()).routers
        assert "the stored router small is of another model" in server.log()
