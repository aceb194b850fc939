"""The fake provider does what its scripts say."""

import asyncio
import gzip

import aiohttp
import pytest

from tests.remote.fake import ANY, RESET, Answer, Asked, Fake, events, gzipped, split


async def test_answers_come_in_order_and_the_last_repeats(fake: Fake) -> None:
    """Each request takes the next answer of its path; the last one stays; other paths are not touched."""
    fake.on("/a", Answer(503, headers={"Retry-After": "1"}), Answer(200, {"text": "ж"}))

    async with aiohttp.ClientSession(fake.url) as session:
        seen = []
        for path in ("/a?x=1", "/a", "/a", "/b"):
            async with session.post(path, data=b"{}") as answer:
                seen.append((answer.status, await answer.text()))

    assert seen == [(503, ""), (200, '{"text": "ж"}'), (200, '{"text": "ж"}'), (404, '{"error": "not scripted"}')]
    assert [one.target for one in fake.requests] == ["/a?x=1", "/a", "/a", "/b"]
    assert {one.connection for one in fake.requests} == {1}


async def test_a_request_is_kept_as_it_came(fake: Fake) -> None:
    """Names of headers keep their case, and a chunked body is put together."""
    fake.on(ANY, lambda asked: Answer(200, {"length": len(asked.body)}))
    reader, writer = await asyncio.open_connection(fake.host, fake.port)
    writer.write(b"POST /x HTTP/1.1\r\nx-OdD: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()

    assert head.startswith(b"HTTP/1.1 200 ")
    asked: Asked = fake.requests[0]
    assert (asked.method, asked.body, asked.header("X-Odd")) == ("POST", b"abcde", "1")
    assert asked.headers[0] == ("x-OdD", "1")


@pytest.mark.parametrize("answer", [RESET, Answer(200, b"0123456789", cut=4), Answer(200, b"0123", cut=2, reset=True)])
async def test_it_can_hang_up_anywhere(fake: Fake, answer: Answer) -> None:
    """Before the head, and in the midst of the body, politely or not."""
    fake.on(ANY, answer)

    async with aiohttp.ClientSession(fake.url) as session:
        with pytest.raises(aiohttp.ClientError):
            async with session.post("/") as seen:
                await seen.read()


async def test_parts_are_chunks_and_events_are_parts(fake: Fake) -> None:
    """A character may be split over chunks; an event has its name and its lines."""
    fake.on("/split", Answer(200, parts=split("ж🚀".encode())))
    fake.on("/events", events("a\nb", "c", names=["x", "y"]))
    fake.on("/gzip", gzipped(Answer(200, "text")))

    async with aiohttp.ClientSession(fake.url, auto_decompress=False) as session:
        bodies = [await (await session.post(path)).read() for path in ("/split", "/events", "/gzip")]

    assert bodies[0].decode() == "ж🚀"
    assert bodies[1].decode() == "event: x\ndata: a\ndata: b\n\nevent: y\ndata: c\n\n"
    assert gzip.decompress(bodies[2]) == b"text"


async def test_a_client_that_hangs_up_is_noticed(fake: Fake) -> None:
    """Whoever goes away while the answer is being thought about is counted."""
    fake.on(ANY, Answer(200, delay=60.0))
    _, writer = await asyncio.open_connection(fake.host, fake.port)
    writer.write(b"POST / HTTP/1.1\r\n\r\n")
    await fake.asked(1)

    writer.close()
    await fake.idle()

    assert fake.dropped == 1
