"""Requests under a recorded routing: the bits of the policy that left it, the numbers of a Hugging
Face run, the files of olmoectl, and what the server shows of them."""

import json
import struct

import grpc
import pytest
from google.protobuf import json_format

import api
import safetensors_files
from api import inference, routing
from server_process import DEADLINE_S, ServerProcess

LOGPROB_TOLERANCE = 2e-4
WEIGHT_TOLERANCE = 1e-4

PROMPT = "Once upon a time there was a little fox who"

# Weights of softmax(z) over all experts: live weights do.
LIVE = {
    "native": "native",
    "top-k": "top-k=3,weights=sum-to-one",
    "bh": "bh=0.9,p-value=one-minus-prob,min=2",
    "top-p": "top-p=0.6,max=16",
    "ban-keep": "top-k=8,ban=1+5-9,ban-mass=keep,weights=native",
    "noise": "top-k=8,noise=0.8,weights=match-top-k-mass",
    "expression": 'keep="rank == 1 || rank == 4 || p > 0.1"',
    "force": "top-k=4,force=7+3",
    "decode": "top-k=8/top-k=2,decode",
}
RECORDED = {
    "steer": "top-k=8,toward=5+9,away=1",
    "ban": "top-k=8,ban=1+5-9",
    "bias-both": "top-k=8,bias-scope=both,bias=" + ":".join(["1", "-1"] * 32),
    "temperature": "bh=0.99,p-value=one-minus-prob,temperature=3,min=2",
}


@pytest.fixture(scope="module", name="server")
def _server(demo_folder):
    with ServerProcess(demo_folder, "--allow-inline-policy") as server:
        yield server


def score_request(prompt, token_ids, **fields):
    request = inference.ScoreRequest(per_token=True, routing_seed=3, **fields)
    item = request.items.add()
    item.context_tokens.ids.extend(prompt)
    item.continuation_tokens.ids.extend(token_ids)
    request.trace.experts = request.trace.weights = True
    return request


def score(server, request, **choice):
    request.routing.CopyFrom(inference.RoutingSelector(**choice))
    return server.stub.Score(request, timeout=DEADLINE_S)


def tokens_of(server, text):
    request = inference.TokenizeRequest(text=text, add_special_tokens=True)
    return list(server.stub.Tokenize(request, timeout=DEADLINE_S).ids)


def policy_of(server, spec):
    """The message of a notation, as olmoectl makes it."""
    reply = server.ctl_json("patch", "--policy", spec, "--dry-run")
    return json_to_policy(reply["checked"]["plan"]["arms"][0]["policy"])


def json_to_policy(value):
    return json_format.ParseDict(value, routing.RoutingPolicy())


@pytest.mark.parametrize("name", [*LIVE, *RECORDED])
def test_a_replay_has_the_bits_of_the_policy_that_left_the_trace(server, name):
    policy = policy_of(server, (LIVE | RECORDED)[name])
    prompt = tokens_of(server, PROMPT)
    generated = api.tokens_request(prompt, 12, routing_seed=3)
    generated.trace.experts = generated.trace.weights = True
    generated.routing.policy.CopyFrom(policy)
    under = server.generate(generated)
    request = score_request(prompt, under.token_ids)
    scored = score(server, request, policy=policy)
    if name in LIVE:
        # What Generate leaves is what Score leaves: late rows are told by their position.
        assert scored.results[0].trace == under.trace

    replays = [inference.Replay(trace=scored.results[0].trace,
                                weights=inference.REPLAY_WEIGHTS_RECORDED)]
    if name in LIVE:
        replays.append(inference.Replay(trace=under.trace, otherwise=policy))
    for replay in replays:
        again = score(server, request, replay=replay)
        assert again.results[0] == scored.results[0]
        assert again.routing.policy_id == "replay"
        generated.routing.replay.CopyFrom(replay)
        assert server.generate(generated).token_ids == under.token_ids


def golden_plan(golden_folder, name):
    numbers = json.loads((api.SOURCE_DIR / "tests/data/selection/golden" /
                          f"{golden_folder.name}.json").read_text())
    return numbers, numbers["plans"][name]["replay"]


@pytest.mark.parametrize("sequence", ["short", "middle", "long"])
@pytest.mark.parametrize("name", ["replay_live", "replay_live_own", "replay_recorded"])
def test_replays_are_those_of_the_reference(golden, golden_folder, name, sequence):
    numbers, plan = golden_plan(golden_folder, name)
    tensors = safetensors_files.read(api.SOURCE_DIR / "tests/data/selection/golden" /
                                     f"{golden_folder.name}.safetensors")
    ids = numbers["sequences"][sequence]["ids"]
    prompt = numbers["sequences"][sequence]["prompt_tokens"]
    stored = {part: tensors[f"{sequence}.{plan['trace_of']}.{part}"][2]
              for part in ("counts", "experts", "weights")}
    layers = golden.model_info().num_layers
    positions = plan["num_positions"][sequence]
    counts = stored["counts"][:positions * layers]
    selections = sum(counts)
    replay = inference.Replay(
        trace=inference.RoutingTrace(num_positions=positions, num_layers=layers, counts=counts,
                                     experts=stored["experts"][:selections],
                                     weights=stored["weights"][:4 * selections]),
        weights=f"REPLAY_WEIGHTS_{plan['weights']}")
    if "otherwise" in plan:
        replay.otherwise.CopyFrom(json_to_policy(plan["otherwise"]))
    result = score(golden, score_request(ids[:prompt], ids[prompt:]), replay=replay).results[0]

    expected = {part: tensors[f"{sequence}.{name}.{part}"][2]
                for part in ("next_logprobs", "counts", "experts", "weights")}
    logprobs = struct.unpack(f"<{len(ids) - 1}f", expected["next_logprobs"])
    for token, logprob in zip(result.tokens, logprobs[prompt - 1:], strict=True):
        assert abs(token.logprob - logprob) < LOGPROB_TOLERANCE
    ran = result.trace
    assert ran.counts == expected["counts"][:len(ran.counts)]
    at = 0
    for count in ran.counts:
        rows = [dict(zip(experts[at:at + count],
                         struct.unpack_from(f"<{count}f", weights, 4 * at), strict=True))
                for experts, weights in ((ran.experts, ran.weights),
                                         (expected["experts"], expected["weights"]))]
        assert rows[0].keys() == rows[1].keys()
        assert all(abs(rows[0][e] - rows[1][e]) < WEIGHT_TOLERANCE for e in rows[0])
        at += count


def test_olmoectl_replays_what_it_recorded(server, tmp_path):
    recording, array, back = (tmp_path / name for name in ("a.safetensors", "a.npy", "a.json"))
    arguments = ("generate", PROMPT, "-n", 12, "--temperature", 0)
    first = server.ctl(*arguments, "--policy", "top-k=3", "--trace-out", recording)
    assert first.returncode == 0, first.stderr
    for replay in (("--replay-weights", "recorded"), ("--policy", "top-k=3")):
        again = server.ctl(*arguments, "--replay", recording, *replay)
        assert again.returncode == 0, again.stderr
        assert again.stdout == first.stdout
        assert "arm inline, policy replay" in again.stderr
        assert "3.00 experts per token" in again.stderr

    converted = server.ctl("trace", "convert", recording, array)
    assert converted.returncode == 0, converted.stderr
    assert server.ctl("trace", "convert", array, back).returncode == 0
    for path in (array, back):
        again = server.ctl(*arguments, "--replay", path)
        assert again.stdout == first.stdout, again.stderr
    shorter = server.ctl("generate", PROMPT, "-n", 2, "--replay", array)
    assert shorter.returncode == 4
    assert "routing.replay.trace.num_positions" in shorter.stderr

    score_it = ("score", "--context", PROMPT, "--continuation", " ran away.")
    before = server.ctl_json(*score_it, "--policy", "top-p=0.5", "--trace-out", recording)
    after = server.ctl_json(*score_it, "--policy", "top-p=0.5", "--replay", recording)
    assert after["results"] == before["results"]
    ragged = server.ctl("trace", "convert", recording, array)
    assert ragged.returncode == 2
    assert "position 0, layer" in ragged.stderr


def test_arrays_of_numpy_are_read_and_written(server, tmp_path):
    numpy = pytest.importorskip("numpy")
    prompt = tokens_of(server, PROMPT)
    info = server.model_info()
    # vLLM records no routing of the last token; all of them do as well.
    for tokens in (len(prompt) + 3, len(prompt) + 4):
        shape = (tokens, info.num_layers, 2)
        ids = numpy.stack([numpy.arange(tokens * info.num_layers).reshape(shape[:2]) % 32,
                           numpy.full(shape[:2], 63)], axis=-1)
        for dtype in ("<i2", "<i4", "<i8", "|u1"):
            path = tmp_path / "routed_experts.npy"
            numpy.save(path, ids.astype(dtype))
            done = server.ctl("--json", "generate", PROMPT, "-n", 4, "--ignore-eos", "--replay",
                              path)
            assert done.returncode == 0, done.stderr
            usage = json.loads(done.stdout)["usage"]
            assert int(usage["expert_activations"]) == (len(prompt) + 3) * info.num_layers * 2
            for out in ("b.json", "b.npy"):
                convert = server.ctl("trace", "convert", path, tmp_path / out)
                assert convert.returncode == 0, convert.stderr
            written = numpy.load(tmp_path / "b.npy")
            assert written.dtype == numpy.int16
            assert (written == ids).all()
    for wrong, said in ((numpy.asfortranarray(ids.astype("<i2")), "Fortran"),
                        (ids.astype(">i2"), ">i2"), (ids.astype("f4"), "<f4"),
                        (ids - 1, "position 0, layer 0: -1")):
        numpy.save(path, wrong)
        done = server.ctl("generate", PROMPT, "-n", 4, "--replay", path)
        assert done.returncode == 2
        assert "routed_experts.npy" in done.stderr and said in done.stderr


def test_replays_are_counted_and_logged_as_such(server):
    prompt = tokens_of(server, PROMPT)
    request = score_request(prompt, [5, 6, 7])
    under = score(server, request)
    start = server.admin.GetExpertStats(api.admin.GetExpertStatsRequest(),
                                        timeout=DEADLINE_S).cursor
    request.request_id = "a-replay"
    stamp = score(server, request, replay=inference.Replay(trace=under.results[0].trace)).routing
    assert (stamp.arm_id, stamp.policy_id) == ("inline", "replay")
    assert len(stamp.trace_digest) == 64
    stats = server.admin.GetExpertStats(api.admin.GetExpertStatsRequest(since_cursor=start),
                                        timeout=DEADLINE_S)
    arm, = (arm for arm in stats.arms if arm.policy_id == "replay")
    assert arm.arm_id == "inline"
    rows = len(prompt) + 2
    for layer in arm.layers:
        assert layer.tokens == rows
        assert sum(layer.expert_tokens) == rows * 8
    assert any("a-replay" in line and "policy=replay" in line
               for line in server.log().splitlines())
    shown = server.ctl("experts", "--all")
    assert shown.returncode == 0, shown.stderr
    assert "replay" in shown.stdout


@pytest.mark.parametrize("method", ["Generate", "Score"])
def test_a_server_without_the_flag_refuses(demo, method):
    if method == "Generate":
        request = api.tokens_request([1, 2], 2)
    else:
        request = score_request([1], [2])
    request.routing.replay.SetInParent()
    with pytest.raises(grpc.RpcError) as error:
        getattr(demo.stub, method)(request, timeout=DEADLINE_S)
    assert error.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert api.details(error.value)["ErrorInfo"].reason == "INLINE_POLICY_NOT_ALLOWED"
