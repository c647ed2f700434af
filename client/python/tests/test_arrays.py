"""Traces and statistics as arrays and frames: the numbers of the lists, cell by cell."""

import subprocess
import sys

import numpy
import pytest

import olmoe
from olmoe.v1 import inference_pb2

PROMPT = "Once upon a time there was"
WHOLE = olmoe.TraceOptions(weights=True, logits=True)


@pytest.fixture(name="trace")
def _trace(client):
    return client.generate(PROMPT, 6, temperature=0, policy="top-p=0.5", trace=WHOLE).trace


def test_the_arrays_of_a_trace_are_its_lists(trace):
    arrays = trace.to_numpy()
    assert arrays.positions.tolist() == list(range(trace.num_positions))
    assert arrays.counts.tolist() == trace.counts
    assert arrays.logits.tolist() == trace.logits
    chosen = [expert for layers in trace.experts for experts in layers for expert in experts]
    assert arrays.experts.tolist() == chosen
    assert arrays.weights.tolist() == [
        weight for layers in trace.weights for weights in layers for weight in weights]
    assert arrays.offsets[0] == 0 and arrays.offsets[-1] == len(chosen)
    slot = 3 * trace.num_layers + 2
    assert arrays.experts[arrays.offsets[slot]:arrays.offsets[slot + 1]].tolist() == \
        trace.experts[3][2]


def test_experts_of_a_trace_are_counted_by_layer(client, trace):
    experts = client.model_info().num_experts
    tokens = trace.to_numpy().expert_tokens(experts)
    expected = numpy.zeros((trace.num_layers, experts), int)
    for layers in trace.experts:
        for layer, chosen in enumerate(layers):
            expected[layer, chosen] += 1
    assert (tokens == expected).all()
    with pytest.raises(ValueError, match="num_experts must be above"):
        trace.to_numpy().expert_tokens(2)


def test_a_frame_of_a_trace_has_a_row_for_each_expert_that_ran(trace):
    frame = trace.to_frame()
    assert list(frame.columns) == ["position", "layer", "rank", "expert", "weight", "logit"]
    assert len(frame) == sum(trace.raw.counts)
    for row in frame.sample(50, random_state=1).itertuples():
        place = trace.experts[row.position][row.layer]
        assert place[row.rank - 1] == row.expert
        assert trace.weights[row.position][row.layer][row.rank - 1] == row.weight
        assert trace.logits[row.position][row.layer][row.expert] == row.logit


def test_what_was_not_asked_for_is_not_there(client):
    plain = client.generate(PROMPT, 1, trace=True).trace
    assert plain.to_numpy().weights is None and plain.to_numpy().logits is None
    assert list(plain.to_frame().columns) == ["position", "layer", "rank", "expert"]
    logits = client.generate(PROMPT, 1, trace=olmoe.TraceOptions(experts=False, logits=True)).trace
    assert logits.to_numpy().logits.shape[0] == logits.num_positions
    assert logits.to_numpy().counts.shape == (0, logits.num_layers)
    with pytest.raises(ValueError, match="the trace has no experts"):
        logits.to_frame()


def test_positions_go_on_from_the_first_one_and_slots_may_be_empty():
    trace = olmoe.Trace.join([inference_pb2.RoutingTrace(
        first_position=5, num_positions=2, num_layers=2, counts=bytes([1, 0, 2, 1]),
        experts=bytes([7, 3, 1, 7]))])
    assert trace.to_numpy().positions.tolist() == [5, 6]
    assert trace.to_frame().values.tolist() == [
        [5, 0, 1, 7], [6, 0, 1, 3], [6, 0, 2, 1], [6, 1, 1, 7]]


@pytest.fixture(name="stats")
def _stats(client, admin):
    start = admin.expert_stats()
    admin.patch(olmoe.TopK(2).analyze(olmoe.TopP(0.5)))
    client.generate(PROMPT, 6)
    client.score("Once upon a", " time")
    return admin.expert_stats(since=start)


def test_the_arrays_of_statistics_are_sums_over_arms_and_phases(client, stats):
    info = client.model_info()
    arrays = {(arm.kind, arm.phase): arm.to_numpy() for arm in stats.arms}
    assert set(arrays) >= {(kind, phase) for kind in olmoe.Decision for phase in olmoe.Phase}
    for arm in stats.arms:
        assert arm.to_numpy().tolist() == [list(layer.expert_tokens) for layer in arm.layers]
    total = stats.to_numpy()
    assert total.shape == (info.num_layers, info.num_experts)
    assert (total == sum(arrays[olmoe.Decision.APPLIED, phase] for phase in olmoe.Phase)).all()
    assert (stats.to_numpy("default", kind=olmoe.Decision.ANALYZED, phase=olmoe.Phase.SCORE)
            == arrays[olmoe.Decision.ANALYZED, olmoe.Phase.SCORE]).all()
    with pytest.raises(ValueError, match="nothing was counted"):
        stats.to_numpy("absent")


def test_the_frames_of_statistics_have_every_number(stats):
    frame = stats.to_frame()
    assert list(frame.columns) == ["arm", "policy", "policy_digest", "kind", "phase", "layer",
                                   "expert", "expert_tokens", "tokens"]
    applied = frame[(frame.kind == "APPLIED") & (frame.phase == "SCORE")]
    assert (applied.groupby("layer").expert_tokens.sum() == 2 * applied.groupby(
        "layer").tokens.first()).all()
    layers = stats.layers_frame()
    assert len(layers) == sum(len(arm.layers) for arm in stats.arms)
    first = stats.arms[0]
    row = layers.iloc[3]
    assert (row.arm, row.policy, row.kind, row.phase) == (
        first.arm, first.policy_id, first.kind.name, first.phase.name)
    assert row.mean_experts_per_token == first.layers[3].mean_experts_per_token


def test_statistics_of_nothing_are_an_empty_frame(admin):
    stats = admin.expert_stats(since=admin.expert_stats())
    assert stats.to_frame().empty and stats.layers_frame().empty
    assert "expert_tokens" in stats.to_frame().columns


WITHOUT = """
import sys
for name in ("numpy", "pandas", "matplotlib"):
    sys.modules[name] = None
import olmoe
from olmoe.v1 import inference_pb2
trace = olmoe.Trace(0, 0, 1, inference_pb2.RoutingTrace())
stats = olmoe.ExpertStats((), None, None, "")
with olmoe.Client("127.0.0.1:1") as client:
    for call in (trace.to_numpy, trace.to_frame, stats.to_numpy, stats.to_frame,
                 stats.layers_frame,
                 lambda: olmoe.evaluate(client, olmoe.Corpus("a", ("a",)), ["native", "top-k=1"]),
                 lambda: olmoe.plots.expert_load([[1]]), lambda: olmoe.plots.pareto([])):
        try:
            call()
        except ImportError as error:
            print("olmoe[analysis]" in str(error))
"""


def test_without_its_packages_an_error_names_the_extra():
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True,
                          check=False)
    assert done.stdout.split() == ["True"] * 8, done.stderr
