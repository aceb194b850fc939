"""What passes through is not kept."""

import asyncio
from pathlib import Path

import pytest

from tests.gateway.conftest import Connect
from tests.gateway.peers import Fake, Wire

pytestmark = pytest.mark.only("embedded", reason="the cluster is a script, and no document is read")

PART = b"x" * (1 << 20)
PARTS = 1024
ALLOWED = 30 << 20


def resident() -> int:
    """Return this process's resident memory, in bytes; the service, the cluster and the client run in it."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) << 10


async def test_one_gigabyte_each_way(connect: Connect, fake: Fake) -> None:
    """A gigabyte there and a gigabyte back cost less than 30 MB of memory."""
    highest = 0

    async def script(wire: Wire) -> None:
        nonlocal highest
        await wire.head()
        for _ in range(PARTS):
            assert len(await wire.exactly(len(PART))) == len(PART)
        await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (PARTS * len(PART)))
        for number in range(PARTS):
            await wire.send(PART)
            if number % 64 == 0:
                highest = max(highest, resident())

    fake.script = script
    wire = await connect()

    async def upload() -> None:
        nonlocal highest
        for number in range(PARTS):
            await wire.send(PART)
            if number % 64 == 0:
                highest = max(highest, resident())

    before = resident()
    await wire.send(b"POST /_bulk HTTP/1.1\r\nHost: me\r\ncontent-length: %d\r\n\r\n" % (PARTS * len(PART)))
    await asyncio.wait_for(upload(), 120)
    await wire.head()
    for _ in range(PARTS):
        await wire.exactly(len(PART))

    assert highest - before < ALLOWED
