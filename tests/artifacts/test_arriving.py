"""Archives that are unpacked while they arrive."""

import io
import os
import random
import struct
import threading
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from mlcommons_py.artifacts.archive import Archive, Bounds, Unpacked
from mlcommons_py.artifacts.arriving import Arriving, unpack
from mlcommons_py.errors import InvalidModel

CONTENT = {
    "0/": b"",
    "0/model.safetensors": random.Random(1).randbytes(3_000_000) + bytes(500_000),
    "README.md": b"read me " * 100,
    "config.json": b'{"a": 1}',
    "empty.json": b"",
    "tokenizer.json": b"[" + b"1, " * 200_000 + b"1]",
    "model.pt": random.Random(2).randbytes(70_000),
}
WANTED = [name for name in CONTENT if name.endswith((".json", ".safetensors", ".pt"))]


class Pipe(io.RawIOBase):
    """A target that cannot be sought in, so that sizes are written behind the entries."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        """It is only written to."""
        return True

    def write(self, data: object, /) -> int:
        """Take in bytes."""
        content = bytes(memoryview(data))  # type: ignore[arg-type]
        self.written += content
        return len(content)


def zipped(method: int = zipfile.ZIP_DEFLATED, *, behind: bool = False, large: bool = False) -> bytes:
    """Return the content as a zip file."""
    pipe, file = Pipe(), io.BytesIO()
    with zipfile.ZipFile(pipe if behind else file, "w", method) as target:
        for name, content in CONTENT.items():
            with target.open(name, "w", force_zip64=large) as entry:
                entry.write(content)
    return bytes(pipe.written) if behind else file.getvalue()


@contextmanager
def arriving(path: Path, content: bytes, steps: Sequence[int] = (), *, whole: bool = True) -> Iterator[Arriving]:
    """Let a file arrive in steps, at whose ends it has so many bytes."""
    reading, writing = os.pipe()
    path.write_bytes(b"")

    def send() -> None:
        with os.fdopen(writing, "wb", buffering=0) as lines, path.open("ab") as file:
            for start, end in zip((0, *steps), (*steps, len(content)), strict=True):
                file.write(content[start:end])
                file.flush()
                lines.write(b"%d\n" % end)
            if whole:
                lines.write(b"\n")

    sender = threading.Thread(target=send)
    with os.fdopen(reading, "rb") as lines:
        sender.start()
        with Arriving(path, lines) as there:
            yield there
        sender.join()


def whole(tmp_path: Path, content: bytes, steps: Sequence[int] = (), **bounds: int) -> dict[int, Unpacked]:
    """Return what was unpacked of a file that has arrived."""
    with arriving(tmp_path / "archive.zip", content, steps) as there:
        ready = unpack(there, tmp_path / "early", Bounds(**bounds))
        there.wait()
    return ready


FORMS = [
    (zipped(), True),
    (zipped(zipfile.ZIP_STORED), True),
    (zipped(behind=True), True),
    (zipped(large=True), True),
    (zipped(behind=True, large=True), True),
    (zipped(zipfile.ZIP_STORED, behind=True), False),
]


@pytest.mark.parametrize(("content", "readable"), FORMS)
@pytest.mark.parametrize("seed", range(3))
def test_what_arrived_is_the_archive(tmp_path: Path, content: bytes, readable: bool, seed: int) -> None:
    """Whatever the form and the steps, each file that a model may need is there before the end, and as it would be."""
    steps = sorted(random.Random(seed).sample(range(len(content)), 12))

    ready = whole(tmp_path, content, steps)

    assert len(ready) == (len(WANTED) if readable else 0)
    with Archive(tmp_path / "archive.zip") as archive:
        archive.unpack({name: name for name in WANTED}, tmp_path / "model", ready)
    assert {name: (tmp_path / "model" / name).read_bytes() for name in WANTED} == {
        name: CONTENT[name] for name in WANTED
    }
    assert not any(one.path.exists() for one in ready.values())


def test_it_does_not_wait_for_the_end(tmp_path: Path) -> None:
    """An entry is unpacked as soon as its bytes are there, though nothing more comes."""
    content = zipped()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        end = archive.getinfo("config.json").header_offset
    with arriving(tmp_path / "archive.zip", content[: end + 10], whole=False) as there, pytest.raises(EOFError):
        unpack(there, tmp_path / "early")

    (model,) = (tmp_path / "early").iterdir()
    assert model.read_bytes() == CONTENT["0/model.safetensors"]


def test_what_was_not_announced_is_not_read(tmp_path: Path) -> None:
    """Bytes that the file has, but nobody told of, are not taken for the archive's."""
    (tmp_path / "archive.zip").write_bytes(zipped())
    with Arriving(tmp_path / "archive.zip", io.BytesIO(b"40\n\n")) as there:
        assert unpack(there, tmp_path / "early") == {}
        assert there.position <= 40


def test_an_archive_that_is_there_is_left_to_the_archive(tmp_path: Path) -> None:
    """Where nothing arrives, nothing is unpacked before the end of the archive was looked at."""
    (tmp_path / "archive.zip").write_bytes(zipped())
    with Arriving(tmp_path / "archive.zip", io.BytesIO(b"\n")) as there:
        assert unpack(there, tmp_path / "early") == {}


@pytest.mark.parametrize(
    ("at", "value"), [(10, struct.pack("<H", 0)), (16, b"\0\0\0\0"), (20, struct.pack("<I", 3)), (24, b"\1\0\0\0")]
)
def test_the_end_of_the_archive_decides(tmp_path: Path, at: int, value: bytes) -> None:
    """What the directory of the archive tells otherwise is not used: method, CRC, packed and unpacked size."""
    content = bytearray(zipped())
    place = content.rindex(b"config.json") - 46
    content[place + at : place + at + len(value)] = value

    ready = whole(tmp_path, bytes(content))

    with Archive(tmp_path / "archive.zip") as archive, pytest.raises(InvalidModel, match=r"config\.json"):
        archive.unpack({"config.json": "config.json"}, tmp_path / "model", ready)


def test_names_have_to_agree(tmp_path: Path) -> None:
    """A file whose own header has another name than the directory is damaged, unpacked early or not."""
    content = bytearray(zipped())
    content[content.index(b"config.json")] = ord("k")

    ready = whole(tmp_path, bytes(content))

    with Archive(tmp_path / "archive.zip") as archive, pytest.raises(InvalidModel, match="differ"):
        archive.unpack({"config.json": "config.json"}, tmp_path / "model", ready)


def bomb(target: BinaryIO) -> None:
    """Write a small archive of a large file."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.safetensors", bytes(64 << 20))
        archive.writestr("config.json", b"{}")


def test_bombs_are_not_unpacked(tmp_path: Path) -> None:
    """What unpacks to far more than it has is given up, and so is all that follows."""
    file = io.BytesIO()
    bomb(file)

    assert whole(tmp_path, file.getvalue(), ratio=10) == {}
    assert sum(path.stat().st_size for path in (tmp_path / "early").iterdir()) < 4 << 20


def test_bounds_hold(tmp_path: Path) -> None:
    """No more entries and no more bytes are unpacked than an archive may have."""
    content = zipped()
    (tmp_path / "few").mkdir()
    (tmp_path / "small").mkdir()

    assert len(whole(tmp_path / "few", content, entries=2)) == 2
    assert len(whole(tmp_path / "small", content, total=3_600_000)) == 3


@pytest.mark.parametrize("seed", range(40))
def test_damage_is_left_to_the_archive(tmp_path: Path, seed: int) -> None:
    """With any byte changed, unpacking early ends in peace, and the archive says the same with it and without."""
    chance = random.Random(seed)
    content = bytearray(zipped(behind=bool(seed % 2)))
    for _ in range(chance.randint(1, 3)):
        spot = chance.choice([chance.randrange(len(content)), content.index(b"PK\3\4", chance.randrange(3_000_000))])
        content[min(spot + chance.randrange(40), len(content) - 1)] ^= 1 << chance.randrange(8)
    outcomes = []
    ready = whole(tmp_path, bytes(content))
    for name, there in (("late", None), ("early", ready)):
        try:
            with Archive(tmp_path / "archive.zip") as archive:
                wanted = {one: one for one in WANTED if one in archive}
                archive.unpack(wanted, tmp_path / f"{name}-model", there)
        except InvalidModel as fault:
            outcomes.append(fault.reason)
        else:
            outcomes.append(str([(tmp_path / f"{name}-model" / one).read_bytes() for one in wanted]))

    assert outcomes[0] == outcomes[1]
