"""Reads ``.safetensors`` files: a JSON header, then the arrays' bytes.

The format is at https://github.com/huggingface/safetensors#format. Its own package copies each array and gives
bfloat16 to no plain numpy; here arrays are views of the mapped file, and a fault is told by file and tensor.
"""

import mmap
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from mlcommons_py.errors import InvalidModel

MAX_HEADER = 16 << 20
_DTYPES: dict[str, str] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}


@dataclass(frozen=True, slots=True)
class _Span:
    name: str
    start: int
    end: int
    dtype: str
    shape: tuple[int, ...]


def read(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file by name, as read-only views of it; bfloat16 is widened to float32.

    Raises:
        InvalidModel: the file is truncated or malformed; the text names it and the tensor.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        if size < 8:
            raise InvalidModel(f"{path.name} is truncated: it has {size} bytes")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    length = int.from_bytes(mapped[:8], "little")
    if length > MAX_HEADER:
        raise InvalidModel(f"{path.name} has a header of {length} bytes; at most {MAX_HEADER} are allowed")
    if 8 + length > size:
        raise InvalidModel(f"{path.name} is truncated: its header has {length} bytes, the file {size}")
    try:
        header = orjson.loads(mapped[8 : 8 + length])
    except orjson.JSONDecodeError as fault:
        raise InvalidModel(f"{path.name} has a damaged header: {fault}") from fault
    if not isinstance(header, dict):
        raise InvalidModel(f"{path.name} has a damaged header: it is not an object")
    header.pop("__metadata__", None)
    start = 8 + length
    spans = sorted((_span(path, name, entry) for name, entry in header.items()), key=lambda span: span.start)
    end = 0
    for span in spans:
        if span.start < end:
            raise InvalidModel(f"{path.name}: tensor {span.name} overlaps the one before it")
        end = span.end
        if start + end > size:
            raise InvalidModel(
                f"{path.name} is truncated: tensor {span.name} ends at byte {start + end}, the file at {size}"
            )
    return {span.name: _array(mapped, start, span) for span in spans}


def _span(path: Path, name: str, entry: object) -> _Span:
    """Return where a tensor lies, relative to the end of the header."""
    where = f"{path.name}: tensor {name[:200]}"
    if not isinstance(entry, dict):
        raise InvalidModel(f"{where} has no description")
    dtype, shape, offsets = (entry.get(key, ()) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        raise InvalidModel(f"{where} has the type {dtype!r}; there are {', '.join(_DTYPES)}")
    if not _are_counts(shape) or len(shape) > 8:
        raise InvalidModel(f"{where} has the shape {str(shape)[:200]}")
    if not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise InvalidModel(f"{where} has the offsets {str(offsets)[:200]}")
    expected = prod(shape) * np.dtype(_DTYPES[dtype]).itemsize
    if offsets[1] - offsets[0] != expected:
        raise InvalidModel(
            f"{where} of shape {shape} and type {dtype} takes {expected} bytes, not {offsets[1] - offsets[0]}"
        )
    return _Span(name, offsets[0], offsets[1], dtype, tuple(shape))


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int and one >= 0 for one in value)


def _array(mapped: mmap.mmap, start: int, span: _Span) -> NDArray[Any]:
    array = np.frombuffer(mapped, _DTYPES[span.dtype], prod(span.shape), start + span.start).reshape(span.shape)
    return widen(array) if span.dtype == "BF16" else array


def widen(bits: NDArray[Any]) -> NDArray[np.float32]:
    """Return bfloat16 numbers, given as their 16 bits, as float32 of the same shape."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
