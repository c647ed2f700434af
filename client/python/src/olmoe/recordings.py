"""Recordings: what the routers did, in the files that olmoectl writes with --trace-out.

docs/reference/tables.md lists their arrays.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import pathlib
import re
import shutil
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import BinaryIO, Self

from olmoe import _check, _safetensors
from olmoe.results import ModelInfo, Stamp
from olmoe.trace import Trace
from olmoe.v1 import inference_pb2

_FORMAT = "olmoe-routing-trace-1"
_LAYOUT = ("row r, layer l: experts[offsets[r*layers+l]:offsets[r*layers+l+1]], the same of "
           "weights; logits[r,l,:]; tokens[r] at positions[r] of items[r]")
# In the order of the file; each with its type and the number of its dimensions.
_ARRAYS = {"offsets": ("I64", 1), "weights": ("F32", 1), "logits": ("F32", 3),
           "tokens": ("I32", 1), "positions": ("I32", 1), "items": ("I32", 1),
           "counts": ("U8", 2), "experts": ("U8", 1)}
_MAX_EXPERTS = 128  # of a router that the server takes
_MAX_LAYERS = 1 << 20
_MAX_PART_ROWS = 1 << 16  # more than any context: what is longer comes in several parts


def _checked_path(path: object) -> pathlib.Path:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a path, not {path!r}")
    return pathlib.Path(path)


def _ints(packed: bytes, code: str = "i") -> tuple[int, ...]:
    return struct.unpack(f"<{len(packed) // struct.calcsize(code)}{code}", packed)


@dataclasses.dataclass(frozen=True)
class RecordedPart(_check.Fields):
    """Rows that follow each other in one sequence."""

    _checks = {"Trace": lambda name, value: _check.instance(name, value, Trace, "a Trace")}

    item: int  # of the request: 0, but for a batch of scores
    tokens: tuple[int, ...]  # [trace.num_positions]: those at its positions
    trace: Trace  # with experts, weights and logits

    @classmethod
    def of(cls, trace: Trace, sequence: Sequence[int], item: int = 0) -> RecordedPart:
        """A trace with the tokens at its positions.

        sequence: the tokens from position 0 on, at least as far as the trace goes.
        """
        _check.instance("trace", trace, Trace, "a Trace")
        tokens = _check.integers("sequence", sequence)
        end = trace.first_position + trace.num_positions
        if len(tokens) < end:
            raise ValueError(f"sequence must have {end} tokens at least, has {len(tokens)}")
        return cls(_check.integer("item", item), tuple(tokens[trace.first_position:end]), trace)


class Recording:
    """A recording to read, from disk as it is needed. Use it as a context manager or close it.

        with olmoe.Recording("trace.safetensors") as recording:
            for part in recording:
                print(part.item, part.trace.experts[0])

    OSError where the file cannot be read, ValueError, which names it, where it is no recording.
    Not thread-safe.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = _checked_path(path)
        self._file: BinaryIO = open(self.path, "rb")
        try:
            self._metadata, self._entries = _safetensors.read_start(
                self._file, os.fstat(self._file.fileno()).st_size)
            self._shape = self._checked_shape()
        except ValueError as error:
            self._file.close()
            raise ValueError(f"{self.path}: {error}") from None

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    @property
    def metadata(self) -> dict[str, str]:
        """The model, and what routed the request: strings by name."""
        return dict(self._metadata)

    @property
    def num_rows(self) -> int:
        """Positions of all items."""
        return self._shape[0]

    @property
    def num_layers(self) -> int:
        """Routers."""
        return self._shape[1]

    @property
    def num_experts(self) -> int:
        """Experts of a router."""
        return self._shape[2]

    def __iter__(self) -> Iterator[RecordedPart]:
        """The parts, in their order. Only one at a time is in memory.

        ValueError, which names the file, where the arrays of a part contradict each other.
        """
        start = 0
        while start < self.num_rows:
            end = self._end_of_part(start)
            yield self._part(start, end)
            start = end

    def _checked_shape(self) -> tuple[int, int, int]:
        _check_metadata(self._metadata)
        for name, (dtype, dimensions) in _ARRAYS.items():
            entry = self._entries.get(name)
            if entry is None or entry.dtype != dtype or len(entry.shape) != dimensions:
                raise ValueError(f"tensor {name} must be {dtype} of {dimensions} "
                                 f"dimension{'s' * (dimensions > 1)}")
        rows, layers, experts = self._entries["logits"].shape
        if not 1 <= experts <= _MAX_EXPERTS or not 1 <= layers <= _MAX_LAYERS:
            raise ValueError(f"logits must be of 1..{_MAX_EXPERTS} experts in 1..{_MAX_LAYERS} "
                             f"layers, are of {experts} in {layers}")
        selections = self._entries["experts"].shape
        shapes = {"offsets": (rows * layers + 1,), "weights": selections, "tokens": (rows,),
                  "positions": (rows,), "items": (rows,), "counts": (rows, layers)}
        if any(self._entries[name].shape != shape for name, shape in shapes.items()):
            raise ValueError("the arrays do not have the same number of rows")
        first, last = (_ints(self._read("offsets", slot, slot + 1), "q")[0]
                       for slot in (0, rows * layers))
        if first != 0 or last != selections[0]:
            raise ValueError("offsets must start at 0 and end with the experts")
        return rows, layers, experts

    def _read(self, name: str, begin: int, end: int) -> bytes:
        """Values [begin, end) of an array, counted without its shape."""
        entry = self._entries[name]
        size = _safetensors.SIZES[entry.dtype]
        self._file.seek(entry.offset + begin * size)
        data = self._file.read((end - begin) * size)
        if len(data) != (end - begin) * size:
            raise ValueError(f"{self.path}: has become shorter")
        return data

    def _end_of_part(self, start: int) -> int:
        """Where the item changes, or a position does not follow."""
        item, = _ints(self._read("items", start, start + 1))
        position, = _ints(self._read("positions", start, start + 1))
        begin, step, last = start, 64, min(self.num_rows, start + _MAX_PART_ROWS)
        while begin < last:
            end = min(begin + step, last)
            rows = zip(_ints(self._read("items", begin, end)),
                       _ints(self._read("positions", begin, end)), strict=True)
            for row, pair in enumerate(rows, begin):
                if pair != (item, position + row - start):
                    return row
            begin, step = end, 2 * step
        return last

    def _part(self, start: int, end: int) -> RecordedPart:
        slots = start * self.num_layers, end * self.num_layers
        counts = self._read("counts", *slots)
        offsets = _ints(self._read("offsets", slots[0], slots[1] + 1), "q")
        if any(after - before != count
               for before, after, count in zip(offsets, offsets[1:], counts, strict=False)):
            raise ValueError(f"{self.path}: offsets are not what counts say in rows {start} to "
                             f"{end - 1}")
        chosen = offsets[0], offsets[-1]
        if chosen[0] < 0 or chosen[1] > self._entries["experts"].shape[0]:
            raise ValueError(f"{self.path}: offsets of rows {start} to {end - 1} are outside of "
                             "the experts")
        position, = _ints(self._read("positions", start, start + 1), "I")
        item, = _ints(self._read("items", start, start + 1), "I")
        trace = Trace.join([inference_pb2.RoutingTrace(
            first_position=position, num_positions=end - start, num_layers=self.num_layers,
            counts=counts, experts=self._read("experts", *chosen),
            weights=self._read("weights", *chosen),
            logits=self._read("logits", *(slot * self.num_experts for slot in slots)))])
        assert trace is not None
        return RecordedPart(item, _ints(self._read("tokens", start, end), "I"), trace)


def recording_metadata(model: ModelInfo, stamp: Stamp) -> dict[str, str]:
    """What a recording says of the model and of what routed the request."""
    _check.instance("model", model, ModelInfo, "a ModelInfo")
    _check.instance("stamp", stamp, Stamp, "a Stamp")
    return {"format": _FORMAT, "layout": _LAYOUT, "model_id": model.model_id,
            "weights_digest": model.weights_digest, "server_version": model.server_version,
            "dtype": model.dtype, "num_layers": str(model.num_layers),
            "num_experts": str(model.num_experts), "default_top_k": str(model.default_top_k),
            "norm_topk_prob": "true" if model.norm_topk_prob else "false",
            "generation": str(stamp.generation), "arm_id": stamp.arm,
            "policy_id": stamp.policy_id, "policy_digest": stamp.policy_digest}


def _check_metadata(metadata: Mapping[str, str]) -> None:
    if metadata.get("format") != _FORMAT:
        raise ValueError(f"is not a routing trace ({_FORMAT})")
    if not _number(metadata, "default_top_k", _MAX_EXPERTS):
        raise ValueError("default_top_k of the metadata must be 1..num_experts")


def _number(metadata: Mapping[str, str], name: str, most: int) -> int:
    """0 where it is not 1..most."""
    text = metadata.get(name, "")
    return int(text) if re.fullmatch("[1-9][0-9]{0,6}", text) and int(text) <= most else 0


class RecordingWriter:
    """A recording to write, part by part, as large as the disk allows. Use it as a context manager.

        tokens = list(client.tokenize(prompt, add_special_tokens=True).ids)
        with client.stream(tokens, trace=olmoe.TraceOptions(weights=True, logits=True)) as stream:
            deltas = list(stream)
        metadata = olmoe.recording_metadata(client.model_info(), stream.started.stamp)
        with olmoe.RecordingWriter("trace.safetensors", metadata) as writer:
            for delta in deltas:
                tokens += delta.token_ids
                writer.append(olmoe.RecordedPart.of(delta.trace, tokens))

    The file replaces one of its name at the end of the block; where that raises, nothing is
    written. Until then the parts wait in temporary files in the folder of `path`. Not thread-safe.
    """

    def __init__(self, path: str | os.PathLike[str], metadata: Mapping[str, str]) -> None:
        """metadata: of recording_metadata, or of another recording.

        ValueError where they do not describe a recording; OSError where nothing can be written.
        """
        self.path = _checked_path(path)
        if not isinstance(metadata, Mapping):
            raise TypeError(f"metadata must be a mapping of strings, not {metadata!r}")
        self._metadata = {_check.text("a name of metadata", name):
                          _check.text(f"metadata[{name!r}]", value)
                          for name, value in metadata.items()}
        try:
            _check_metadata(self._metadata)
        except ValueError as error:
            raise ValueError(f"metadata: {error}") from None
        self._layers = _number(self._metadata, "num_layers", _MAX_LAYERS)
        self._experts = _number(self._metadata, "num_experts", _MAX_EXPERTS)
        if not self._layers or not self._experts:
            raise ValueError("metadata: num_layers and num_experts must be there, and above 0")
        self._rows = self._selections = 0
        with contextlib.ExitStack() as files:
            self._spools = {name: files.enter_context(tempfile.TemporaryFile(dir=self.path.parent))
                            for name in _ARRAYS}
            self._files = files.pop_all()
        self._spools["offsets"].write(struct.pack("<q", 0))

    def append(self, part: RecordedPart) -> None:
        """Adds rows. ValueError, and no row, where its trace is not whole or of another shape."""
        _check.instance("part", part, RecordedPart, "a RecordedPart")
        raw, rows = part.trace.raw, part.trace.num_positions
        slots, selections = rows * self._layers, sum(raw.counts)
        if part.trace.num_layers != self._layers or (
                len(raw.counts), len(raw.experts), len(raw.weights), len(raw.logits)) != (
                slots, selections, 4 * selections, 4 * slots * self._experts):
            raise ValueError(
                f"part: its trace must have experts, weights and logits of {self._layers} layers "
                f"with {self._experts} experts: TraceOptions(weights=True, logits=True)")
        if len(part.tokens) != rows:
            raise ValueError(f"part: has {len(part.tokens)} tokens at {rows} positions")
        first = part.trace.first_position
        offsets = itertools.accumulate(raw.counts, initial=self._selections)
        next(offsets)
        for name, data in {
                "offsets": struct.pack(f"<{slots}q", *offsets), "weights": raw.weights,
                "logits": raw.logits, "tokens": struct.pack(f"<{rows}I", *part.tokens),
                "positions": struct.pack(f"<{rows}i", *range(first, first + rows)),
                "items": struct.pack("<I", part.item) * rows, "counts": raw.counts,
                "experts": raw.experts}.items():
            self._spools[name].write(data)
        self._rows += rows
        self._selections += selections

    def close(self) -> None:
        """Writes the file. OSError where that fails: what was there before stays."""
        with self._files:
            partial = self.path.with_name(f"{self.path.name}.partial")
            try:
                with open(partial, "wb") as file:
                    file.write(_safetensors.start(self._metadata, self._shapes()))
                    for spool in self._spools.values():
                        spool.seek(0)
                        shutil.copyfileobj(spool, file)
                partial.replace(self.path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self._files.close()

    def _shapes(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        slots = self._rows * self._layers
        shapes = {"offsets": (slots + 1,), "weights": (self._selections,),
                  "logits": (self._rows, self._layers, self._experts),
                  "counts": (self._rows, self._layers), "experts": (self._selections,)}
        return {name: (dtype, shapes.get(name, (self._rows,)))
                for name, (dtype, _) in _ARRAYS.items()}
