"""An API server: ``python -m mlcommons_py.api_servers.process CHANNEL LISTENING TURNS SLOT PARENT``.

The arguments are the descriptors of its channel to the core, of the listening socket and of the memory where each
process counts its connections, its place there, and the core's process id. Everything else it is told over the channel.
It ends when the core does.
"""

import asyncio
import ctypes
import os
import signal
import socket
import sys
import time
from typing import Any

import uvloop

from mlcommons_py import garbage, malloc
from mlcommons_py.api_servers.beginning import Beginning
from mlcommons_py.api_servers.channel import Answers, Channel
from mlcommons_py.api_servers.handing import address, handing
from mlcommons_py.api_servers.parts import Parts
from mlcommons_py.api_servers.turns import Turns
from mlcommons_py.observe.logs import configure
from mlcommons_py.remote.breaker import Suspension
from mlcommons_py.rest.binding import tls_of
from mlcommons_py.rest.server import serve

_PR_SET_PDEATHSIG = 1
_TELL_SECONDS = 1.0
_SHARE = 20
"""Telling its numbers takes one part of so many of an API server's time at most."""


def main() -> None:
    """Serve until the core says that it ends, or does."""
    channel, listening, turns, slot, parent = map(int, sys.argv[1:6])
    libc: Any = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the core is gone")
    malloc.tune(mapped_from=1 << 20)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(socket.socket(fileno=channel), socket.socket(fileno=listening), Turns(turns, slot)))


async def _run(wire: socket.socket, listening: socket.socket, turns: Turns) -> None:
    answers = dict(AT_FIRST)
    channel = await Channel.open(wire, answers)
    # Without the core nothing that is known here holds: nobody is answered any more, not even those who wait.
    channel.ended.add_done_callback(lambda _: os._exit(0))
    beginning = Beginning.from_json(await channel.ask("begin"))
    operator = beginning.operator
    configure(operator.log_level)
    parts = Parts.of(beginning, channel, handing(address(beginning.directory)))

    async def numbers(_value: Any) -> Any:
        return parts.numbers()

    async def changed(model_id: Any) -> None:
        parts.cards.changed(model_id)

    async def removed(model_id: Any) -> None:
        parts.cards.removed(model_id)

    async def suspended(told: Any) -> None:
        parts.outside.breaker.hear(Suspension(**told))

    answers.update(numbers=numbers, changed=changed, removed=removed, suspended=suspended)
    telling = asyncio.create_task(_tell(channel, parts))

    def serves() -> None:
        channel.tell("serves")

    garbage.settle()
    await serve(parts.front, listening, operator.shutdown_seconds, serves, turns=turns, tls=tls_of(operator))
    telling.cancel()
    await parts.close()
    channel.tell("numbers", parts.numbers())
    await channel.close()


async def _stop(_value: Any) -> None:
    """End as if told so by a signal."""
    os.kill(os.getpid(), signal.SIGTERM)


async def _ignore(_value: Any) -> None:
    """Hear nothing of models: none is known yet, and what is suspended is told again when this process serves."""


AT_FIRST: Answers = {"stop": _stop, "changed": _ignore, "removed": _ignore, "suspended": _ignore}
"""What is answered before the core has said how to begin; it tells things from the moment the process runs."""


async def _tell(channel: Channel, parts: Parts) -> None:
    """Tell the core again and again what was counted."""
    while True:
        began = time.monotonic()
        channel.tell("numbers", parts.numbers())
        await asyncio.sleep(max(_TELL_SECONDS, _SHARE * (time.monotonic() - began)))


if __name__ == "__main__":
    main()
