"""A request's body as it comes in: its type, its bytes, decompressed, bounded in size and in time."""

import asyncio
import zlib
from collections.abc import Mapping
from typing import Literal

from mlcommons_py.content_coding import CODINGS, Decoder
from mlcommons_py.errors import CircuitBreaking, ContentTooLong, ParseFailed, StatusError
from mlcommons_py.rest.answer import Answer, plain_error
from mlcommons_py.rest.arriving import SLOWEST, Arriving
from mlcommons_py.rest.asked import Asked
from mlcommons_py.rest.pace import BODY_SECONDS

Kind = Literal["json", "yaml", "raw"]

_JSON_TYPES = frozenset({"application/json", "application/x-ndjson"})
_YAML_TYPES = _JSON_TYPES | {"application/yaml"}
_RAW_TYPES = _YAML_TYPES | {"application/cbor", "application/smile", "application/octet-stream", "application/zip"}
_TYPES: Mapping[Kind, frozenset[str]] = {"json": _JSON_TYPES, "yaml": _YAML_TYPES, "raw": _RAW_TYPES}


class Memory:
    """What the bodies of all requests under way may take together (OpenSearch's breaker ``in_flight_requests``)."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0

    def share(self) -> "Share":
        """Return the block of a request: a share that grows with its body, and is given back in the end."""
        return Share(self)

    def give_back(self, count: int) -> None:
        """Give so many bytes back."""
        self._used -= count

    def take(self, count: int) -> None:
        """Take so many bytes more.

        Raises:
            CircuitBreaking: there is no room for them now.
        """
        if self._used + count > self._limit:
            raise CircuitBreaking(
                f"[in_flight_requests] Data too large: the bodies under way would take {self._used + count} bytes,"
                f" which is more than {self._limit}; send fewer at once"
            )
        self._used += count


class Share:
    """A request's part of the memory for bodies."""

    __slots__ = ("_held", "_memory")

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._held = 0

    def __enter__(self) -> "Share":
        return self

    def __exit__(self, *_: object) -> None:
        self._memory.give_back(self._held)

    def grow(self, count: int) -> None:
        """Take so many bytes more.

        Raises:
            CircuitBreaking: there is no room for them now.
        """
        self._memory.take(count)
        self._held += count


def refuse_type(kind: Kind, request: Asked) -> Answer | None:
    """Return OpenSearch's answer to a body whose content type the route does not take, or None if it takes it.

    ``yaml`` takes JSON, too; a raw body may be of any of OpenSearch's types, binary, or of no type.
    """
    given = request.headers.get("content-type")
    if given is None:
        return None if kind == "raw" else plain_error("Content-Type header is missing", 406)
    if _name(given) in _TYPES[kind]:
        return None
    return plain_error(f"Content-Type header [{given}] is not supported", 406)


def is_json(content_type: str) -> bool:
    """Return whether a ``Content-Type`` field says JSON, or nothing.

    >>> is_json("application/json; charset=UTF-8"), is_json(""), is_json("application/yaml")
    (True, True, False)
    """
    return not content_type or _name(content_type) in _JSON_TYPES


def _name(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


async def read_body(
    request: Asked,
    limit: int,
    too_long: str,
    share: Share | None = None,
    *,
    patience: float = BODY_SECONDS,
    slowest: int = SLOWEST,
) -> bytes:
    """Return a request's body, decompressed; what it takes is taken from ``share``.

    Raises:
        ContentTooLong: it is longer than ``limit`` bytes; ``too_long`` is the text. Nothing more of it is read.
        StatusError: it stops arriving, or comes too slowly (408), or is compressed in a way that is not known (415).
        ParseFailed: what is compressed is broken.
        CircuitBreaking: there are too many bodies already.
    """
    arriving = Arriving(request, limit, too_long, patience=patience, slowest=slowest)
    encoding = encoding_of(request)
    parts: list[bytes] = []
    while (part := await arriving.part()) is not None:
        if share is not None:
            share.grow(len(part))
        parts.append(part)
    if not encoding:
        return parts[0] if len(parts) == 1 else b"".join(parts)
    body = await inflated(encoding, parts, limit, too_long)
    if share is not None:
        share.grow(len(body))
    return body


def encoding_of(request: Asked) -> str:
    """Return how a body is compressed, which :func:`inflated` undoes; empty where it is not.

    Raises:
        StatusError: it is compressed in a way that is not known (415).
    """
    encoding: str = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "") and encoding not in CODINGS:
        raise StatusError(f"Content-Encoding [{encoding}] is not supported; use gzip", 415)
    return "" if encoding == "identity" else encoding


async def inflated(encoding: str, parts: list[bytes], limit: int, too_long: str) -> bytes:
    """Return a body that is compressed, as :func:`encoding_of` says, as it was before.

    Raises:
        ContentTooLong: it is longer than ``limit`` bytes.
        ParseFailed: it is broken.
    """
    # A few bytes may expand to millions: never on the event loop.
    return await asyncio.to_thread(_inflate, encoding, parts, limit, too_long)


def _inflate(encoding: str, parts: list[bytes], limit: int, too_long: str) -> bytes:
    decoder = Decoder(encoding)
    pieces: list[bytes] = []
    size = 0
    try:
        for part in parts:
            for piece in decoder.decoded(part):
                size += len(piece)
                if size > limit:
                    raise ContentTooLong(too_long)
                pieces.append(piece)
    except zlib.error as fault:
        raise ParseFailed(f"the compressed body is broken: {fault}") from fault
    if not decoder.complete:
        raise ParseFailed("the compressed body ends too early")
    return b"".join(pieces)
