"""Traces and statistics as numpy arrays. Needs numpy (`olmoe[analysis]`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from olmoe import _check, _optional
from olmoe.experts import ArmStats
from olmoe.trace import Trace

with _optional.extra("analysis"):
    import numpy
    from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, eq=False)
class TraceArrays:
    """A trace as arrays, read-only views of what came. What was not asked for is empty or None.

    A slot is a position in a layer, slot = row * num_layers + layer; its experts are
    experts[offsets[slot]:offsets[slot + 1]].
    """

    positions: NDArray[numpy.int64]  # [num_positions], from the start of the sequence
    counts: NDArray[numpy.uint8]  # [num_positions, num_layers]: experts run; or [0, num_layers]
    offsets: NDArray[numpy.int64]  # [num_positions * num_layers + 1]; or [1]
    experts: NDArray[numpy.uint8] | None  # [selections], by descending logit
    weights: NDArray[numpy.float32] | None  # [selections]
    logits: NDArray[numpy.float32] | None  # [num_positions, num_layers, num_experts]

    def chosen(self) -> NDArray[numpy.uint8]:
        """`experts`. ValueError where they were not asked for."""
        if self.experts is None:
            raise ValueError("the trace has no experts: TraceOptions(experts=True) asks for them")
        return self.experts

    def slots(self) -> NDArray[numpy.int64]:
        """The slot of each selection: [selections]."""
        return numpy.repeat(numpy.arange(self.counts.size), self.counts.ravel())

    def expert_tokens(self, num_experts: int) -> NDArray[numpy.int64]:
        """Positions that ran each expert: [num_layers, num_experts].

        num_experts: of the model. ValueError where an expert of the trace is not below it,
        or experts were not asked for.
        """
        wanted = _check.integer("num_experts", num_experts, least=1, bits=9)
        experts = self.chosen()
        if experts.size and int(experts.max()) >= wanted:
            raise ValueError(f"num_experts must be above {experts.max()}, which ran, is {wanted}")
        layers = self.counts.shape[1]
        cells = self.slots() % layers * wanted + experts
        return numpy.bincount(cells, minlength=layers * wanted).reshape(layers, wanted)


def of_trace(trace: Trace) -> TraceArrays:
    """The arrays of a trace."""
    raw = trace.raw
    counts = numpy.frombuffer(raw.counts, numpy.uint8).reshape(-1, trace.num_layers)
    offsets = numpy.zeros(counts.size + 1, numpy.int64)
    numpy.cumsum(counts, out=offsets[1:], dtype=numpy.int64)
    logits = _floats(raw.logits)
    return TraceArrays(
        positions=numpy.arange(trace.first_position, trace.first_position + trace.num_positions),
        counts=counts, offsets=offsets,
        experts=numpy.frombuffer(raw.experts, numpy.uint8) if raw.experts else None,
        weights=_floats(raw.weights),
        logits=None if logits is None else logits.reshape(
            trace.num_positions, trace.num_layers, -1))


def _floats(packed: bytes) -> NDArray[numpy.float32] | None:
    return numpy.frombuffer(packed, "<f4") if packed else None


def of_arm(arm: ArmStats) -> NDArray[numpy.int64]:
    """(token, expert) selections: [layers, num_experts], the layers as the arm has them."""
    return numpy.array([layer.expert_tokens for layer in arm.layers], numpy.int64)


def of_arms(arms: Iterable[ArmStats]) -> NDArray[numpy.int64]:
    """Their sum. ValueError where there is none, or their layers differ."""
    listed = list(arms)
    if not listed:
        raise ValueError("nothing was counted of what is asked for")
    layers = {tuple(layer.layer for layer in arm.layers) for arm in listed}
    if len(layers) > 1:
        raise ValueError(f"the layers differ: {' and '.join(map(str, sorted(layers)))}")
    total: NDArray[numpy.int64] = sum(map(of_arm, listed[1:]), of_arm(listed[0]))
    return total
