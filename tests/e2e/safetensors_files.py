"""Safetensors files in the format's own words: a header in JSON, and bytes."""

import json


def read(path):
    """name -> (dtype, shape, bytes)."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    return {name: (entry["dtype"], entry["shape"],
                   data[8 + length + entry["data_offsets"][0]:8 + length + entry["data_offsets"][1]])
            for name, entry in header.items()}


def write(path, tensors):
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    start = json.dumps(header).encode()
    path.write_bytes(len(start).to_bytes(8, "little") + start
                     + b"".join(data for _, _, data in tensors.values()))
