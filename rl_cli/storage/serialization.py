"""Checkpoint state as JSON and arrays, and back; arrays as a safetensors file without a copy.

No torch is imported here: commands that refuse bad input read checkpoints before torch is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from rl_cli.core.state import Blocks, Piece
from rl_cli.core.types import Arrays


def pack(state: Any) -> tuple[Any, Arrays, dict[str, Piece]]:
    """Split nested state into JSON, arrays by name, and pieces of tables by file name.

    An array's name is its path in the JSON, e.g. "optimizer.moments.0".
    """
    arrays: Arrays = {}
    pieces: dict[str, Piece] = {}

    def walk(value: Any, path: str) -> Any:
        if hasattr(value, "detach"):  # a tensor
            value = value.detach().cpu().numpy()
        if isinstance(value, np.ndarray):
            while path in arrays:  # {"a": [x], "a.0": y}
                path += "'"
            arrays[path] = np.ascontiguousarray(value).reshape(value.shape)
            return {"$array": path}
        if isinstance(value, Blocks):
            names = [f"{path}-{i:04d}-{v:012d}.safetensors" for i, v in enumerate(value.versions)]
            pieces.update(zip(names, value.parts(), strict=True))
            return {"$blocks": names}
        if isinstance(value, dict):
            return {
                key: walk(part, f"{path}.{key}" if path else key) for key, part in value.items()
            }
        if isinstance(value, list | tuple):
            return [walk(part, f"{path}.{i}") for i, part in enumerate(value)]
        return value.item() if isinstance(value, np.generic) else value

    return walk(state, ""), arrays, pieces


def unpack(tree: Any, arrays: Arrays, piece: Callable[[str], Arrays]) -> Any:
    """The inverse of `pack`. Arrays and tensors become numpy arrays, `Blocks` the list of its pieces.

    Args:
        tree: the JSON that `pack` returned.
        arrays: name -> array.
        piece: reads the columns of a piece from the file of this name.

    """
    if isinstance(tree, dict):
        if set(tree) == {"$array"}:
            return arrays[tree["$array"]]
        if set(tree) == {"$blocks"}:
            return [piece(name) for name in tree["$blocks"]]
        return {key: unpack(part, arrays, piece) for key, part in tree.items()}
    return [unpack(part, arrays, piece) for part in tree] if isinstance(tree, list) else tree


Chunk = bytes | memoryview

DTYPES = {
    **{"float64": "F64", "float32": "F32", "float16": "F16", "bool": "BOOL"},
    **{f"int{n}": f"I{n}" for n in (8, 16, 32, 64)},
    **{f"uint{n}": f"U{n}" for n in (8, 16, 32, 64)},
}
"""dtype names of numpy -> those of safetensors."""

LENGTH_BYTES = 8


def as_safetensors(arrays: Arrays) -> list[Chunk]:
    """A safetensors file in chunks: the header, then views of the arrays' memory.

    Format (https://huggingface.co/docs/safetensors): length of the header, header as JSON, arrays.
    Arrays are sorted by item size, largest first, so that each is aligned.
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
    """Size in bytes of the header that `as_safetensors` wrote."""
    return len(chunks[0]) - LENGTH_BYTES
