"""A request under a routing that was recorded: by this server, or by vLLM."""

from __future__ import annotations

import dataclasses
import enum
import importlib
from typing import Any

from olmoe import _check, policies
from olmoe.trace import Trace
from olmoe.v1 import inference_pb2


class ReplayWeights(enum.IntEnum):
    """Where the weights of replayed experts come from."""

    LIVE = 1  # the softmax of the logits as they are now, in the weight mode of `otherwise`
    RECORDED = 2  # the trace


@dataclasses.dataclass(frozen=True)
class Replay(_check.Fields):
    """Goes where a request takes a policy: the experts of a trace run wherever it has some.

    trace: with its weights for RECORDED. At most as long as prompt and new tokens, or context and
      continuation, together; a score request with it has one item and is not rolling.
    otherwise: routes the positions that the trace does not cover; None: the model's own routing.

    PermissionDenied unless the server allows inline policies. The stamp of the reply has the policy
    id "replay" and the trace's digest.
    """

    trace: Trace
    weights: ReplayWeights = ReplayWeights.LIVE
    otherwise: policies.PolicyLike | None = None

    _checks = {
        "Trace": lambda name, value: _check.instance(name, value, Trace, "a Trace"),
        "ReplayWeights": lambda name, value: _check.one_of(name, value, ReplayWeights),
        "policies.PolicyLike": lambda name, value: policies.as_policy(value, name),
    }


def replay_to_proto(replay: Replay) -> inference_pb2.Replay:
    """The message, without what the server does not look at."""
    trace = inference_pb2.RoutingTrace()
    trace.CopyFrom(replay.trace.raw)
    trace.ClearField("logits")
    if replay.weights is not ReplayWeights.RECORDED:
        trace.ClearField("weights")
    return inference_pb2.Replay(
        trace=trace, weights=replay.weights.value,  # type: ignore[arg-type]
        otherwise=(None if replay.otherwise is None
                   else policies.policy_to_proto(replay.otherwise)))


def _numpy() -> Any:
    try:
        return importlib.import_module("numpy")
    except ImportError as error:
        raise ImportError("arrays of vLLM need numpy") from error


def trace_of_vllm(array: Any) -> inference_pb2.RoutingTrace:
    """What Trace.from_vllm gives, as a message."""
    numpy = _numpy()
    ids = numpy.asarray(array)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"array must be of integers, not of {ids.dtype}")
    if ids.ndim != 3 or 0 in ids.shape:
        raise ValueError(f"array must be [positions, layers, top_k], is {list(ids.shape)}")
    positions, layers, top_k = ids.shape
    if top_k > 255:
        raise ValueError(f"array: top_k must be 1..255, is {top_k}")
    wrong = numpy.argwhere((ids < 0) | (ids > 255))
    if len(wrong):
        position, layer, place = wrong[0]
        raise ValueError(f"array[{position}, {layer}, {place}] must be the id of an expert, is "
                         f"{ids[position, layer, place]}")
    return inference_pb2.RoutingTrace(
        num_positions=positions, num_layers=layers, counts=bytes([top_k]) * (positions * layers),
        experts=ids.astype(numpy.uint8).tobytes())


def vllm_of_trace(trace: inference_pb2.RoutingTrace) -> Any:
    """What Trace.to_vllm gives."""
    numpy = _numpy()
    if trace.first_position != 0:
        raise ValueError(f"the trace begins at position {trace.first_position}, an array of vLLM "
                         "at 0")
    counts = trace.counts
    if len(trace.experts) != sum(counts) or not counts:
        raise ValueError("the trace has no experts: ask for them with trace=True")
    for slot, count in enumerate(counts):
        if count != counts[0]:
            position, layer = divmod(slot, trace.num_layers)
            raise ValueError("an array of vLLM has as many experts in every row; position "
                             f"{position}, layer {layer} has {count}, those before have "
                             f"{counts[0]}")
    ids = numpy.frombuffer(trace.experts, dtype=numpy.uint8)
    return ids.astype(numpy.int16).reshape(trace.num_positions, trace.num_layers, counts[0])
