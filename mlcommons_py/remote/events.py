"""Taking a streamed answer apart: server-sent events, JSON a line, and Amazon's event stream.

However the bytes are cut into parts on their way, the same events come out; a character split over two parts stays
whole.
"""

import codecs
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing
from typing import Any, Literal

from mlcommons_py.errors import RemoteFailed
from mlcommons_py.remote.faults import unreadable

Framing = Literal["sse", "lines", "aws", "aws-lines"]

Event = tuple[str, str]
"""An event's name, empty where it has none, and its data."""

_SERVER_SENT = ("data", "event", "id", "retry", "")
"""What a line of server-sent events may begin with before its colon; nothing is a comment."""

MOST = 16 << 20
"""Most bytes (of a text: characters) of one event."""


def read(framing: Framing, parts: AsyncIterable[bytes], most: int = MOST) -> AsyncGenerator[Event, None]:
    """Yield the events of an answer's body.

    ``sse`` is as WHATWG's HTML has it (section 9.2.6): an event that its end cuts off is dropped. ``lines`` drops empty
    lines and keeps a last line without an end. ``aws`` names an event after its ``:event-type``, and an error after its
    ``:exception-type`` or ``:error-code``. ``aws-lines`` is for what a container sends in such a stream, cut anywhere:
    lines of JSON, bare or server-sent, whose event names and comments are dropped; an error of Amazon's own is named
    as in ``aws``.

    Raises:
        RemoteFailed: an event is longer than ``most``, a text is no UTF-8, or the frames are damaged.
    """
    match framing:
        case "sse":
            return _server_sent(_lines(parts, most), most)
        case "lines":
            return _json_lines(_lines(parts, most, last=True))
        case "aws":
            return _amazon(parts, most)
        case "aws-lines":
            return _lines_in_amazon(parts, most)


async def _server_sent(lines: AsyncGenerator[str, None], most: int) -> AsyncGenerator[Event, None]:
    name, data, size = "", list[str](), 0
    async with aclosing(lines):
        async for line in lines:
            if not line:
                if data:
                    yield name, "\n".join(data)
                name, data, size = "", [], 0
                continue
            key, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if key == "event":
                name = value
            elif key == "data":
                size += len(value) + 1
                if size > most:
                    raise _too_long(most)
                data.append(value)


async def _json_lines(lines: AsyncGenerator[str, None]) -> AsyncGenerator[Event, None]:
    async with aclosing(lines):
        async for line in lines:
            if line.strip():
                yield "", line


async def _lines(parts: AsyncIterable[bytes], most: int, *, last: bool = False) -> AsyncGenerator[str, None]:
    """Yield lines, ended by CR, LF or both; what is behind the last end only if ``last``."""
    # A byte order mark at the very beginning is none of the text's.
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    pending: list[str] = []
    size, after_cr = 0, False
    try:
        async for part in parts:
            text = decoder.decode(part)
            if after_cr and text:
                text, after_cr = text.removeprefix("\n"), False
            *ended, rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
            after_cr = text.endswith("\r") or (after_cr and not text)
            for line in ended:
                if size + len(line) > most:
                    raise _too_long(most)
                yield "".join((*pending, line)) if pending else line
                pending, size = [], 0
            if rest:
                pending.append(rest)
                size += len(rest)
                if size > most:
                    raise _too_long(most)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as fault:
        raise unreadable(f"the stream is no UTF-8: {fault.reason}") from fault
    if last and pending:
        yield "".join(pending)


async def _amazon(parts: AsyncIterable[bytes], most: int) -> AsyncGenerator[Event, None]:
    async with aclosing(_messages(parts, most)) as messages:
        async for message in messages:
            yield _event(message)


async def _lines_in_amazon(parts: AsyncIterable[bytes], most: int) -> AsyncGenerator[Event, None]:
    failed: Any = None

    async def payloads() -> AsyncGenerator[bytes]:
        nonlocal failed
        async with aclosing(_messages(parts, most)) as messages:
            async for message in messages:
                if message.headers.get(":message-type") != "event":
                    failed = message
                    return
                yield message.payload

    try:
        async with aclosing(payloads()) as inner, aclosing(_lines(inner, most, last=True)) as lines:
            async for line in lines:
                key, colon, value = line.partition(":")
                data = line if not colon or key not in _SERVER_SENT else value if key == "data" else ""
                if failed is None and data.strip():
                    yield "", data.strip()
    except RemoteFailed:  # of what an error cuts off nothing is said
        if failed is None:
            raise
    if failed is not None:
        yield _event(failed)


def _event(message: Any) -> Event:
    headers = message.headers
    named = (headers.get(key) for key in (":event-type", ":exception-type", ":error-code"))
    name = next((str(one) for one in named if one), "")
    try:
        return name, message.payload.decode() or str(headers.get(":error-message", ""))
    except UnicodeDecodeError as fault:
        raise _damaged(fault) from fault


async def _messages(parts: AsyncIterable[bytes], most: int) -> AsyncGenerator[Any, None]:
    """Yield the messages of Amazon's event stream."""
    from botocore.eventstream import EventStreamBuffer, ParserError  # only who streams from Amazon needs it

    buffer = EventStreamBuffer()
    waiting = 0
    try:
        async for part in parts:
            waiting += len(part)
            buffer.add_data(part)
            for message in buffer:
                waiting -= message.prelude.total_length
                yield message
            if waiting > most:
                raise _too_long(most)
    except ParserError as fault:
        raise _damaged(fault) from fault
    if waiting:
        raise unreadable("the event stream ends in the midst of an event")


def _damaged(fault: Exception) -> RemoteFailed:
    return unreadable(f"the event stream is damaged: {fault}")


def _too_long(most: int) -> RemoteFailed:
    return unreadable(f"an event of the stream is longer than {most} bytes")
