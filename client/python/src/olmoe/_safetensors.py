"""The safetensors format: headers, and where the arrays of a file lie."""

from __future__ import annotations

import dataclasses
import json
import math
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO, TypeGuard

_MAX_HEADER_BYTES = 1 << 20  # of a recording it has two thousand
_ALIGNMENT = 8
_LENGTH = struct.Struct("<Q")

# Bytes of a value.
SIZES = {"U8": 1, "I32": 4, "F32": 4, "I64": 8}


@dataclasses.dataclass(frozen=True)
class Entry:
    """An array of a file: type ("F32"), shape, and where it begins."""

    dtype: str
    shape: tuple[int, ...]
    offset: int  # bytes from the start of the file

    @property
    def size(self) -> int:
        """Bytes."""
        return SIZES[self.dtype] * math.prod(self.shape)


def start(metadata: Mapping[str, str], shapes: Mapping[str, tuple[str, tuple[int, ...]]]) -> bytes:
    """What a file begins with, byte for byte as olmoectl writes it.

    shapes: name -> (type, shape), in the order of the data.
    """
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name, (dtype, shape) in shapes.items():
        begin, end = end, end + SIZES[dtype] * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": (begin, end)}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return _LENGTH.pack(len(text)) + text


def read_start(file: BinaryIO, size: int) -> tuple[dict[str, str], dict[str, Entry]]:
    """(metadata, entries) of a file of `size` bytes. ValueError says what is wrong."""
    begin = file.read(_LENGTH.size)
    if len(begin) < _LENGTH.size:
        raise ValueError("too short for a safetensors file")
    length, = _LENGTH.unpack(begin)
    data = _LENGTH.size + length
    if not 2 <= length <= min(size - _LENGTH.size, _MAX_HEADER_BYTES):
        raise ValueError(f"not a safetensors file: its header would have {length} bytes")
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the header is not JSON: {error}") from None
    if not isinstance(header, dict):
        raise ValueError("the header is not a JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(
            isinstance(value, str) for value in metadata.values()):
        raise ValueError("__metadata__ must be strings by name")
    return metadata, {name: _entry(name, value, data, size) for name, value in header.items()
                      if isinstance(value, dict) and value.get("dtype") in SIZES}


def _entry(name: str, value: Mapping[str, Any], data: int, size: int) -> Entry:
    shape, offsets = value.get("shape"), value.get("data_offsets")
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"tensor {name}: shape and data_offsets must be lists of integers")
    entry = Entry(value["dtype"], tuple(shape), data + offsets[0])
    if offsets[1] - offsets[0] != entry.size or data + offsets[1] > size:
        raise ValueError(f"tensor {name}: {entry.dtype} {list(entry.shape)} is not at bytes "
                         f"{offsets[0]} to {offsets[1]} of {size - data}")
    return entry


def _are_sizes(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(
        isinstance(each, int) and not isinstance(each, bool) and each >= 0 for each in value)
