"""Calibrations and expert statistics of the real server on the reference model."""

import json
import math
import threading

import grpc
import pytest

import api
from api import admin, routing
from server_process import DEADLINE_S, wait_until

# Decisions of one variant over all sequences that may fall to the other side of a bound by
# float32 noise, of 992.
NEAR_DECISIONS = 4


def put_requests(name, layers):
    for index, layer in enumerate(layers):
        yield admin.PutCalibrationRequest(
            calibration_id=name if index == 0 else "",
            layer_cdf=admin.LayerCdf(layer=index, x0=layer["x0"], dx=layer["dx"],
                                     cdf=layer["cdf"]))


@pytest.fixture(scope="module", name="tables")
def _tables(golden_folder, golden_server):
    """The reference's tables, put under the name "golden"."""
    layers = json.loads((golden_folder / "calibration.json").read_text())["layers"]
    reply = golden_server.admin.PutCalibration(put_requests("golden", layers),
                                               timeout=DEADLINE_S)
    assert reply.calibration.num_layers == len(layers)
    return layers


def bh_policy(alpha, calibration="golden"):
    rule = routing.Rule(
        bh=routing.BenjaminiHochberg(alpha=alpha, min_k=1, max_k=16,
                                     p_value=routing.P_VALUE_KIND_LAYER_CDF,
                                     calibration_id=calibration),
        weight_mode=routing.WEIGHT_MODE_NATIVE)
    return routing.RoutingPolicy(policy_id="patched", apply=rule)


def expert_stats(server, **fields):
    return server.admin.GetExpertStats(admin.GetExpertStatsRequest(**fields), timeout=DEADLINE_S)


@pytest.mark.parametrize("alpha", [0.05, 0.3, 0.6])
@pytest.mark.usefixtures("tables")
def test_bh_with_tables_is_the_reference(golden, golden_numbers, alpha):
    expected = golden_numbers["variants"][f"bh_{alpha}"]
    sequences = golden_numbers["sequences"]
    with golden.patched(bh_policy(alpha)):
        start = expert_stats(golden).cursor
        for sequence in sequences.values():
            golden.greedy(sequence["ids"], 1)
        stats = expert_stats(golden, since_cursor=start)
        greedy = expected["greedy"]["len17"]
        reply = golden.generate(api.tokens_request(sequences["len17"]["ids"], len(greedy["ids"]),
                                                   logprobs=0))
    assert list(reply.token_ids) == greedy["ids"]
    for token, logprob in zip(reply.tokens, greedy["logprobs"], strict=True):
        assert abs(token.logprob - logprob) < 2e-4

    assert len(stats.arms) == 1  # one new token each: nothing was decoded
    assert stats.arms[0].phase == admin.PHASE_PREFILL
    layers = stats.arms[0].layers
    tokens = sum(len(sequence["ids"]) for sequence in sequences.values())
    assert [layer.tokens for layer in layers] == [tokens] * golden_numbers["num_layers"]
    histogram = [sum(counts) for counts in zip(*(layer.experts_per_token for layer in layers))]
    difference = sum(abs(a - b) for a, b in
                     zip(histogram, expected["histogram_k"] + [0] * len(histogram)))
    assert difference <= 2 * NEAR_DECISIONS
    for layer, mean in zip(layers, expected["mean_k_per_layer"], strict=True):
        assert abs(layer.mean_experts_per_token - mean) <= NEAR_DECISIONS / tokens
    mean = sum(k * n for k, n in enumerate(histogram)) / sum(histogram)
    deviation = math.sqrt(sum(n * (k - mean) ** 2 for k, n in enumerate(histogram))
                          / sum(histogram))
    assert abs(deviation - expected["std_k"]) < 0.01


def test_the_same_tables_again_are_fine_and_others_are_not(golden, tables):
    golden.admin.PutCalibration(put_requests("golden", tables), timeout=DEADLINE_S)
    other = [dict(layer, dx=2 * layer["dx"]) for layer in tables]
    with pytest.raises(grpc.RpcError) as error:
        golden.admin.PutCalibration(put_requests("golden", other), timeout=DEADLINE_S)
    assert error.value.code() == grpc.StatusCode.ALREADY_EXISTS


def test_the_policy_digest_follows_the_tables(golden, tables):
    digests = {}
    for name, factor in [("golden", 1), ("same", 1), ("stretched", 2)]:
        layers = [dict(layer, dx=factor * layer["dx"]) for layer in tables]
        golden.admin.PutCalibration(put_requests(name, layers), timeout=DEADLINE_S)
        with golden.patched(bh_policy(0.3, name)):
            digests[name] = golden.greedy([1, 2, 3], 1).routing.policy_digest
    assert digests["golden"] == digests["same"] != digests["stretched"]


def test_live_tokens_make_a_calibration_and_replies_stay_the_same(golden):
    before = golden.generate(api.tokens_request([5, 6, 7, 8], 12, logprobs=2))
    collected = {}

    def build():
        request = admin.BuildCalibrationRequest(calibration_id="live", trim_top=4)
        request.live.tokens = 40
        collected["reply"] = golden.admin.BuildCalibration(request, timeout=DEADLINE_S)

    thread = threading.Thread(target=build)
    thread.start()
    replies = []

    def one_more():
        replies.append(golden.generate(api.tokens_request([5, 6, 7, 8], 12, logprobs=2)))
        return not thread.is_alive()

    wait_until(one_more, "40 tokens are collected")
    thread.join()
    assert collected["reply"].calibration.tokens == 40
    for reply in replies:
        assert reply.token_ids == before.token_ids
        assert [t.logprob for t in reply.tokens] == [t.logprob for t in before.tokens]
    with golden.patched(bh_policy(0.2, "live")):
        assert len(golden.greedy([1, 2, 3], 4).token_ids) == 4
    golden.admin.DeleteCalibration(admin.DeleteCalibrationRequest(calibration_id="live"),
                                   timeout=DEADLINE_S)


@pytest.mark.usefixtures("tables")
def test_a_calibration_in_use_stays(golden):
    request = admin.DeleteCalibrationRequest(calibration_id="golden")
    with golden.patched(bh_policy(0.3)):
        with pytest.raises(grpc.RpcError) as error:
            golden.admin.DeleteCalibration(request, timeout=DEADLINE_S)
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert api.details(error.value)["PreconditionFailure"].violations[0].type == (
        "CALIBRATION_IN_USE")


def test_texts_need_a_tokenizer_and_demo_has_one(golden, demo):
    request = admin.BuildCalibrationRequest(calibration_id="texts", trim_top=8)
    request.texts.texts.append("One text to count the router logits of.")
    with pytest.raises(grpc.RpcError) as error:
        golden.admin.BuildCalibration(request, timeout=DEADLINE_S)
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    built = demo.admin.BuildCalibration(request, timeout=DEADLINE_S).calibration
    assert built.tokens > 0
    layers = list(demo.admin.GetCalibration(
        admin.GetCalibrationRequest(calibration_id="texts"), timeout=DEADLINE_S))
    assert len(layers) == built.num_layers
    assert demo.admin.BuildCalibration(request, timeout=DEADLINE_S).calibration == built
    demo.admin.DeleteCalibration(admin.DeleteCalibrationRequest(calibration_id="texts"),
                                 timeout=DEADLINE_S)


def test_a_watch_tells_what_came(golden):
    request = admin.WatchExpertStatsRequest()
    request.interval.FromMilliseconds(100)
    request.filter.since_cursor = expert_stats(golden).cursor
    watch = golden.admin.WatchExpertStats(request, timeout=DEADLINE_S)
    assert not next(watch).delta.arms
    golden.greedy([1, 2, 3], 2)
    tokens = {}
    while len(tokens) < 2:
        for arm in next(watch).delta.arms:
            tokens[arm.phase] = tokens.get(arm.phase, 0) + arm.layers[0].tokens
    watch.cancel()
    assert tokens == {admin.PHASE_PREFILL: 3, admin.PHASE_DECODE: 1}
