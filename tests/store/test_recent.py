"""What was read a moment ago."""

import asyncio

from mlcommons_py.store.patience import is_awaited
from mlcommons_py.store.recent import Recent
from tests.e2e.api import PATIENCE


async def test_nobody_waits_for_what_is_in_use() -> None:
    """A value that is asked for again and again is read anew before it is too old, and meanwhile it is as it was."""
    reads = 0
    go_on = asyncio.Event()

    async def read(one_id: str) -> str:
        nonlocal reads
        reads += 1
        if reads > 1:
            await go_on.wait()
        return f"{one_id}{reads}"

    recent = Recent(read)
    assert await recent.get("a") == "a1"
    async with asyncio.timeout(PATIENCE):
        while reads < 2:
            getting = asyncio.ensure_future(recent.get("a"))
            await asyncio.sleep(0)
            assert getting.done()
            assert getting.result() == "a1"
            await asyncio.sleep(0.01)
        go_on.set()
        while await recent.get("a") == "a1":
            await asyncio.sleep(0.01)

    assert reads == 2


async def test_what_did_not_change_is_what_it_was() -> None:
    """A value that is read anew, and is as before, is the same object; one that is not is the new one."""
    values = [{"a": 1}, {"a": 1}, {"a": 2}]

    async def read(_one_id: str) -> dict[str, int]:
        return values.pop(0)

    recent = Recent(read)
    read_values = []
    for _ in range(3):
        read_values.append(await recent.get("a"))
        recent.changed("a")

    assert read_values[0] is read_values[1]
    assert read_values[2] == {"a": 2}
    assert not values


async def test_who_reads_is_awaited() -> None:
    """A value is read for somebody who waits, in a task that all who ask for it share."""

    async def read(_one_id: str) -> bool:
        return is_awaited()

    assert await Recent(read).get("a")
