"""What the service and a model's worker process say to each other, over one Unix socket.

A frame is ``<u32 header length> <u32 payload length> <header: JSON> <payload: bytes>``, lengths little-endian. The
service sends one :class:`Load`, and the worker says :class:`Ready` (or :class:`Failed` with id 0). Then the service
sends :class:`Embed`, :class:`Cancel` and :class:`Stop`; the worker answers each :class:`Embed` with one
:class:`Embedded` or :class:`Failed`, in any order, and each :class:`Ping` at once, whatever it computes.
"""

import struct
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

LENGTHS = struct.Struct("<II")
MAX_HEADER = 256 << 20


@dataclass(frozen=True, slots=True)
class Load:
    """Load a converted model.

    Attributes:
        directory: absolute path of it.
        options: a :class:`~mlcommons_py.inference.options.RunOptions`, as text.
    """

    directory: str
    options: str


@dataclass(frozen=True, slots=True)
class Embed:
    """Embed texts.

    Attributes:
        id: the request's number, unique while the worker lives.
        texts: what to embed, prefixes included.
        urgent: whether it overtakes work that is not (a search does, ingestion does not).
        timeout: seconds from now after which nobody waits for the answer; None for ever.
    """

    id: int
    texts: list[str]
    urgent: bool = False
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Nobody waits for this request any more: drop what of it has not begun."""

    id: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Finish what is queued, then end."""


@dataclass(frozen=True, slots=True)
class Ping:
    """Say that you are there."""


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to :class:`Ping`.

    Attributes:
        busy: for how many seconds the piece of work that was begun first, a batch mostly, has been worked at.
    """

    busy: float = 0.0


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded and has passed its self-test.

    Attributes:
        dimension: length of an embedding.
        compute_type: what CTranslate2 runs with, which may differ from what was asked for.
        rss: resident memory of the worker in bytes.
    """

    dimension: int
    compute_type: str
    rss: int


@dataclass(frozen=True, slots=True)
class Embedded:
    """The embeddings of one :class:`Embed`; the payload is float32 ``[texts, dimension]``, little-endian, row by row.

    Attributes:
        tokens: length of each text in tokens, special ones included, after truncation.
        truncated: how many texts were cut.
        queued: seconds from arrival until the first batch began.
        computed: seconds from then until the last batch ended.
        rss: resident memory of the worker in bytes.
    """

    id: int
    dimension: int
    tokens: list[int] = field(default_factory=list)
    truncated: int = 0
    queued: float = 0.0
    computed: float = 0.0
    rss: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """A request failed; ``type`` and ``status`` are those of :mod:`mlcommons_py.errors`."""

    id: int
    reason: str
    type: str = "m_l_exception"
    status: int = 500


Message = Load | Embed | Cancel | Stop | Ping | Pong | Ready | Embedded | Failed
KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Load, Embed, Cancel, Stop, Ping, Pong, Ready, Embedded, Failed)
}


def pack(message: Message, payload: bytes | memoryview = b"") -> bytes:
    """Return a message as one frame."""
    header = orjson.dumps({"kind": type(message).__name__, **asdict(message)})
    return b"".join((LENGTHS.pack(len(header), len(payload)), header, payload))


def unpack(header: bytes) -> Message:
    """Return the message that a frame's header holds."""
    fields = orjson.loads(header)
    message: Message = KINDS[fields.pop("kind")](**fields)
    return message
