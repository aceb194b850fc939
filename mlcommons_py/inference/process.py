"""A worker process, as the service sees it."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlcommons_py.errors import InvalidModel, MLCommonsError
from mlcommons_py.inference.environment import environment
from mlcommons_py.inference.options import RunOptions
from mlcommons_py.inference.pulse import Pulse
from mlcommons_py.inference.wire import (
    LENGTHS,
    Cancel,
    Embed,
    Embedded,
    Failed,
    Load,
    Message,
    Ping,
    Ready,
    Stop,
    pack,
    unpack,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

_LOADING_SECONDS = 600.0
_LINGERING_SECONDS = 5.0


class WorkerDied(Exception):
    """The process ended with requests under way."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """The embeddings of a request.

    Attributes:
        payload: float32, little-endian, row by row.
        answer: what the worker said of them.
    """

    payload: bytes
    answer: Embedded

    def rows(self) -> "NDArray[np.float32]":
        """Return the embeddings, ``[texts, dimension]``."""
        import numpy as np  # the service needs its 17 MB only once something is embedded

        return np.frombuffer(self.payload, "<f4").reshape(-1, self.answer.dimension)


class Worker:
    """One process that runs one model. Make it with :meth:`start`."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._waiting: dict[int, asyncio.Future[Vectors]] = {}
        self._number = 0
        self._pulse = Pulse()
        self._why = ""
        self._ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Task[str] = asyncio.create_task(self._receive())
        self.alive = True
        self.rss = 0

    @classmethod
    async def start(cls, directory: Path, options: RunOptions, environ: Mapping[str, str] | None = None) -> "Worker":
        """Start a process and wait until its model is loaded.

        Raises:
            MLCommonsError, WorkerDied: as :meth:`load`.
        """
        worker = await cls.begin(environ)
        await worker.load(directory, options)
        return worker

    @classmethod
    async def begin(cls, environ: Mapping[str, str] | None = None) -> "Worker":
        """Start a process that waits for its model; all that it needs beside that it gets ready meanwhile."""
        ours, theirs = socket.socketpair()
        process = None
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-P",  # the directory that the service was started in is not for the worker to import from
                    "-m",
                    "mlcommons_py.inference.worker",
                    str(theirs.fileno()),
                    pass_fds=[theirs.fileno()],
                    stdin=asyncio.subprocess.DEVNULL,
                    env=dict(environ if environ is not None else environment()),
                    start_new_session=True,  # a Ctrl-C at the terminal is for the service alone, also while one loads
                )
            reader, writer = await asyncio.open_connection(sock=ours, limit=1 << 20)
        except BaseException:
            ours.close()
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            raise
        return cls(process, reader, writer)

    async def load(self, directory: Path, options: RunOptions) -> None:
        """Load a model, and wait until that is done; where it fails, the process is ended.

        Raises:
            InvalidModel: the model cannot be loaded; the text is the worker's.
            MLCommonsError: something else was in the way, such as a lack of memory; it may be gone the next time.
            WorkerDied: the process ended while it loaded, or took too long.
        """
        try:
            async with asyncio.timeout(_LOADING_SECONDS):
                with contextlib.suppress(WorkerDied):
                    await self._send(Load(str(directory), options.to_text()))
                await asyncio.wait((self._ready, self.ended), return_when=asyncio.FIRST_COMPLETED)
                if not self._ready.done():
                    raise WorkerDied(f"the worker ended while it loaded the model: {self.ended.result()}")
                self.rss = self._ready.result().rss
        except TimeoutError as fault:
            await self.kill()
            raise WorkerDied(f"the worker did not load the model within {_LOADING_SECONDS:.0f} s") from fault
        except BaseException:
            await self.kill()
            raise

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    async def embed(self, texts: list[str], *, urgent: bool, timeout: float | None) -> Vectors:  # noqa: ASYNC109
        """Return the embeddings of texts.

        A caller that stops waiting has its work dropped in the worker.

        Raises:
            WorkerDied: the process ended before it answered.
            MLCommonsError: the worker refused the texts, or failed on them.
        """
        if not self.alive:
            raise WorkerDied("the worker has ended")
        self._number += 1
        number = self._number
        answer: asyncio.Future[Vectors] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            await self._send(Embed(number, texts, urgent, timeout))
            return await answer
        except asyncio.CancelledError:
            if self.alive:
                self._writer.write(pack(Cancel(number)))
            raise
        finally:
            self._waiting.pop(number, None)
            if answer.done() and not answer.cancelled():
                answer.exception()  # it may have come while the texts were still being sent

    async def _send(self, message: Message) -> None:
        try:
            self._writer.write(pack(message))
            await self._writer.drain()
        except (ConnectionError, RuntimeError) as fault:
            raise WorkerDied(await asyncio.shield(self.ended)) from fault

    async def fails(self, seconds: float, limit: float) -> str:
        """Return what is wrong with the process as soon as :class:`Pulse` says so, asking every so many seconds."""
        return await self._pulse.fails(self._ping, seconds, limit)

    def _ping(self) -> None:
        if self.alive:
            self._writer.write(pack(Ping()))

    async def stop(self, patience: float) -> None:
        """Let the worker finish what it has, for so many seconds; then end it."""
        if self.alive:
            try:
                async with asyncio.timeout(patience):
                    await self._send(Stop())
                    await asyncio.shield(self.ended)
            except (WorkerDied, TimeoutError):
                pass
        await self.kill()

    async def kill(self, why: str = "") -> None:
        """End the process now; whoever waits for it is told why."""
        self._why = self._why or why
        if self._process.returncode is None:
            self._end()
        await asyncio.shield(self.ended)  # whoever is cancelled here leaves it to close the socket

    async def _receive(self) -> str:
        """Take in frames until the process ends; return how it ended."""
        try:
            while True:
                lengths = await self._reader.readexactly(LENGTHS.size)
                header, payload = LENGTHS.unpack(lengths)
                message = unpack(await self._reader.readexactly(header))
                self._pulse.felt(message)
                self._take(message, await self._reader.readexactly(payload))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except Exception:
            log.exception("worker %d sent what is no answer; it is ended", self.pid)
            self._end()
        finally:
            self.alive = False
            self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
        status = await self._gone()
        how = self._why or _describe(status)
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(WorkerDied(how))
        return how

    async def _gone(self) -> int:
        """Return the exit status of a process whose socket is closed; one that lingers is ended."""
        try:
            async with asyncio.timeout(_LINGERING_SECONDS):
                return await self._process.wait()
        except TimeoutError:
            self._end()
            return await self._process.wait()

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # it may have ended by itself a moment ago
            self._process.kill()

    def _take(self, message: Message, payload: bytes) -> None:
        if isinstance(message, Ready):
            if not self._ready.done():
                self._ready.set_result(message)
            return
        if isinstance(message, Failed) and message.id == 0:
            if not self._ready.done():
                self._ready.set_exception(_fault(message))
            return
        if not isinstance(message, Embedded | Failed):
            return
        answer = self._waiting.get(message.id)
        if answer is None or answer.done():
            return
        if isinstance(message, Embedded):
            self.rss = message.rss
            answer.set_result(Vectors(payload, message))
        else:
            answer.set_exception(_fault(message))


def _fault(message: Failed) -> MLCommonsError:
    if (message.type, message.status) == (InvalidModel.type, InvalidModel.status):
        return InvalidModel(message.reason)
    fault = MLCommonsError(message.reason)
    fault.status, fault.type = message.status, message.type
    return fault


def _describe(status: int) -> str:
    if status < 0:
        name = signal.Signals(-status).name
        hint = "; the kernel may have been short of memory" if name == "SIGKILL" else ""
        return f"killed by {name}{hint}"
    return f"ended with status {status}"
