"""The reader of .safetensors files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlcommons_py.artifacts import safetensors
from mlcommons_py.errors import InvalidModel

Save = Callable[..., bytes]


def raw(header: object, body: bytes = bytes(64)) -> bytes:
    """Return a file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entry(dtype: object = "F32", shape: object = (4,), offsets: object = (0, 16)) -> dict[str, Any]:
    """Return the description of one tensor."""
    return {"x": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def test_reads_every_type(tmp_path: Path, tensors_file: Save) -> None:
    """Arrays come back with their values; bfloat16 comes as float32."""
    arrays: dict[str, NDArray[Any]] = {
        "f32": np.arange(6, dtype=np.float32).reshape(2, 3),
        "f16": np.array([1.5, -2], np.float16),
        "f64": np.array(3.25),
        "i64": np.array([-1, 2**40]),
        "bf16": np.array([1.0, -0.15625, 3e38], np.float32),
        "empty": np.zeros((0, 3), np.float32),
    }
    path = tmp_path / "model.safetensors"
    path.write_bytes(tensors_file(arrays, frozenset({"bf16"})))
    read = safetensors.read(path)
    assert set(read) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_allclose(read[name], array, rtol=2**-7 if name == "bf16" else 0)
        assert read[name].shape == array.shape
    assert read["bf16"].dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        read["f32"][0, 0] = 1


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "truncated: it has 0 bytes"),
        (b"1234567", "truncated"),
        (b"\xff" * 64, "header of 18446744073709551615 bytes"),
        ((1 << 20).to_bytes(8, "little") + b"{}", "truncated: its header"),
        (raw(b"{"), "damaged header"),
        (raw(b"[" * 100_000), "damaged header"),
        (raw([]), "not an object"),
        (raw({"x": 1}), "tensor x has no description"),
        (raw(entry(dtype="F8_E4M3")), "tensor x has the type 'F8_E4M3'"),
        (raw(entry(dtype=["F32"])), "tensor x has the type"),
        (raw(entry(shape=[-4])), "tensor x has the shape"),
        (raw(entry(shape=[True])), "tensor x has the shape"),
        (raw(entry(shape="4")), "tensor x has the shape"),
        (raw(entry(shape=[1] * 9)), "tensor x has the shape"),
        (raw(entry(offsets=[16, 0])), "tensor x has the offsets"),
        (raw(entry(offsets=[0, 1.5])), "tensor x has the offsets"),
        (raw(entry(offsets=[-16, 0])), "tensor x has the offsets"),
        (raw(entry(offsets=[0, 12])), "takes 16 bytes, not 12"),
        (raw(entry(shape=[2**62, 4], offsets=[0, 16])), "not 16"),
        (raw(entry(offsets=[64, 80])), "truncated: tensor x ends at byte"),
        (raw({**entry(), "y": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}), "tensor y overlaps"),
    ],
)
def test_malformed(tmp_path: Path, content: bytes, fault: str) -> None:
    """A malformed file is refused with its name and what is wrong with it."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(InvalidModel) as caught:
        safetensors.read(path)
    assert caught.value.reason.startswith("model.safetensors")
    assert fault in caught.value.reason


def test_truncated(tmp_path: Path, minilm_directory: Path) -> None:
    """A real file that was cut names the tensor that is incomplete."""
    path = tmp_path / "model.safetensors"
    with (minilm_directory / "model.safetensors").open("rb") as file:
        path.write_bytes(file.read(1 << 20))
    with pytest.raises(InvalidModel, match=r"model\.safetensors is truncated: tensor \S+ ends at byte"):
        safetensors.read(path)


SAMPLE = raw(
    {
        "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "b": {"dtype": "BF16", "shape": [4], "data_offsets": [16, 24]},
    },
    bytes(24),
)


@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damage(tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]) -> None:
    """A file with changed bytes is read within its bounds, or refused."""
    data = bytearray(SAMPLE)
    for position, value in changes:
        data[position] = value
    path = tmp_path_factory.mktemp("damaged") / "model.safetensors"
    path.write_bytes(data)
    try:
        arrays = safetensors.read(path)
    except InvalidModel:
        return
    assert sum(array.nbytes for array in arrays.values()) <= 2 * len(SAMPLE)
