"""Unpacks a zip file while it is still arriving.

A zip file says at its end what is in it, and :class:`~mlcommons_py.artifacts.archive.Archive` believes nothing else.
But each entry has a header of its own, with which it can be unpacked as soon as its bytes are there. What is unpacked
like this lies under names that are numbers, and is used only where the end of the archive tells the very same of it.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from isal import igzip_lib, isal_zlib

from mlcommons_py.artifacts.archive import FREE_OF_RATIO, MODEL_BOUNDS, Bounds, Unpacked
from mlcommons_py.errors import InvalidModel

_WANTED = (b".safetensors", b".pt", b".json")
_HEADER = struct.Struct("<4sHHHHHIIIHH")
_PIECE = 1 << 18
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_TOLD_BEHIND = 0x8
_UNKNOWN = 0xFFFFFFFF


class Arriving:
    """A file of which more and more is there, as lines say that come over a pipe.

    Each line is how many bytes of it are there; an empty one says that this is all of it.
    """

    def __init__(self, path: Path, lines: BinaryIO) -> None:
        self._file = path.open("rb")
        self._lines = lines
        self._there = 0
        self._whole = False
        self.position = 0

    def __enter__(self) -> "Arriving":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, length: int) -> bytes:
        """Return so many bytes, waiting for them; fewer only where the file ends.

        Raises:
            EOFError: nobody says any more what is there.
        """
        while not self._whole and self._there < self.position + length:
            self._hear()
        content = self._file.read(min(length, max(0, self._there - self.position)))
        self.position += len(content)
        return content

    def piece(self) -> bytes:
        """Return what is there, 256 KiB at most, waiting for the first byte; nothing where the file ends."""
        while not self._whole and self._there <= self.position:
            self._hear()
        return self.read(min(_PIECE, self._there - self.position))

    def back(self, length: int) -> None:
        """Let so many bytes be read again."""
        self.position -= length
        self._file.seek(self.position)

    def wait(self) -> None:
        """Wait until all of the file is there.

        Raises:
            EOFError: nobody says so any more.
        """
        while not self._whole:
            self._hear()

    def _hear(self) -> None:
        line = self._lines.readline()
        if not line.endswith(b"\n"):
            raise EOFError("nobody sends the rest of the archive")
        if line == b"\n":
            self._whole = True
        else:
            self._there = int(line)


@dataclass(frozen=True, slots=True)
class _Header:
    offset: int
    name: bytes
    flags: int
    method: int
    compressed: int

    @property
    def is_wanted(self) -> bool:
        return self.name.endswith(_WANTED)

    @property
    def is_told_behind(self) -> bool:
        return bool(self.flags & _TOLD_BEHIND)


def unpack(arriving: Arriving, directory: Path, bounds: Bounds = MODEL_BOUNDS) -> dict[int, Unpacked]:
    """Unpack the entries that a model may need, in the order in which they come, and return them by their offsets.

    It ends at the first thing that is no entry, or is one in a form that is seldom seen; what is amiss is for
    :class:`~mlcommons_py.artifacts.archive.Archive` to say.

    Raises:
        EOFError: the archive does not come to its end.
        OSError: the disk is full, or a limit on file sizes is reached.
    """
    directory.mkdir()
    found: dict[int, Unpacked] = {}
    total = 0
    while (header := _header(arriving)) is not None and len(found) < bounds.entries:
        path = directory / str(header.offset)
        try:
            one = _entry(arriving, header, path, bounds)
        except (igzip_lib.error, InvalidModel):  # type: ignore[misc]  # its stub has an instance for the class
            break
        total += one.size
        if total > bounds.total or (header.is_told_behind and not _skip_descriptor(arriving)):
            break
        if header.is_wanted:
            found[header.offset] = one
        else:
            path.unlink()
    return found


def _header(arriving: Arriving) -> _Header | None:
    offset, head = arriving.position, arriving.read(_HEADER.size)
    if len(head) < _HEADER.size:
        return None
    mark, _, flags, method, _, _, _, compressed, _, name, extra = _HEADER.unpack(head)
    header = _Header(offset, arriving.read(name), flags, method, compressed)
    arriving.read(extra)
    if mark != b"PK\3\4" or flags & _ENCRYPTED or method not in (_STORED, _DEFLATED):
        return None
    if method == _STORED and (header.is_told_behind or compressed == _UNKNOWN):  # it does not say where it ends
        return None
    return header


def _entry(arriving: Arriving, header: _Header, path: Path, bounds: Bounds) -> Unpacked:
    """Write an entry's content, if a model may need it, and return what came of it."""
    start, size, crc = arriving.position, 0, 0
    pieces = _stored(arriving, header.compressed) if header.method == _STORED else _inflated(arriving)
    with path.open("xb") as file:
        for piece in pieces:
            size += len(piece)
            if size > FREE_OF_RATIO + bounds.ratio * (arriving.position - start):
                raise InvalidModel("that is a zip bomb")
            if header.is_wanted:
                crc = isal_zlib.crc32(piece, crc)
                file.write(piece)
    return Unpacked(path, header.method, arriving.position - start, size, crc)


def _stored(arriving: Arriving, length: int) -> Iterator[bytes]:
    while length and (piece := arriving.read(min(length, _PIECE))):
        length -= len(piece)
        yield piece


def _inflated(arriving: Arriving) -> Iterator[bytes]:
    inflate = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_DEFLATE)
    while not inflate.eof and (piece := arriving.piece()):
        yield inflate.decompress(piece, _PIECE)
        while not (inflate.eof or inflate.needs_input):
            yield inflate.decompress(b"", _PIECE)
    arriving.back(len(inflate.unused_data))


def _skip_descriptor(arriving: Arriving) -> bool:
    """Go past the sizes that stand behind an entry, in any of their four forms; return whether an entry follows."""
    after = arriving.read(28)
    for length in (16, 12, 24, 20):
        if after[length : length + 2] == b"PK" and (after.startswith(b"PK\7\10") == (length in (16, 24))):
            arriving.back(len(after) - length)
            return True
    return False
