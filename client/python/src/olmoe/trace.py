"""Which experts ran."""

from __future__ import annotations

import dataclasses
import functools
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from olmoe.v1 import inference_pb2

if TYPE_CHECKING:
    import pandas

    from olmoe.arrays import TraceArrays

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Trace:
    """Which experts ran, per position and layer. The lists are made when they are asked for.

    `raw` holds the arrays as they came: counts and experts as uint8, weights and logits as
    little-endian float32.
    """

    first_position: int  # 0-based, from the start of the sequence
    num_positions: int
    num_layers: int
    raw: inference_pb2.RoutingTrace = dataclasses.field(repr=False)

    @classmethod
    def join(cls, messages: Sequence[inference_pb2.RoutingTrace]) -> Trace | None:
        """The trace of parts that follow each other; None where they are empty."""
        parts = [each for each in messages if each.num_positions > 0]
        if not parts:
            return None
        raw = inference_pb2.RoutingTrace(
            first_position=parts[0].first_position,
            num_positions=sum(each.num_positions for each in parts),
            num_layers=parts[0].num_layers,
            counts=b"".join(each.counts for each in parts),
            experts=b"".join(each.experts for each in parts),
            weights=b"".join(each.weights for each in parts),
            logits=b"".join(each.logits for each in parts))
        return cls.of(raw)

    @classmethod
    def of(cls, raw: inference_pb2.RoutingTrace) -> Trace:
        """The trace of a message."""
        return cls(raw.first_position, raw.num_positions, raw.num_layers, raw)

    @classmethod
    def from_vllm(cls, array: Any) -> Trace:
        """The trace of vLLM's `routed_experts`, integers [positions, layers, top_k], for a Replay.

        vLLM records the positions 0 to tokens - 2; it has no weights. Needs numpy. ValueError for
        what is no such array.
        """
        from olmoe import replay  # it has traces

        return cls.of(replay.trace_of_vllm(array))

    def to_vllm(self) -> Any:
        """The same array of int16. Needs numpy.

        ValueError where a row has another number of experts than the first, and where the trace
        does not begin at position 0.
        """
        from olmoe import replay

        return replay.vllm_of_trace(self.raw)

    @functools.cached_property
    def counts(self) -> list[list[int]]:
        """Experts run: [num_positions][num_layers]."""
        return [list(self.raw.counts[start:start + self.num_layers])
                for start in range(0, len(self.raw.counts), self.num_layers or 1)]

    @functools.cached_property
    def experts(self) -> list[list[list[int]]]:
        """Their ids, by descending logit: [num_positions][num_layers][count].

        Empty unless asked for.
        """
        return self._ragged(list(self.raw.experts))

    @functools.cached_property
    def weights(self) -> list[list[list[float]]]:
        """Their weights: [num_positions][num_layers][count]. Empty unless asked for."""
        return self._ragged(_floats(self.raw.weights))

    @functools.cached_property
    def logits(self) -> list[list[list[float]]]:
        """Raw router logits: [num_positions][num_layers][num_experts]. Empty unless asked for."""
        flat = _floats(self.raw.logits)
        rows = self.num_positions * self.num_layers
        size = len(flat) // rows
        return self._by_position([flat[row * size:(row + 1) * size] for row in range(rows)]
                                 if flat else [])

    def to_numpy(self) -> TraceArrays:
        """The trace as numpy arrays; ImportError without numpy (`olmoe[analysis]`)."""
        from olmoe import arrays
        return arrays.of_trace(self)

    def to_frame(self) -> pandas.DataFrame:
        """A row for each expert that ran: position, layer, rank (1 = first), expert.

        With weights also weight, with logits also logit. ValueError where experts were not asked
        for; ImportError without pandas (`olmoe[analysis]`).
        """
        from olmoe import frames
        return frames.of_trace(self)

    def _ragged(self, flat: list[T]) -> list[list[list[T]]]:
        if not flat:
            return []
        rows, start = [], 0
        for count in self.raw.counts:
            rows.append(flat[start:start + count])
            start += count
        return self._by_position(rows)

    def _by_position(self, rows: list[T]) -> list[list[T]]:
        return [rows[start:start + self.num_layers]
                for start in range(0, len(rows), self.num_layers or 1)]


def _floats(packed: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(packed) // 4}f", packed))
