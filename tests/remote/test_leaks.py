"""Many calls over many connectors leave nothing behind."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from mlcommons_py.errors import RemoteFailed
from mlcommons_py.remote.documents import ClientConfig
from mlcommons_py.remote.transport import Transport
from mlcommons_py.remote.trust import Trust
from tests.remote.conftest import asking, settings_of
from tests.remote.fake import PATIENCE, RESET, Answer, Fake

PROVIDERS = 50
CALLS = 3000
AT_ONCE = 20


@pytest.fixture
async def providers() -> AsyncIterator[list[Fake]]:
    """Fifty providers."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Fake()) for _ in range(PROVIDERS)]


def descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len([*Path("/proc/self/fd").iterdir()])


async def test_descriptors_stay_flat(providers: list[Fake], transport: Transport) -> None:
    """Calls over fifty connectors, good, failing and cancelled ones, end with the descriptors they began with."""
    for fake in providers:
        fake.on("/fine", Answer(200, {"data": [0.5] * 32})).on("/refused", Answer(503)).on("/broken", RESET)
        fake.on("/slow", Answer(200, {}, delay=30.0))
    before = descriptors()
    turns = iter(range(CALLS))

    async def call(number: int) -> None:
        fake, path = providers[number % PROVIDERS], ("fine", "fine", "refused", "broken", "slow")[number % 7 % 5]
        request = asking(f"{fake.url}/{path}")
        sending = asyncio.ensure_future(
            transport.send(
                request, ClientConfig(max_connection=4), model_id=f"{number % PROVIDERS}-{path}-{number // 500}"
            )
        )
        if path == "slow":
            await asyncio.wait([sending], timeout=0.01)
            sending.cancel()
        await asyncio.wait([sending])
        if not sending.cancelled() and isinstance(fault := sending.exception(), Exception):
            assert isinstance(fault, RemoteFailed)

    async def work() -> None:
        for number in turns:
            await call(number)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    middle = descriptors()
    await transport.close()
    for fake in providers:
        await fake.idle()
    gc.collect()
    async with asyncio.timeout(PATIENCE):
        while descriptors() > before:
            await asyncio.sleep(0.01)

    assert (
        sum(len(fake.requests) for fake in providers) > CALLS * 0.8
    )  # a call that is cancelled early may not have come to be sent
    # Each connection has two ends here; no more are kept than calls were under way at a time.
    assert middle - before <= 2 * PROVIDERS * 4
    assert len(transport._places) == 0


async def test_idle_connections_are_closed(providers: list[Fake]) -> None:
    """A connection that nobody uses is closed after a while, before the provider closes it."""
    settings = settings_of()
    transport = Transport(Trust(settings), settings, kept=0.2)
    for fake in providers[:5]:
        fake.on("/", Answer(200, {}))
        await transport.send(asking(f"{fake.url}/"), ClientConfig(), model_id="m")
    kept = [fake.open for fake in providers[:5]]

    for fake in providers[:5]:
        await fake.idle()

    assert kept == [1] * 5
    await transport.close()
