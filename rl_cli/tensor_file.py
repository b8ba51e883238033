"""Writing safetensors files without a copy of the arrays."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from rl_cli.types import Arrays

Chunk = bytes | memoryview
DTYPES = {
    **{"float64": "F64", "float32": "F32", "float16": "F16", "bool": "BOOL"},
    **{f"int{n}": f"I{n}" for n in (8, 16, 32, 64)},
    **{f"uint{n}": f"U{n}" for n in (8, 16, 32, 64)},
}
"""numpy's names -> those of safetensors."""
LENGTH_BYTES = 8


def as_safetensors(arrays: Arrays) -> list[Chunk]:
    """A safetensors file in chunks, of which all but the first are the arrays' own memory.

    https://huggingface.co/docs/safetensors: length and JSON of a header, then the arrays; those of
    the widest numbers first, so that each is aligned.
    """
    header: dict[str, Any] = {}
    chunks: list[Chunk] = []
    end = 0
    for name in sorted(arrays, key=lambda n: (-arrays[n].itemsize, n)):
        array = np.ascontiguousarray(arrays[name]).reshape(arrays[name].shape)
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": DTYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
        chunks.append(array.reshape(-1).view(np.uint8).data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(LENGTH_BYTES, "little") + text, *chunks]


def header_bytes(chunks: list[Chunk]) -> int:
    """Bytes of the header of what `as_safetensors` made."""
    return len(chunks[0]) - LENGTH_BYTES
