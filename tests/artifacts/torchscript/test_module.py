"""TorchScript archives as trees of modules."""

import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcommons_py.artifacts.torchscript.module import Module
from mlcommons_py.artifacts.torchscript.pickle import Malformed
from mlcommons_py.errors import InvalidModel

HEAD = b"\x80\x02"
Make = Callable[..., Path]


@pytest.fixture
def make_script(tmp_path: Path) -> Make:
    """Writes a TorchScript archive whose tree is the pickle given, beside one storage of ten floats."""

    def make(tree: bytes, extra: Mapping[str, bytes] | None = None, drop: str = "", deflate: bool = False) -> Path:
        path = tmp_path / "model.pt"
        files = {"m/data.pkl": tree, "m/constants.pkl": HEAD + b")."}
        files |= {
            "m/data/0": np.arange(10, dtype="<f4").tobytes(),
            "m/code/__torch__.py": b"class A(Module):\n  pass\n",
        }
        files |= extra or {}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED) as archive:
            for name, content in files.items():
                if name != drop:
                    archive.writestr(name, content)
        return path

    return make


def text(value: str) -> bytes:
    """Return the opcode that pushes a text."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def whole(value: int) -> bytes:
    """Return the opcode that pushes a number."""
    return b"\x8a\x08" + value.to_bytes(8, "little", signed=True)


def tensor(
    kind: str = "FloatStorage",
    key: str = "0",
    length: int = 10,
    offset: int = 0,
    size: tuple[int, ...] = (2,),
    stride: tuple[int, ...] = (1,),
) -> bytes:
    """Return the opcodes that push a tensor."""
    storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cpu") + whole(length) + b"tQ"
    shape = b"(" + b"".join(map(whole, size)) + b"t(" + b"".join(map(whole, stride)) + b"t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + whole(offset) + shape + b"\x89}tR"


def tree(*tensors: bytes) -> bytes:
    """Return the pickle of a module with these tensors."""
    items = b"".join(text(f"t{number}") + one for number, one in enumerate(tensors))
    return HEAD + b"c__torch__\nA\n)\x81}(" + items + b"ub."


def test_reads_tensors(make_script: Make) -> None:
    """Tensors are views of the file, with their offsets and strides."""
    path = make_script(tree(tensor(size=(2, 3), stride=(1, 2), offset=3), tensor(size=(), stride=(), offset=9)))
    with Module(path) as module:
        np.testing.assert_array_equal(module.tensors["t0"], [[3, 5, 7], [4, 6, 8]])
        assert module.tensors["t1"] == 9
        assert not module.tensors["t0"].flags.writeable
        assert module.classes == {"": "__torch__.A"}
        assert module.source("") == "class A(Module):\n  pass\n"


def test_bfloat16(make_script: Make) -> None:
    """bfloat16 is widened to float32."""
    bits = (np.array([1.0, -2.5], "<f4").view("<u4") >> 16).astype("<u2").tobytes()
    path = make_script(tree(tensor("BFloat16Storage", "1", 2)), {"m/data/1": bits})
    with Module(path) as module:
        np.testing.assert_array_equal(module.tensors["t0"], np.array([1, -2.5], np.float32))


@pytest.mark.parametrize(
    "described",
    [
        tensor(offset=10**9),
        tensor(offset=-5),
        tensor(offset=9),
        tensor(size=(10**6,)),
        tensor(size=(11,)),
        tensor(size=(-1,)),
        tensor(size=(3,), stride=(-1,)),
        tensor(size=(2,), stride=(10,)),
        tensor(size=(10**6, 10**6), stride=(0, 0)),
        tensor(size=(2**62, 4), stride=(0, 0)),
        tensor(size=(2, 2), stride=(1,)),
        tensor(size=(1,) * 9, stride=(1,) * 9),
        tensor(length=10**9),
        tensor(length=11),
        tensor(length=-1),
        tensor(key="../../etc/passwd"),
        tensor(key="9999"),
        tensor("QInt8Storage"),
        tensor("FloatStorage.x"),
        tensor() + text("t9") + tensor("LongStorage", length=5),
        tensor(length=4) + text("t9") + tensor(length=10),
        b"ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00(K\x01t(K\x01ttR",
        b"ctorch._utils\n_rebuild_tensor_v2\n)R",
        b"(" + text("storage") + b"tQ",
    ],
)
def test_impossible_tensors(make_script: Make, described: bytes) -> None:
    """A tensor that reaches outside its storage, or is described in a way of its own, is refused."""
    with pytest.raises(Malformed):
        Module(make_script(tree(described)))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"extra": {"n/data.pkl": b"N."}}, "2 data.pkl"),
        ({"drop": "m/data.pkl"}, "0 data.pkl"),
        ({"drop": "m/constants.pkl"}, "torch.save"),
        ({"drop": "m/data/0"}, "storage 0 is missing"),
        ({"deflate": True}, "m/data/0 is compressed"),
        ({"extra": {"m/byteorder": b"big"}}, "big-endian"),
        ({"extra": {"m/data/0": b"1234"}}, "storage 0 has 4 bytes"),
    ],
)
def test_incomplete(make_script: Make, change: Mapping[str, object], fault: str) -> None:
    """An archive that lacks a part, or has one twice, is refused by the part."""
    with pytest.raises(InvalidModel, match=fault):
        Module(make_script(tree(tensor()), **change))


def test_no_module(make_script: Make) -> None:
    """An archive of something that is no module is refused."""
    with pytest.raises(Malformed, match="holds no module"):
        Module(make_script(HEAD + b"N."))


def test_nested_without_end(make_script: Make) -> None:
    """A module that holds itself is refused."""
    with pytest.raises(Malformed, match="nested too deeply"):
        Module(make_script(HEAD + b"c__torch__\nA\n)\x81q\x00}" + text("a") + b"h\x00sb."))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_damage(traced: Path, tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[float, int]]) -> None:
    """A real archive with changed bytes is read within its bounds, or refused."""
    with zipfile.ZipFile(traced / "bert-mean-normalized.zip") as archive:
        data = bytearray(archive.read("bert-mean-normalized.pt"))
    for position, value in changes:
        data[int(position * len(data))] = value
    path = tmp_path_factory.mktemp("damaged") / "model.pt"
    path.write_bytes(data)
    try:
        with Module(path) as module:
            assert sum(array.nbytes for array in module.tensors.values()) <= 2 * len(data)
            for name in module.classes:
                module.source(name)
    except InvalidModel:
        pass
