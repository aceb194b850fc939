"""Streamed answers: from the first byte on, and never begun twice."""

import asyncio
import contextlib

import pytest

from mlcommons_py.errors import RemoteFailed
from mlcommons_py.remote import events
from mlcommons_py.remote.breaker import Breaker
from mlcommons_py.remote.documents import ClientConfig
from mlcommons_py.remote.transport import Transport
from mlcommons_py.remote.trust import Trust
from tests.remote import fake as scripts
from tests.remote.conftest import asking, settings_of
from tests.remote.fake import RESET, Answer, Fake, gzipped

PATIENT = ClientConfig(max_retry_times=3, retry_backoff_millis=1, read_timeout=1)


async def follow(transport: Transport, url: str, seen: list[events.Event], config: ClientConfig = PATIENT) -> None:
    """Call a URL, and keep what comes of its stream."""
    async with transport.stream(asking(url), config, model_id="m") as answer:
        async for event in events.read("sse", answer):
            seen.append(event)  # noqa: PERF401 - what came before a fault counts


async def test_events_come_before_the_stream_ends(fake: Fake, transport: Transport) -> None:
    """An event is there when the provider sent it, not when the last one came."""
    go_on = asyncio.Event()
    fake.on("/", scripts.events("one", "two", after=go_on))

    async with transport.stream(asking(f"{fake.url}/"), PATIENT, model_id="m") as answer:
        seen = []
        async for event in events.read("sse", answer):
            seen.append(event)
            go_on.set()

    assert (answer.status, answer.attempts, seen) == (200, 1, [("", "one"), ("", "two")])
    assert answer.headers["content-type"] == "text/event-stream"


async def test_a_stream_is_decompressed(fake: Fake, transport: Transport) -> None:
    """A compressed stream reads like a plain one."""
    fake.on("/", gzipped(Answer(200, "data: ж\n\n" * 100)))

    async with transport.stream(asking(f"{fake.url}/"), PATIENT, model_id="m") as answer:
        assert [event async for event in events.read("sse", answer)] == [("", "ж")] * 100


async def test_a_stream_is_tried_again_until_it_begins(fake: Fake, transport: Transport) -> None:
    """Refusals that may be over soon, and broken connections, are repeated as those of other calls are."""
    fake.on("/", Answer(503, {"error": "e"}), RESET, Answer(429), scripts.events("one"))

    async with transport.stream(asking(f"{fake.url}/"), PATIENT, model_id="m") as answer:
        seen = [event async for event in events.read("sse", answer)]

    assert (seen, answer.attempts, len(fake.requests)) == ([("", "one")], 4, 4)


async def test_a_stream_that_has_begun_is_never_begun_again(fake: Fake, transport: Transport) -> None:
    """What breaks in the midst is told; the provider is not asked twice, however patient the connector is."""
    fake.on("/reset", Answer(200, parts=[b"data: one\n\n", b"data: two\n\n"], cut=15, reset=True))
    fake.on("/end", Answer(200, parts=[b"data: one\n\n", b"data: two\n\n"], cut=15))
    fake.on("/still", Answer(200, parts=[b"data: one\n\n", b"data: two\n\n"], drip=30.0))

    for path in ("reset", "end", "still"):
        seen: list[events.Event] = []
        with pytest.raises(
            RemoteFailed, match=r"The connection was closed during the request|Read timed out"
        ) as failed:
            await follow(transport, f"{fake.url}/{path}", seen)
        assert seen == [("", "one")] or path == "reset"  # a reset may overtake what was sent before it
        assert failed.value.remote == {"attempts": 1}

    assert len(fake.requests) == 3


async def test_a_head_that_never_ends_is_not_waited_for() -> None:
    """A provider that sends its head byte by byte does not keep a caller for ever, streamed or not."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dripping.append(asyncio.current_task())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        with contextlib.suppress(ConnectionError):
            while not (writer.is_closing() or reader.at_eof()):
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.02)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    dripping: list[asyncio.Task[None] | None] = []
    settings = settings_of()
    transport = Transport(Trust(settings), settings, reads=1)
    config = ClientConfig(read_timeout=1)
    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        streaming = follow(transport, url, [], config)
        outcomes = await asyncio.gather(
            streaming, transport.send(asking(url), config, model_id="m"), return_exceptions=True
        )

        await asyncio.wait([one for one in dripping if one is not None], timeout=scripts.PATIENCE)

    assert all(isinstance(one, RemoteFailed) and "did not come to an end in time" in one.reason for one in outcomes)
    await transport.close()


async def test_a_refusal_can_be_read(fake: Fake, transport: Transport) -> None:
    """An answer that is no stream comes back with its status and its body."""
    fake.on("/", Answer(400, {"error": "too long"}))

    async with transport.stream(asking(f"{fake.url}/"), PATIENT, model_id="m") as answer:
        assert (answer.status, await answer.read()) == (400, b'{"error": "too long"}')


async def test_who_leaves_a_stream_hangs_up(fake: Fake, transport: Transport) -> None:
    """Leaving early, and being cancelled, end the provider's work and give the place back."""
    fake.on("/", Answer(200, parts=[b"data: one\n\n"] * 1000, drip=0.05)).on("/after", Answer(200, {}))
    narrow = ClientConfig(max_connection=1)

    async with transport.stream(asking(f"{fake.url}/"), narrow, model_id="m") as answer:
        async for _ in events.read("sse", answer):
            break
    await fake.idle()

    async def watch() -> None:
        async with transport.stream(asking(f"{fake.url}/"), narrow, model_id="m") as answer:
            async for _ in events.read("sse", answer):
                watching.set()

    watching = asyncio.Event()
    task = asyncio.ensure_future(watch())
    await asyncio.wait_for(watching.wait(), scripts.PATIENCE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await fake.idle()

    assert fake.dropped == 2
    assert (await transport.send(asking(f"{fake.url}/after"), narrow, model_id="m")).status == 200


async def test_a_stream_that_breaks_is_a_fault_of_the_provider(fake: Fake) -> None:
    """Its breaker counts it, though the status was 200; one that is left early is none."""
    settings = settings_of()
    transport = Transport(Trust(settings), settings, breaker=Breaker(1))
    fake.on("/", Answer(200, parts=[b"data: one\n\n"] * 2)).on("/cut", Answer(200, parts=[b"data: one\n\n"], cut=5))

    async with transport.stream(asking(f"{fake.url}/"), PATIENT, model_id="m") as answer:
        async for _ in answer:
            break
    before = transport.breaker.open()
    with pytest.raises(RemoteFailed):
        await follow(transport, f"{fake.url}/cut", [])

    assert (before, transport.breaker.open()) == ([], ["m"])
    await transport.close()
