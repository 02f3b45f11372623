"""safetensors files piece by piece: nothing is read that is not asked for, nothing held to write.

A file is 8 bytes of length, a JSON header with every tensor's dtype, shape and place, and the bytes
of the tensors one after another. Paths are `etils.epath`, so `gs://` works as a folder does.

Reference: github.com/huggingface/safetensors, "Format".
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from etils import epath

from mdx.errors import UsageError

DTYPES: dict[str, np.dtype] = {
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class StoredTensor:
    """Where one tensor lies in a file."""

    file: epath.Path
    offset: int  # bytes from the beginning of the file
    dtype: np.dtype
    shape: tuple[int, ...]

    def read(self, rows: slice = slice(None)) -> np.ndarray:
        """Return those rows (places of axis 0) alone, in the dtype of the file."""
        first, last, _ = rows.indices(self.shape[0])
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        with self.file.open("rb") as stream:
            stream.seek(self.offset + first * row_bytes)
            data = stream.read((last - first) * row_bytes)
        return np.frombuffer(data, self.dtype).reshape(last - first, *self.shape[1:])


def find_tensors(folder: epath.Path) -> dict[str, StoredTensor]:
    """Return every tensor of the model in `folder` by name; only headers are read.

    Raises UsageError where there are no files, one is damaged, or a dtype is unknown.
    """
    if (folder / INDEX).exists():
        weight_map = json.loads((folder / INDEX).read_text())["weight_map"]
        files = sorted(set(weight_map.values()))
    elif (folder / SINGLE).exists():
        files = [SINGLE]
    else:
        raise UsageError(f"a model directory needs {SINGLE}, but {folder} has none")
    return {name: found for file in files for name, found in read_header(folder / file).items()}


def read_header(file: epath.Path) -> dict[str, StoredTensor]:
    """Return the tensors of one file by name; raises UsageError where it is none of safetensors."""
    if not file.exists():
        raise UsageError(f"the model's index names {file.name}, but {file} does not exist")
    length = file.stat().length
    with file.open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        text = stream.read(size) if size <= length - 8 else b""
    try:
        header: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{file} is no whole safetensors file: copy it again") from error
    header.pop("__metadata__", None)
    end = 8 + size + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if length != end:
        raise UsageError(f"{file} should have {end} bytes, not {length}: copy it again")
    return {name: _stored(file, 8 + size, name, entry) for name, entry in header.items()}


def write_tensors(
    file: epath.Path,
    shapes: Mapping[str, tuple[int, ...]],
    dtype: np.dtype,
    tensors: Iterable[np.ndarray],
) -> None:
    """Write `tensors`, in the order of `shapes`, one at a time."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        begin, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": NAMES[dtype], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for (name, shape), tensor in zip(shapes.items(), tensors, strict=True):
            assert (tensor.shape, tensor.dtype) == (shape, dtype), name
            stream.write(np.ascontiguousarray(tensor).view(np.uint8).data)


def in_shards(
    names: Iterable[str], size_of: Callable[[str], int], max_bytes: int
) -> list[tuple[str, list[str]]]:
    """Return (file name, tensors in it) such that no file with several exceeds `max_bytes`."""
    shards: list[list[str]] = [[]]
    total = 0
    for name in names:
        size = size_of(name)
        if shards[-1] and total + size > max_bytes:
            shards.append([])
            total = 0
        shards[-1].append(name)
        total += size
    if len(shards) == 1:
        return [(SINGLE, shards[0])]
    count = len(shards)
    return [(f"model-{i:05}-of-{count:05}.safetensors", s) for i, s in enumerate(shards, 1)]


def _stored(file: epath.Path, start: int, name: str, entry: Mapping[str, Any]) -> StoredTensor:
    if entry["dtype"] not in DTYPES:
        raise UsageError(f"{name} is {entry['dtype']}; MDX reads {', '.join(DTYPES)}")
    return StoredTensor(
        file=file,
        offset=start + entry["data_offsets"][0],
        dtype=DTYPES[entry["dtype"]],
        shape=tuple(entry["shape"]),
    )
