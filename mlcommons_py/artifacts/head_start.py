"""A conversion that begins while its archive is still being uploaded."""

import asyncio
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from mlcommons_py.artifacts.sandbox import Conversion
from mlcommons_py.errors import InvalidModel, MLCommonsError

log = logging.getLogger(__name__)

PATIENCE = 60.0
"""Seconds after which a head start is given up to which nothing is added, or whose result nobody takes."""

Begin = Callable[[Path, Path], Conversion]
"""Returns the conversion of an archive into a directory."""


class HeadStart:
    """One archive on its way, and the child that unpacks what there is of it.

    Nothing is lost with one that ends early: the model is then converted as if there had been none.

    Attributes:
        ended: done when nothing of it is left.
        is_whole: whether all of the archive is there.
    """

    def __init__(
        self, source: Path, unless: Path, staging: Path, begin: Begin, turns: asyncio.Semaphore, patience: float
    ) -> None:
        """Begin with the file ``source``, to which more is added, in the new directory ``staging``.

        Nothing is done if ``unless`` is there. Converting what is whole takes one of the ``turns``.
        """
        self._patience = patience
        self._source = source
        self._unless = unless
        self._staging = staging
        self._archive = staging / "archive.zip"
        self._begin = begin
        self._turns = turns
        self._size = 0
        self._more = asyncio.Event()
        self._built: asyncio.Future[Path | None] = asyncio.get_running_loop().create_future()
        self.is_whole = False
        self.ended = asyncio.create_task(self._run())

    def advance(self, source: Path, size: int, *, whole: bool) -> None:
        """Note that so many bytes of the archive are there, and whether that is all of it."""
        if source == self._source and not self.is_whole:
            self._size, self.is_whole = size, whole
            self._more.set()

    async def result(self) -> Path | None:
        """Return the directory of the converted model, to be moved away; None where nothing came of it.

        Raises:
            InvalidModel: the model cannot be served.
        """
        return await asyncio.shield(self._built)

    async def end(self) -> None:
        """End it, and remove what is left of it."""
        self.ended.cancel()
        await asyncio.wait([self.ended])
        if not self._built.done():  # it had not even begun
            self._built.set_result(None)

    async def _run(self) -> None:
        try:
            if await asyncio.to_thread(self._link):
                self._built.set_result(await self._convert())
                await asyncio.sleep(self._patience)
        except InvalidModel as fault:
            if self.is_whole:
                self._built.set_exception(fault)
                self._built.exception()  # it need not be asked for
                await asyncio.sleep(self._patience)
        except (MLCommonsError, OSError) as fault:
            log.debug("the head start of %s came to nothing: %s", self._source, fault)
        finally:
            if not self._built.done():
                self._built.set_result(None)
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, self._staging, ignore_errors=True))

    def _link(self) -> bool:
        """Give the archive a name that stays; return whether it is to be converted."""
        if self._unless.exists():
            return False
        self._staging.mkdir()
        os.link(self._source, self._archive)
        return True

    async def _convert(self) -> Path | None:
        directory = self._staging / "model"
        async with self._begin(self._archive, directory) as conversion:
            while not self.is_whole:
                self._more.clear()
                conversion.announce(self._size)
                async with asyncio.timeout(self._patience):
                    await self._more.wait()
            conversion.announce(self._size)
            async with self._turns:
                await conversion.result()
        # What is added to a file that was whole is not of the content that the model is known by.
        return directory if (await asyncio.to_thread(self._archive.stat)).st_size == self._size else None
