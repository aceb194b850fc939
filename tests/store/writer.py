"""A process that writes to a store until it is killed, and says what it was told is done.

Run as ``writer.py FILE FUSE STEP...``: for each step given a task goes on from there. Its line ``TASK STEP`` on
standard output comes after the store acknowledged that step. With a FUSE other than 0 the process kills itself in the
midst of a write, when SQLite has run so many instructions: kills from outside hardly ever hit those moments.
"""

import asyncio
import hashlib
import os
import signal
import sys
from pathlib import Path

from mlcommons_py.store import Put
from mlcommons_py.store.embedded import EmbeddedStore

INDEX = "killed"

State = tuple[int | None, bytes | None, int | None]
"""The step that a task's document is of, its content, and the step that its second document is of."""


def content(task: int, step: int) -> bytes:
    """Return the content that a step writes, up to 400 kB: some fit into a page, some do not fit into the cache."""
    seed = hashlib.sha256(f"{task} {step}".encode()).digest()
    return seed * (1 + seed[0] * seed[1] % 12_500)


def state(task: int, step: int) -> State:
    """Return what the documents of a task are after a step; step -1 is before the first."""
    second = step - (step - 2) % 4 if step >= 2 else None
    kind = step % 4
    if step < 0 or kind == 3:
        return None, None, second
    return step, None if kind == 2 else content(task, step - kind), second


async def write(store: EmbeddedStore, task: int, step: int) -> None:
    """Do one step."""
    first, second = f"first-{task}", f"second-{task}"
    match step % 4:
        case 0:
            await store.put(INDEX, first, {"step": step}, content=content(task, step))
        case 1:
            await store.update(INDEX, first, {"step": step})
        case 2:
            await store.bulk([Put(INDEX, first, {"step": step}), Put(INDEX, second, {"step": step})])
        case _:
            await store.delete(INDEX, first)


async def _go_on(store: EmbeddedStore, task: int, step: int) -> None:
    while True:
        await write(store, task, step)
        print(task, step, flush=True)  # noqa: T201
        step += 1


def _light(store: EmbeddedStore, fuse: int) -> None:
    left = fuse

    def burn() -> int:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    store._database._writer.set_progress_handler(burn, 1)


async def _main(path: Path, fuse: int, steps: list[int]) -> None:
    store = await EmbeddedStore.open(path)
    if fuse:
        _light(store, fuse)
    await asyncio.gather(*(_go_on(store, task, step) for task, step in enumerate(steps)))


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2]), [int(step) for step in sys.argv[3:]]))
