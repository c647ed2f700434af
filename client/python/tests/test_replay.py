"""Requests under a recorded routing, and the arrays of vLLM."""

import pytest

import olmoe
from olmoe import _requests
from olmoe.v1 import inference_pb2

PROMPT = "Once upon a time there was a little fox"


def trace_of(counts, experts, layers, first_position=0):
    return olmoe.Trace.of(inference_pb2.RoutingTrace(
        first_position=first_position, num_positions=len(counts) // layers, num_layers=layers,
        counts=bytes(counts), experts=bytes(experts), weights=bytes(4 * len(experts)),
        logits=bytes(16)))


def test_the_message_has_what_the_server_looks_at():
    trace = trace_of([1, 1], [5, 3], 2)
    live = _requests.selector(None, olmoe.Replay(trace)).replay
    assert live == inference_pb2.Replay(
        trace=inference_pb2.RoutingTrace(num_positions=1, num_layers=2, counts=b"\1\1",
                                         experts=b"\5\3"),
        weights=inference_pb2.REPLAY_WEIGHTS_LIVE)
    recorded = _requests.selector(
        None, olmoe.Replay(trace, olmoe.ReplayWeights.RECORDED, "top-k=2")).replay
    assert recorded.trace.weights == bytes(8)
    assert not recorded.trace.logits
    assert recorded.otherwise.apply.top_k.k == 2
    assert trace.raw.logits
    with pytest.raises(ValueError, match="arm and policy"):
        _requests.selector("a", olmoe.Replay(trace))


def test_a_score_under_its_own_trace_has_the_same_bits(client):
    policy = olmoe.TopK(5, adjust=olmoe.Adjust(force=[3]))
    reply = client.generate(PROMPT, 12, temperature=0, policy=policy, trace=True)
    options = {"per_token": True}
    before = client.score(PROMPT, reply.text, policy=policy, trace=olmoe.TraceOptions(weights=True),
                          **options)
    for replay in (olmoe.Replay(before.trace, otherwise=policy),
                   olmoe.Replay(before.trace, olmoe.ReplayWeights.RECORDED)):
        after = client.score(PROMPT, reply.text, policy=replay, trace=True, **options)
        assert after.tokens == before.tokens
        assert after.trace.experts == before.trace.experts
    assert client.generate(PROMPT, 12, temperature=0, policy=olmoe.Replay(
        reply.trace, otherwise=policy)).token_ids == reply.token_ids


def test_the_stamp_names_the_trace(client):
    reply = client.generate(PROMPT, 4, temperature=0, trace=True)
    assert reply.stamp.trace_digest == ""
    stamp = client.generate(PROMPT, 4, temperature=0, policy=olmoe.Replay(reply.trace)).stamp
    assert (stamp.arm, stamp.policy_id, len(stamp.trace_digest)) == ("inline", "replay", 64)
    assert stamp.policy_digest == reply.stamp.policy_digest


def test_what_the_server_refuses_names_the_field(client):
    with pytest.raises(olmoe.InvalidRequest) as error:
        client.generate(PROMPT, 4, policy=olmoe.Replay(trace_of([1, 0], [3], 2)))
    assert [violation.field for violation in error.value.violations] == [
        "routing.replay.trace.num_layers", "routing.replay.trace.counts"]


def test_arrays_of_vllm_both_ways():
    numpy = pytest.importorskip("numpy")
    trace = trace_of([2] * 6, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], 2)
    array = trace.to_vllm()
    assert (array.dtype, array.shape) == (numpy.int16, (3, 2, 2))
    assert array[2].tolist() == [[9, 10], [11, 12]]
    for dtype in (numpy.int16, numpy.int32, numpy.int64, numpy.uint8):
        for given in (array.astype(dtype), numpy.asfortranarray(array.astype(dtype))):
            back = olmoe.Trace.from_vllm(given)
            assert (back.first_position, back.num_positions, back.num_layers) == (0, 3, 2)
            assert back.experts == trace.experts
            assert back.weights == []


@pytest.mark.parametrize(("array", "error", "said"), [
    ([[1, 2]], ValueError, r"\[positions, layers, top_k\], is \[1, 2\]"),
    ([[[]]], TypeError, "of integers"),
    ([[[1.5]]], TypeError, "of integers, not of float64"),
    ([[[1], [2]], [[3], [-1]]], ValueError, r"array\[1, 1, 0\] must be the id of an expert, is -1"),
    ([[[256]]], ValueError, "is 256"),
    ([[list(range(256))]], ValueError, "top_k must be 1..255, is 256"),
])
def test_what_is_no_array_of_vllm_is_refused(array, error, said):
    pytest.importorskip("numpy")
    with pytest.raises(error, match=said):
        olmoe.Trace.from_vllm(array)


@pytest.mark.parametrize(("trace", "said"), [
    (trace_of([2, 2, 2, 1], [1, 2, 1, 2, 1, 2, 1], 2), "position 1, layer 1 has 1, those before"),
    (trace_of([1, 1], [1, 2], 1, first_position=3), "begins at position 3"),
    (trace_of([1, 1], [], 1), "has no experts"),
])
def test_what_vllm_cannot_hold_is_refused(trace, said):
    pytest.importorskip("numpy")
    with pytest.raises(ValueError, match=said):
        trace.to_vllm()


def test_without_numpy_the_error_names_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "numpy", None)
    with pytest.raises(ImportError, match="need numpy"):
        olmoe.Trace.from_vllm([])
