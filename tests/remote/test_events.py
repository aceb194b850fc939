"""Streams are taken apart the same way however they are cut."""

import asyncio
import binascii
import struct
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcommons_py.errors import RemoteFailed
from mlcommons_py.remote.events import Event, Framing, read


async def arriving(parts: Sequence[bytes]) -> AsyncIterator[bytes]:
    """Yield parts."""
    for part in parts:
        yield part


def events_of(framing: Framing, *parts: bytes, most: int = 1 << 20) -> list[Event]:
    """Return the events of a body that came in some parts."""

    async def collect() -> list[Event]:
        return [event async for event in read(framing, arriving(parts), most)]

    return asyncio.run(collect())


@pytest.mark.parametrize(
    ("body", "events"),
    [
        ("data: a\n\ndata: b\n\n", [("", "a"), ("", "b")]),
        ("data: a\r\rdata:b\r\n\r\n", [("", "a"), ("", "b")]),
        ("event: delta\ndata: 1\ndata: 2\n\n", [("delta", "1\n2")]),
        (": comment\n\n:\nid: 7\nretry: 9\ndata\n\n", [("", "")]),
        ("data:  two blanks\n\n", [("", " two blanks")]),
        ("event: lonely\n\ndata: x\n\n", [("", "x")]),
        ("data: cut off", []),
        ("data: cut off\n", []),
        ("\ufeffdata: mark\n\n", [("", "mark")]),
        ("data: \ufeff\n\n", [("", "\ufeff")]),
        ("data: [DONE]\n\n\n\n", [("", "[DONE]")]),
        ("other: x\ndataset: y\ndata: z\n\n", [("", "z")]),
        ("data: \u2028 \x0b \x85 \x1c\n\n", [("", "\u2028 \x0b \x85 \x1c")]),
        ("", []),
    ],
)
def test_server_sent_events(body: str, events: list[Event]) -> None:
    """Events are as WHATWG's HTML says, with whole body, single bytes and pairs alike."""
    whole = body.encode()

    assert events_of("sse", whole) == events
    assert events_of("sse", *(whole[n : n + 1] for n in range(len(whole)))) == events
    assert events_of("sse", *(whole[n : n + 2] for n in range(0, len(whole), 2))) == events


@given(
    st.lists(
        st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n")), min_size=1), max_size=4
    ),
    st.sampled_from(["\n", "\r", "\r\n"]),
    st.lists(st.integers(0, 400)),
)
def test_a_stream_means_the_same_however_it_is_cut(datas: list[list[str]], end: str, cuts: list[int]) -> None:
    """Any text comes out as it was put in, wherever it is cut, within a character and between CR and LF too."""
    whole = "".join("".join(f"data: {line}{end}" for line in lines) + end for lines in datas).encode()
    at = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]

    events = events_of("sse", *(whole[one:other] for one, other in pairwise(at)))

    assert events == [("", "\n".join(lines)) for lines in datas]


def test_a_json_object_a_line() -> None:
    """Each line is an event, the last one without an end too; empty lines are none."""
    whole = '{"a": "ж"}\n\n  \r\n{"b": 1}\r\n{"c": 2}'.encode()

    for size in (1, 2, 3, len(whole)):
        parts = [whole[n : n + size] for n in range(0, len(whole), size)]
        assert events_of("lines", *parts) == [("", '{"a": "ж"}'), ("", '{"b": 1}'), ("", '{"c": 2}')]


@pytest.mark.parametrize("framing", ["sse", "lines"])
def test_text_that_is_no_utf_8_is_refused(framing: Framing) -> None:
    """Nothing is replaced by question marks; a character that the end cuts off is no text either."""
    for parts in ([b"data: \xff\n\n"], ["data: ж".encode()[:-1]]):
        with pytest.raises(RemoteFailed, match="the stream is no UTF-8"):
            events_of(framing, *parts)


@pytest.mark.parametrize(
    ("framing", "parts"),
    [
        ("sse", [b"data: " + b"x" * 100] * 11),
        ("sse", [b"data: " + b"x" * 100 + b"\n"] * 11),
        ("sse", [b"data: " + b"x" * 1100 + b"\n\n"]),
        ("lines", [b"x" * 600, b"x" * 600]),
        ("aws", [b"\x00\x10\x00\x00" + bytes(8) + b"x" * 2000]),
        ("aws-lines", [b"\x00\x10\x00\x00" + bytes(8) + b"x" * 2000]),
    ],
)
def test_an_event_has_a_greatest_length(framing: Framing, parts: list[bytes]) -> None:
    """A stream without ends does not fill the memory."""
    with pytest.raises(RemoteFailed, match=r"longer than 1000 bytes|is damaged"):
        events_of(framing, *parts, most=1000)


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """Return a message of Amazon's event stream, made by its description."""
    encoded = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", 16 + len(encoded) + len(payload), len(encoded))
    message = prelude + struct.pack(">I", binascii.crc32(prelude)) + encoded + payload
    return message + struct.pack(">I", binascii.crc32(message))


def test_amazons_event_stream() -> None:
    """Events, exceptions and errors come out by name, however the frames are cut."""
    whole = b"".join(
        [
            frame({":message-type": "event", ":event-type": "contentBlockDelta"}, '{"text": "ж"}'.encode()),
            frame({":message-type": "event", ":event-type": "messageStop"}, b"{}"),
            frame({":message-type": "exception", ":exception-type": "throttlingException"}, b'{"message": "slow"}'),
            frame({":message-type": "error", ":error-code": "Internal", ":error-message": "oops"}, b""),
        ]
    )

    for size in (1, 7, 100, len(whole)):
        parts = [whole[n : n + size] for n in range(0, len(whole), size)]
        assert events_of("aws", *parts) == [
            ("contentBlockDelta", '{"text": "ж"}'),
            ("messageStop", "{}"),
            ("throttlingException", '{"message": "slow"}'),
            ("Internal", "oops"),
        ]


def test_lines_in_amazons_event_stream() -> None:
    """A container's lines come out whole, bare or server-sent, wherever payloads and frames end, and then the error."""
    sent = 'event: x\ndata: {"a": "ж"}\n\n: comment\ndata:{"b": ": "}\r\n\r\n{"c": 1}\n[DONE]'.encode()
    broken = frame({":message-type": "exception", ":exception-type": "ModelStreamError"}, b'{"Message": "slow"}')
    lines = [("", '{"a": "ж"}'), ("", '{"b": ": "}'), ("", '{"c": 1}')]

    for size in (1, 5, 100):
        payloads = [sent[n : n + size] for n in range(0, len(sent), size)]
        whole = b"".join(frame({":message-type": "event", ":event-type": "PayloadPart"}, one) for one in payloads)
        for cut in (3, 64):
            frames, failing = [[one[n : n + cut] for n in range(0, len(one), cut)] for one in (whole, whole + broken)]
            assert events_of("aws-lines", *frames) == [*lines, ("", "[DONE]")]
            assert events_of("aws-lines", *failing) == [*lines, ("ModelStreamError", '{"Message": "slow"}')]


def test_an_error_in_the_midst_of_a_character() -> None:
    """An error that cuts a container's text off is what is told, and not what is left of the text."""
    part = frame({":message-type": "event", ":event-type": "PayloadPart"}, "{ж".encode()[:-1])
    broken = frame({":message-type": "exception", ":exception-type": "InternalStreamFailure"}, b"{}")

    assert events_of("aws-lines", part, broken) == [("InternalStreamFailure", "{}")]
    with pytest.raises(RemoteFailed, match="no UTF-8"):
        events_of("aws-lines", part)


def test_a_damaged_frame_is_refused() -> None:
    """A wrong check sum, and a frame that the end cuts off, are told instead of passed over."""
    whole = frame({":event-type": "x"}, b"{}")

    for broken in (whole[:-1], whole[:5], whole[:-1] + bytes([whole[-1] ^ 1]), b"HTTP/1.1 200 OK, and so on"):
        with pytest.raises(RemoteFailed, match="the event stream"):
            events_of("aws", broken)
        with pytest.raises(RemoteFailed, match="the event stream"):
            events_of("aws-lines", broken)
