"""Bodies as long as a model's chunk: in memory at once where they come quickly, else in a file until they are whole."""

import asyncio
import contextlib
import errno
import tempfile
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from pathlib import Path
from typing import IO

from mlcommons_py import malloc
from mlcommons_py.errors import CircuitBreaking
from mlcommons_py.rest.arriving import Arriving
from mlcommons_py.rest.asked import Asked
from mlcommons_py.rest.body import encoding_of, inflated
from mlcommons_py.rest.pace import Pace

QUICK_SECONDS = 0.25
"""How long a body may pause that comes into memory."""

QUICK = 8 << 20
"""Bytes a second that it must bring (:class:`~mlcommons_py.rest.pace.Pace`)."""

_SPOOLED = 256 << 10
_LARGE = 4 << 20


@contextlib.asynccontextmanager
async def raw_body(
    request: Asked,
    limit: int,
    too_long: str,
    directory: Path,
    places: asyncio.Semaphore,
    *,
    patience: float = QUICK_SECONDS,
) -> AsyncIterator[bytes]:
    """Yield a body, decompressed; it has one of the places in memory until it is done with.

    It takes one while it comes in if one is free and it comes quickly. Who is slow holds none, and nobody overtakes
    those who wait for one: their bodies come into a file in ``directory``, at their own pace.

    Raises:
        ContentTooLong, StatusError, ParseFailed: as :func:`~mlcommons_py.rest.body.read_body`.
        CircuitBreaking: the disk is full.
    """
    arriving = Arriving(request, limit, too_long)
    encoding = encoding_of(request)

    async def plain(body: bytes) -> bytes:
        return await inflated(encoding, [body], limit, too_long) if encoding else body

    begun: bytes | IO[bytes]
    if places.locked():
        begun = await asyncio.to_thread(_file, directory, BytesIO())
    else:
        async with places:
            begun = await _quickly(arriving, directory, patience)
            if isinstance(begun, bytes):
                yield await plain(begun)
                return
    with begun as file:
        last = await _slowly(arriving, file)
        async with places:
            yield await plain(await asyncio.to_thread(_read, file, last))


async def _quickly(arriving: Arriving, directory: Path, patience: float) -> bytes | IO[bytes]:
    """Return a body that comes quickly; of one that does not, a file with what came of it."""
    # All of its bytes in one place, which is not touched before they come: to enlarge it, or to copy it in the end,
    # costs more than all else that is done with them here.
    whole = BytesIO(bytes(arriving.announced))
    if arriving.announced > _LARGE:
        malloc.take_large_pages(whole.getbuffer())
    clock = asyncio.get_running_loop().time
    pace = Pace(patience, QUICK, clock())
    try:
        while (part := await arriving.part(pace.due)) is not None:
            whole.write(part)
            pace.came(len(part), clock())
    except TimeoutError:
        whole.truncate()
        return await asyncio.to_thread(_file, directory, whole)
    whole.truncate()
    return whole.getvalue()


async def _slowly(arriving: Arriving, file: IO[bytes]) -> bytearray:
    """Take a body into a file; return the rest, which is not there yet."""
    parts = bytearray()
    while (part := await arriving.part()) is not None:
        parts += part
        if len(parts) > _SPOOLED:
            await asyncio.to_thread(_write, file, parts)
            parts = bytearray()
    return parts


def _file(directory: Path, begun: BytesIO) -> IO[bytes]:
    with _disk(), contextlib.ExitStack() as undone:
        file: IO[bytes] = undone.enter_context(tempfile.TemporaryFile(dir=directory))
        file.write(begun.getbuffer())
        undone.pop_all()
        return file


def _write(file: IO[bytes], parts: bytearray) -> None:
    with _disk():
        file.write(parts)


def _read(file: IO[bytes], last: bytearray) -> bytes:
    with _disk():
        file.write(last)
        file.seek(0)
        return file.read()


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        if fault.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise CircuitBreaking("the disk is full: a chunk is kept there while it comes in", retry_after=60) from fault
