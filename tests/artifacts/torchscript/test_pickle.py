"""The pickle reader, attacked."""

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcommons_py.artifacts.torchscript.pickle import Instance, Malformed, load

HEAD = b"\x80\x02"


def text(value: str) -> bytes:
    """Return the opcode that pushes a text."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def named(module: str, name: str) -> bytes:
    """Return the opcode that refers to a name."""
    return f"c{module}\n{name}\n".encode()


def read(stream: bytes) -> Any:
    """Read a stream that has no tensors."""

    def refuse(_: Any) -> object:
        raise Malformed("no tensors here")

    return load(stream, refuse, refuse)


def test_module() -> None:
    """What TorchScript writes is read: an object with attributes of all plain kinds, parts shared through the memo."""
    attributes = b"".join(
        (
            text("shared") + b"]q\x01(K\x01M\x00\x01J\xff\xff\xff\xffe",
            text("again") + b"h\x01",
            text("number") + b"G" + struct.pack(">d", 1.5),
            text("large") + b"\x8a\x05\x00\x00\x00\x00\x01",
            text("flags") + b"\x88\x89N\x87",
            text("empty") + b"(t",
            text("ints") + named("torch.jit._pickle", "build_intlist") + b"](K\x07e\x85R",
        )
    )
    value = read(HEAD + named("__torch__.a", "B") + b")\x81}(" + attributes + b"ub.")
    assert isinstance(value, Instance)
    assert value.class_name == "__torch__.a.B"
    assert value.attributes == {
        "shared": [1, 256, -1],
        "again": [1, 256, -1],
        "number": 1.5,
        "large": 1 << 32,
        "flags": (True, False, None),
        "empty": (),
        "ints": [7],
    }
    assert value.attributes["shared"] is value.attributes["again"]


def attacks(canary: Path) -> dict[str, bytes]:
    """Return streams that, read by Python's pickle, would run code, exhaust memory or confuse a careless reader."""
    touch = text(f"touch {canary}")
    return {
        "os.system": HEAD + named("posix", "system") + touch + b"\x85R.",
        "eval": HEAD + named("builtins", "eval") + text(f"open({str(canary)!r}, 'w')") + b"\x85R.",
        "torch.load": HEAD + named("torch", "load") + touch + b"\x85R.",
        "function beside the lists": HEAD + named("torch.jit._pickle", "os") + b".",
        "class of the archive, called": HEAD + named("__torch__.os", "system") + touch + b"\x85R.",
        "class under a storage's name": HEAD + named("torch.os", "systemStorage") + touch + b"\x85R.",
        "INST": HEAD + b"(" + touch + b"iposix\nsystem\n.",
        "OBJ": HEAD + b"(" + named("posix", "system") + touch + b"o.",
        "STACK_GLOBAL": b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + touch + b"\x85R.",
        "EXT1": HEAD + b"\x82\x01.",
        "NEWOBJ_EX": b"\x80\x04" + named("__torch__", "A") + b")}\x92.",
        "NEWOBJ of a function": HEAD + named("collections", "OrderedDict") + b")\x81.",
        "BUILD on a name": HEAD + named("torch._utils", "_rebuild_tensor_v2") + b"}" + text("fn") + touch + b"sb.",
        "BUILD with slots": HEAD + named("__torch__", "A") + b")\x81N}" + text("class_name") + touch + b"s\x86b.",
        "BUILD with numbers": HEAD + named("__torch__", "A") + b")\x81}K\x01Nsb.",
        "REDUCE with a list": HEAD + named("collections", "OrderedDict") + b"]R.",
        "REDUCE of a text": HEAD + touch + b")R.",
        "persistent id": HEAD + touch + b"Q.",
        "text persistent id": HEAD + b"Pposix\n.",
        "text that is endless": HEAD + b"X\xff\xff\xff\x7fabc.",
        "text that is not UTF-8": HEAD + b"X\x02\x00\x00\x00\xff\xfe.",
        "long that is endless": HEAD + b"\x8b\xff\xff\xff\x7f1.",
        "long of 255 bytes": HEAD + b"\x8a\xff" + b"\x7f" * 255 + b".",
        "frame": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f.",
        "marks only": HEAD + b"(" * 200_000 + b".",
        "mark stolen": HEAD + b"N(\x85.",
        "underflow": HEAD + b"R.",
        "nothing": b"",
        "no end": HEAD + b"N",
        "data behind the end": HEAD + b"N.N.",
        "two values": HEAD + b"NN.",
        "unknown memo": HEAD + b"h\x05.",
        "dictionary with a list as key": HEAD + b"}]Ns.",
        "items for a list": HEAD + b"]NNs.",
        "item without a value": HEAD + b"}(Nu.",
        "append to a tuple": HEAD + b")Na.",
        "name without an end": HEAD + b"c" + b"a" * 2000,
        "protocol 5": b"\x80\x05N.",
    }


@pytest.mark.parametrize("name", attacks(Path()))
def test_attack(name: str, tmp_path: Path) -> None:
    """A stream that TorchScript would not write is refused, and nothing in it runs."""
    canary = tmp_path / "canary"
    with pytest.raises(Malformed, match="TorchScript archive is malformed or unsafe"):
        read(attacks(canary)[name])
    assert not canary.exists()


def test_deep_nesting() -> None:
    """A million nested tuples neither exhaust the stack when they are read nor when they are dropped."""
    with pytest.raises(Malformed):
        read(HEAD + b")" + b"\x85" * 1_000_000 + b"N.")


def test_repetition_stays_small() -> None:
    """Lists that double in each of a hundred steps are shared, not copied."""
    steps = b"".join(b"](h" + bytes([n]) + b"h" + bytes([n]) + b"eq" + bytes([n + 1]) for n in range(100))
    value = read(HEAD + b"(]q\x00" + steps + b"t.")
    assert len(value) == 101
    assert value[100][0] is value[100][1]


def test_huge_memo_index() -> None:
    """A memo index near 2**32 costs nothing."""
    assert read(HEAD + b"Nr\xff\xff\xff\xff.") is None


OPCODES = b"\x80(cqrhjKMJ\x8aGX\x8cN\x88\x89)]}t\x85\x86\x87QR\x81bsuae."


@given(st.lists(st.one_of(st.sampled_from(OPCODES), st.integers(0, 255)), max_size=60).map(bytes))
def test_any_bytes(stream: bytes) -> None:
    """Any bytes give a plain value or a refusal."""
    try:
        value = read(stream)
    except Malformed:
        return
    assert value is None or type(value).__module__ in ("builtins", Instance.__module__)
