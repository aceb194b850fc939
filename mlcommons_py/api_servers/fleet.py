"""The API servers of a service: started, told of changes, asked for their numbers, started again, and ended."""

import asyncio
import contextlib
import logging
import os
import random
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any

from mlcommons_py.api_servers.beginning import Beginning
from mlcommons_py.api_servers.channel import Channel
from mlcommons_py.api_servers.desk import Desk
from mlcommons_py.api_servers.turns import Turns, shared
from mlcommons_py.errors import Unavailable
from mlcommons_py.inference.remotes import Remotes
from mlcommons_py.observe.elsewhere import Elsewhere
from mlcommons_py.observe.numbers import Numbers
from mlcommons_py.remote.breaker import Breaker, Suspension

log = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 30.0
_STEADY_SECONDS = 30.0
"""An API server that lived so long is started again at once."""

_GATHER_SECONDS = 1.0
_LINGERING_SECONDS = 2.0
_KEPT = ("LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "SSL_CERT_DIR", "SSL_CERT_FILE",
         "TMPDIR")  # fmt: skip
"""Variables that an API server gets: what else the operator set may be secret."""


class Fleet:
    """The API servers, and the core's ends of their channels.

    Args:
        count: how many there are.
        listening: the socket that all of them accept connections on.
        beginning: what each is told when it begins.
        desk: answers what they ask of models.
        breaker: the core's.

    Attributes:
        turns: the core's turns at accepting connections.
    """

    def __init__(
        self,
        count: int,
        listening: socket.socket,
        beginning: Beginning,
        desk: Desk,
        elsewhere: Elsewhere,
        remotes: Remotes,
        breaker: Breaker,
    ) -> None:
        self._count = count
        self._listening = listening
        self._beginning = beginning
        self._desk = desk
        self._elsewhere = elsewhere
        self._remotes = remotes
        self._breaker = breaker
        self._counts = shared(count + 1)
        self.turns = Turns(self._counts, 0)
        self._number = 0
        self._channels: dict[int, Channel] = {}
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._keeping: list[asyncio.Task[None]] = []
        self._ending = asyncio.Event()
        self._until = 0.0
        """When those that still run are killed, by the monotonic clock, once they are to end."""

    def start(self) -> None:
        """Start them, and keep so many running."""
        self._elsewhere.processes = self
        self._keeping = [asyncio.create_task(self._keep(slot)) for slot in range(1, self._count + 1)]

    def stop(self) -> None:
        """Have them accept nothing any more and finish what runs, for as long as the operator says."""
        self._until = time.monotonic() + self._beginning.operator.shutdown_seconds + _LINGERING_SECONDS
        self._ending.set()
        for channel in self._channels.values():
            channel.tell("stop")

    async def close(self, *, at_once: bool = False) -> None:
        """Wait until they have ended; kill those that take too long, all of them where it is to be at once."""
        self._ending.set()
        if at_once:
            self._until = 0.0
        if self._keeping:
            await asyncio.wait(self._keeping, timeout=max(0.0, self._until - time.monotonic()))
            for process in self._processes.values():
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await asyncio.wait(self._keeping)
        self._elsewhere.processes = None
        os.close(self._counts)

    async def gather(self) -> None:
        """Have each tell its numbers now; one that does not answer in time is left out."""
        if self._channels:
            asked = [asyncio.create_task(self._gather(*one)) for one in self._channels.items()]
            await asyncio.wait(asked)

    async def _gather(self, number: int, channel: Channel) -> None:
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(_GATHER_SECONDS):
                self._take(number, await channel.ask("numbers"))

    def changed(self, model_id: str) -> None:
        """Have them forget what they know of a model and of its provider."""
        for channel in self._channels.values():
            channel.tell("changed", model_id)

    def removed(self, model_id: str) -> None:
        """Have them forget that a model was here."""
        for channel in self._channels.values():
            channel.tell("removed", model_id)

    def suspended(self, told: Mapping[str, Any], but: int | None = None) -> None:
        """Have them, ``but`` the one that found it out, refuse calls of a model or let them through again."""
        for number, channel in self._channels.items():
            if number != but:
                channel.tell("suspended", told)

    def _take(self, number: int, told: Any) -> None:
        if number not in self._channels:  # it has ended, and what it told last was taken
            return
        numbers = Numbers.from_json(told)
        self._elsewhere.tell(number, numbers)
        self._remotes.tell(number, numbers.uses)

    async def _keep(self, slot: int) -> None:
        """Keep one API server running; ``slot`` is where it counts its connections."""
        pause = _FIRST_PAUSE
        while not self._ending.is_set():
            began = time.monotonic()
            try:
                how = await self._one(slot)
            except OSError as fault:
                how = f"could not be started: {fault}"
            except Exception:
                log.exception("an API server could not be kept running")
                how = "could not be kept running"
            if self._ending.is_set():
                break
            if time.monotonic() - began > _STEADY_SECONDS:
                pause = _FIRST_PAUSE
            wait = pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret depends on it
            log.warning("an API server %s; it is started again in %.1f s", how, wait)
            pause = min(2 * pause, _LONGEST_PAUSE)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), wait)

    async def _one(self, slot: int) -> str:
        """Run an API server until it ends; return how it did."""
        self._number += 1
        number = self._number
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = await self._started(theirs, slot)
            except BaseException:
                ours.close()
                raise
        self._processes[number] = process
        try:
            channel = await Channel.open(ours, self._answers(number, process.pid))
        except BaseException:
            ours.close()  # it ends by that
            del self._processes[number]
            raise
        self._channels[number] = channel
        try:
            if self._ending.is_set():  # it was being started when all were told
                channel.tell("stop")
            status = await process.wait()
            self.turns.gone(slot)
            await channel.ended  # what it told last is read before it is taken for the last
        finally:
            del self._channels[number], self._processes[number]
            await channel.close()
            self._elsewhere.ended(number)
            self._remotes.ended(number)
        return f"ended with status {status}" if status >= 0 else f"was ended by signal {-status}"

    async def _started(self, theirs: socket.socket, slot: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # the directory that the service was started in is not for it to import from
            "-m",
            "mlcommons_py.api_servers.process",
            str(theirs.fileno()),
            str(self._listening.fileno()),
            str(self._counts),
            str(slot),
            str(os.getpid()),
            pass_fds=[theirs.fileno(), self._listening.fileno(), self._counts],
            stdin=asyncio.subprocess.DEVNULL,
            env={name: os.environ[name] for name in _KEPT if name in os.environ},
            start_new_session=True,  # a Ctrl-C at the terminal is for the core alone
        )

    def _answers(self, number: int, pid: int) -> dict[str, Callable[[Any], Awaitable[Any]]]:
        async def begin(_value: Any) -> Any:
            return self._beginning.to_json()

        async def model(model_id: Any) -> Any:
            return await self._desk.model(model_id)

        async def numbers(told: Any) -> None:
            self._take(number, told)

        async def serves(_value: Any) -> None:
            log.info("an API server serves, process %d", pid)
            for one in self._breaker.suspensions():
                self._channels[number].tell("suspended", asdict(one))

        async def suspended(told: Any) -> None:
            self._breaker.hear(Suspension(**told))
            self.suspended(told, number)

        return {"begin": begin, "model": model, "numbers": numbers, "serves": serves, "suspended": suspended}
