"""Answers: decompressed, within bounds, and in time."""

import asyncio
import gzip
import time
import zlib

import pytest

from mlcommons_py.errors import RemoteFailed
from mlcommons_py.remote.documents import ClientConfig
from mlcommons_py.remote.transport import Transport
from mlcommons_py.remote.trust import Trust
from tests.remote.conftest import asking, settings_of
from tests.remote.fake import Answer, Fake, gzipped, split

ONCE = ClientConfig()


async def test_headers_of_an_answer_are_text(fake: Fake, transport: Transport) -> None:
    """Names are in lower case, values of one name are joined, and bytes that are no text do no harm."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: 1\r\nx-a: 2\r\nX-Request-Id: \xff\xd0\xb6\r\n\r\n"
    fake.on("/", Answer(raw=head))

    incoming = await transport.send(asking(f"{fake.url}/"), ONCE, model_id="m")

    assert incoming.headers == {"content-length": "0", "x-a": "1, 2", "x-request-id": "\ufffdж"}
    assert incoming.request_id == "\ufffdж"


@pytest.mark.parametrize(("sent", "handed_on"), [("60", "60"), ("ж", None), ("1" * 65, None), ("", None)])
async def test_a_wish_to_wait_is_handed_on_as_it_is(
    fake: Fake, transport: Transport, sent: str, handed_on: str | None
) -> None:
    """``Retry-After`` goes on to the client, unless it is something that no header of ours can hold."""
    fake.on("/", Answer(429, headers={"x-amzn-ErrorType": "ThrottlingException", "Retry-After": sent}))

    with pytest.raises(RemoteFailed) as failed:
        await transport.send(asking(f"{fake.url}/"), ONCE, model_id="m")

    assert failed.value.headers.get("Retry-After") == handed_on


async def test_an_answer_is_decompressed(fake: Fake, transport: Transport) -> None:
    """Compressed with gzip (of one member or more), zlib or bare deflate, whole or in parts, it comes out as it was."""
    text = "жжж".encode() * 100_000
    fake.on("/gzip", gzipped(Answer(200, text)))
    both = gzip.compress(text[:1000]) + gzip.compress(text[1000:])
    fake.on("/parts", Answer(200, parts=split(both, 1001), headers={"Content-Encoding": "GZIP"}))
    fake.on("/zlib", Answer(200, zlib.compress(text), headers={"Content-Encoding": "deflate"}))
    bare = zlib.compressobj(wbits=-15)
    parts = split(bare.compress(text) + bare.flush(), 7)
    fake.on("/bare", Answer(200, parts=parts, headers={"Content-Encoding": "deflate"}))
    fake.on("/blank", gzipped(Answer(200, text), encoding="gzip \t"))
    fake.on("/empty", Answer(200, b"", headers={"Content-Encoding": "gzip"}))

    bodies = [
        (await transport.send(asking(f"{fake.url}/{path}"), ONCE, model_id="m")).body
        for path in ("gzip", "parts", "zlib", "bare", "blank", "empty")
    ]

    assert bodies == [text, text, text, text, text, b""]


async def test_a_long_answer_is_not_decompressed_on_the_loop(fake: Fake, transport: Transport) -> None:
    """While megabytes come out of a few bytes, others have their turn."""
    text = bytes(64 << 20)
    packed = zlib.compress(text, 1)
    fake.on("/", Answer(200, packed, headers={"Content-Encoding": "deflate"}))
    began = time.thread_time()
    zlib.decompress(packed)
    whole = time.thread_time() - began
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - before)

    watching = asyncio.ensure_future(watch())
    answer = await transport.send(asking(f"{fake.url}/"), ONCE, model_id="m")
    await asyncio.sleep(0)  # for what was done last
    watching.cancel()

    assert answer.body == text
    assert longest < whole / 8


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(200, b"no gzip", headers={"Content-Encoding": "gzip"}), "is not what its Content-Encoding"),
        (Answer(200, gzip.compress(b"abc" * 99)[:-9], headers={"Content-Encoding": "gzip"}), "ends in the midst"),
        (Answer(200, b"x", headers={"Content-Encoding": "br"}), r"Content-Encoding \[br\]"),
        (Answer(200, b"x" * 2001), "longer than 2000 bytes"),
        (Answer(200, parts=[b"x" * 100] * 21), "longer than 2000 bytes"),
        (gzipped(Answer(200, bytes(50 << 20))), "longer than 2000 bytes"),
    ],
)
async def test_an_answer_that_cannot_be_used(fake: Fake, answer: Answer, said: str) -> None:
    """Damaged, too long, or a bomb: it is refused as the provider's fault, once, and its connection is closed."""
    fake.on("/", answer)
    settings = settings_of(max_json_size=2000)
    transport = Transport(Trust(settings), settings)
    config = ClientConfig(max_retry_times=2, retry_backoff_millis=1)

    with pytest.raises(RemoteFailed, match=said) as failed:
        await transport.send(asking(f"{fake.url}/"), config, model_id="m")

    assert (failed.value.status, failed.value.remote, len(fake.requests)) == (502, {"attempts": 1}, 1)
    await transport.close()


async def test_a_slow_answer_is_waited_for_and_a_drip_is_not(fake: Fake, transport: Transport) -> None:
    """``read_timeout`` is for the next bytes; all of them together have a limit of their own."""
    fake.on("/slow", Answer(200, b"012345", drip=0.25)).on("/drip", Answer(200, b"x" * 999, drip=0.25))
    config = ClientConfig(read_timeout=1)
    settings = settings_of()
    strict = Transport(Trust(settings), settings, reads=1)

    slow = await transport.send(asking(f"{fake.url}/slow"), config, model_id="m")
    with pytest.raises(RemoteFailed, match="the answer did not come to an end in time"):
        await strict.send(asking(f"{fake.url}/drip"), config, model_id="m")

    assert slow.body == b"012345"
    await strict.close()
