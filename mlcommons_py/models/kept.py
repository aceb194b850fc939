"""Copies, on this node's disk, of chunks that it stored a moment ago: who verifies them need not read them back.

The copies of one model lie in one file, each where it belongs in the archive, so that the file grows to be the archive.
Nothing in such a file is ever written twice: who began to read it finds in it what was there.
"""

import asyncio
import hashlib
import itertools
import logging
import shutil
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

MOST = 4 << 30
"""Bytes of copies at most; with more, those of the model that was uploaded first go."""

Mark = tuple[int, int]
"""A document's primary term and sequence number: they change with every write."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """The part of an archive that is there without a gap, from its first byte on.

    Attributes:
        path: a file that begins with it; it may go at any time, but what is in it stays as it is.
        chunks: how many chunks it is.
        size: its bytes.
        digest: its SHA-256, in hex.
    """

    path: Path
    chunks: int
    size: int
    digest: str


@dataclass(slots=True)
class _Copy:
    offset: int
    length: int
    mark: Mark | None = None


class _Copies:
    """The copies of one model's chunks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.chunks: dict[int, _Copy] = {}
        self._count = 0
        self._size = 0
        self._digest = hashlib.sha256()

    @property
    def end(self) -> int:
        return max((copy.offset + copy.length for copy in self.chunks.values()), default=0)

    @property
    def beginning(self) -> Beginning:
        return Beginning(self.path, self._count, self._size, self._digest.hexdigest())

    def add(self, number: int, content: bytes) -> None:
        """Write a chunk that is not there yet, and go on with the hash as far as there is no gap."""
        offset = self._place(number, len(content))
        with self.path.open("r+b" if self.chunks else "xb") as file:
            file.seek(offset)
            file.write(content)
        self.chunks[number] = _Copy(offset, len(content))
        while (copy := self.chunks.get(self._count)) is not None and copy.offset == self._size:
            self._digest.update(content if self._count == number else self.read(copy))
            self._count, self._size = self._count + 1, self._size + copy.length

    def _place(self, number: int, length: int) -> int:
        """Return where a chunk belongs if all but the last are of one length, and what came is not in its way."""
        offset = self._size
        if number != self._count:
            offset = number * max(length, *(copy.length for copy in self.chunks.values()), 0)
        free = all(offset + length <= one.offset or one.offset + one.length <= offset for one in self.chunks.values())
        return offset if free else self.end

    def read(self, copy: _Copy) -> bytes:
        with self.path.open("rb") as file:
            file.seek(copy.offset)
            content = file.read(copy.length)
        if len(content) != copy.length:
            raise OSError(f"{self.path} has changed")
        return content


class KeptChunks:
    """Copies of chunks, each good only for as long as the store has the very document that this process wrote."""

    def __init__(self, directory: Path | None, most: int = MOST) -> None:
        """Keep copies in a directory that is nobody else's; none without one."""
        self._directory = directory
        self._most = most
        self._copies: dict[str, _Copies] = {}
        self._names = itertools.count()
        self._clearing = threading.Lock()
        self._cleared = False

    def __contains__(self, model_id: str) -> bool:
        """Return whether there are copies of a model's chunks."""
        return model_id in self._copies

    async def keep(self, model_id: str, number: int, content: bytes) -> Beginning | None:
        """Keep a copy of a chunk that is being stored, and return what there is of its archive now.

        It counts once it is marked. A full disk only means that there is none.
        """
        if self._directory is None:
            return None
        before = self._copies.get(model_id)
        if before is not None and (copy := before.chunks.get(number)) is not None:
            copy.mark = None
            with suppress(OSError):
                if await asyncio.to_thread(before.read, copy) == content:
                    return before.beginning
            await self.drop(model_id)
        copies = self._copies.setdefault(model_id, _Copies(self._directory / f"{next(self._names)}"))
        try:
            await asyncio.to_thread(self._write, copies, number, content)
        except OSError as fault:
            log.warning("no copy of chunk %d of model %s is kept: %s", number, model_id, fault)
            await self.drop(model_id)
            return None
        while self._size() > self._most and len(self._copies) > 1:
            await self.drop(next(iter(self._copies)))
        if self._copies.get(model_id) is not copies:  # dropped while it was written
            await self._remove(copies)
            return None
        return copies.beginning

    def _size(self) -> int:
        return sum(copy.length for copies in self._copies.values() for copy in copies.chunks.values())

    def _write(self, copies: _Copies, number: int, content: bytes) -> None:
        with self._clearing:
            if not self._cleared:  # of what an earlier run left
                shutil.rmtree(copies.path.parent, ignore_errors=True)
                copies.path.parent.mkdir(parents=True, exist_ok=True)
                self._cleared = True
        copies.add(number, content)

    def mark(self, model_id: str, number: int, mark: Mark) -> None:
        """Note of which document the copy of a chunk is."""
        copies = self._copies.get(model_id)
        if copies is not None and number in copies.chunks:
            copies.chunks[number].mark = mark

    def marks(self, model_id: str) -> dict[int, Mark]:
        """Return of which documents the copies of a model's chunks are, those that were stored, by their numbers."""
        copies = self._copies.get(model_id)
        chunks = {} if copies is None else copies.chunks
        return {number: copy.mark for number, copy in chunks.items() if copy.mark is not None}

    async def read(self, model_id: str, number: int, mark: Mark | None) -> bytes | None:
        """Return a chunk whose document has that mark; None where the copy is of another, or there is none."""
        copies = self._copies.get(model_id)
        copy = None if copies is None else copies.chunks.get(number)
        if copies is None or copy is None or mark is None or copy.mark != mark:
            return None
        with suppress(OSError):
            return await asyncio.to_thread(copies.read, copy)
        return None

    def whole(self, model_id: str, marks: Mapping[int, Mark]) -> Beginning | None:
        """Return the archive of chunks whose documents have those marks; None where a copy is of another, or lacks."""
        copies = self._copies.get(model_id)
        if copies is None or len(marks) != copies.beginning.chunks:
            return None
        same = all(number in copies.chunks and copies.chunks[number].mark == mark for number, mark in marks.items())
        return copies.beginning if same else None

    async def drop(self, model_id: str) -> None:
        """Remove the copies of a model's chunks."""
        copies = self._copies.pop(model_id, None)
        if copies is not None:
            await self._remove(copies)

    async def _remove(self, copies: _Copies) -> None:
        with suppress(OSError):
            await asyncio.to_thread(copies.path.unlink)
