"""Copies, on this node's disk, of chunks that it stored a moment ago: who verifies them need not read them back."""

import asyncio
import itertools
import logging
import shutil
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

MOST = 4 << 30
"""Bytes of copies at most; with more, those of the model that was uploaded first go."""

Mark = tuple[int, int]
"""A document's primary term and sequence number: they change with every write."""


class KeptChunks:
    """Copies of chunks, each good only for as long as the store has the very document that this process wrote."""

    def __init__(self, directory: Path | None, most: int = MOST) -> None:
        """Keep copies in a directory that is nobody else's; none without one."""
        self._directory = directory
        self._most = most
        self._copies: dict[str, dict[int, tuple[Mark, Path, int]]] = {}
        self._names = itertools.count()
        self._cleared = False

    def __contains__(self, model_id: str) -> bool:
        """Return whether there are copies of a model's chunks."""
        return model_id in self._copies

    async def keep(self, model_id: str, number: int, mark: Mark, content: bytes) -> None:
        """Keep a copy of a chunk that was just stored; a full disk only means that there is none."""
        if self._directory is None:
            return
        path = self._directory / f"{next(self._names)}"
        try:
            await asyncio.to_thread(self._write, path, content)
        except OSError as fault:
            log.warning("no copy of chunk %d of model %s is kept: %s", number, model_id, fault)
            return
        before = self._copies.setdefault(model_id, {}).get(number)
        self._copies[model_id][number] = (mark, path, len(content))
        if before is not None:
            before[1].unlink(missing_ok=True)
        while self._size() > self._most and len(self._copies) > 1:
            await self.drop(next(iter(self._copies)))

    def _write(self, path: Path, content: bytes) -> None:
        if not self._cleared:  # of what an earlier run left
            shutil.rmtree(path.parent, ignore_errors=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._cleared = True
        try:
            path.write_bytes(content)
        except OSError:
            path.unlink(missing_ok=True)
            raise

    def _size(self) -> int:
        return sum(size for chunks in self._copies.values() for _, _, size in chunks.values())

    async def read(self, model_id: str, number: int, mark: Mark | None) -> bytes | None:
        """Return a chunk whose document has that mark; None where the copy is of another, or there is none."""
        copy = self._copies.get(model_id, {}).get(number)
        if copy is None or mark is None or copy[0] != mark:
            return None
        with suppress(OSError):
            content = await asyncio.to_thread(copy[1].read_bytes)
            return content if len(content) == copy[2] else None
        return None

    async def drop(self, model_id: str) -> None:
        """Remove the copies of a model's chunks."""
        for _, path, _ in self._copies.pop(model_id, {}).values():
            await asyncio.to_thread(path.unlink, missing_ok=True)
