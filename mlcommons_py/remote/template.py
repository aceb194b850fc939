r"""Templates with ``${parameters.x}`` in them, read once.

A ``request_body`` is read as JSON with holes. For each hole it is known where it is, and the value is written as that
place asks for; nothing is ever put into JSON text and parsed again. The rest goes out as it stands: digits, order of
keys, escapes and blanks.

=========== ========================================== ============================================================
place       looks like                                 what a value becomes
=========== ========================================== ============================================================
``QUOTED``  ``"ask: ${parameters.x}"``                 a text exactly that text; anything else its JSON as a text
``NULLABLE`` ``"${parameters.x:-null}"``               as quoted; ``null`` without quotes where there is no value
``VALUE``   ``"n": ${parameters.x}``                   its JSON; a text that is JSON that JSON, any other a string
``PIECE``   ``[${parameters.x:-}{"role": …}]``         as it stands, where no value can be; the whole is checked
``TEXT``    in a body that is no JSON, a header        the text, encoded as the place asks for
=========== ========================================== ============================================================

A text of the connector's own parameters is a template too. Between quotes it may have JSON's escapes, as ML Commons
wants it (``\n`` for a line break); where that would be no JSON string it is taken as it is. ``.toString()`` asks for
the text of a value, which between quotes is what one gets anyway.

The source of the rules is ``AbstractConnector.java``, ``HttpConnector.java`` and ``StringUtils.java``.
"""

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from mlcommons_py import exact

_HOLE = re.compile(r"\$\{(parameters|credential)\.((?:[^{}\"\n:]|:(?!-))+)(:-|\})")
_TO_STRING = ".toString()"
_BRACE = re.compile(r"[{}]")
_DEEPEST = 50
"""Braces that can be open in a default; within each there may be another default."""

_CACHED = 1024
_VALUE_ENDS = frozenset(",]}")
_BLANK = " \t\r\n"


class Place(StrEnum):
    """Where a hole is."""

    QUOTED = "quoted"
    NULLABLE = "nullable"
    VALUE = "value"
    PIECE = "piece"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Hole:
    """A place for a value.

    Attributes:
        source: as it is written in the template.
        kind: ``parameters`` or ``credential``.
        default: the template that stands for a value where there is none; None where that is a fault.
    """

    source: str
    kind: str
    name: str
    place: Place
    default: str | None = None

    @property
    def inner(self) -> str:
        """What stands after ``parameters.``, as ML Commons names it in errors."""
        return self.source[len(self.kind) + 3 : -1]


Pieces = tuple[bytes | Hole, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A body with holes.

    Attributes:
        pieces: what is written as it stands, in UTF-8, and the holes between.
        is_sound: whether it is JSON whatever values come.
        has_pieces: whether there are places where it takes the values to make JSON of it.
        is_lines: whether it is several JSON documents, one a line.
        is_json: whether it is meant to be JSON, by how it begins.
    """

    pieces: Pieces
    is_sound: bool
    has_pieces: bool
    is_lines: bool
    is_json: bool

    @property
    def is_hole(self) -> bool:
        """Whether it is nothing but one value."""
        return len(self.pieces) == 1 and isinstance(self.pieces[0], Hole) and self.pieces[0].place is Place.VALUE


@lru_cache(_CACHED)
def of_json(text: str) -> Template:
    """Return the template of a JSON or NDJSON text."""
    pieces = _joined(_Reader(text.strip()).read())
    has_pieces = any(isinstance(one, Hole) and one.place is Place.PIECE for one in pieces)
    bare = skeleton(pieces)
    whole, lines = exact.is_json(bare), exact.is_lines(bare)
    return Template(
        pieces,
        is_sound=not has_pieces and (whole or lines),
        has_pieces=has_pieces,
        is_lines=lines and not whole,
        is_json=bare[:1] in ("{", "["),
    )


def skeleton(pieces: Pieces) -> str:
    """Return a body with null for each value, and nothing for what stands between quotes or where no value can be."""
    return b"".join(_stand_in(one) for one in pieces).decode("utf-8", "replace")


@lru_cache(_CACHED)
def of_quoted(text: str) -> Pieces:
    """Return the pieces of a text of the connector's own that is to stand between quotes."""
    found = list(_holes(text, Place.QUOTED))
    literal = "".join(one if isinstance(one, str) else "." for one in found)  # no escape may reach into a hole
    is_escaped = "\\" in literal and exact.is_json(f'"{literal}"')
    encode = _encoded if is_escaped else exact.quoted
    return tuple(encode(one) if isinstance(one, str) else one for one in found)


@lru_cache(_CACHED)
def of_text(text: str, place: Place = Place.TEXT) -> tuple[str | Hole, ...]:
    """Return the pieces of a text that is no JSON."""
    return tuple(_holes(text, place))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _stand_in(piece: bytes | Hole) -> bytes:
    if isinstance(piece, bytes):
        return piece
    return b"null" if piece.place in (Place.VALUE, Place.NULLABLE) else b""


def _joined(pieces: Iterator[str | Hole]) -> Pieces:
    joined: list[bytes | Hole] = []
    for piece in pieces:
        if isinstance(piece, Hole):
            joined.append(piece)
        elif joined and isinstance(joined[-1], bytes):
            joined[-1] += _encoded(piece)
        elif piece:
            joined.append(_encoded(piece))
    return tuple(joined)


def _hole(text: str, at: int, place: Place, limit: int | None = None) -> tuple[Hole, int] | None:
    """Return the hole that begins at a place and where it ends, or None where none does."""
    found = _HOLE.match(text, at)
    if found is None:
        return None
    end, default = found.end(), None
    if found[3] == ":-":
        closing = _closing(text, end, len(text) if limit is None else limit)
        if closing < 0:
            return None
        default, end = text[end:closing], closing + 1
    return Hole(text[at:end], found[1], found[2].removesuffix(_TO_STRING), place, default), end


def _closing(text: str, start: int, limit: int) -> int:
    """Return where a default ends: at the brace that closes what it opened, or else at the first; -1 if nowhere."""
    depth = 0
    for brace in _BRACE.finditer(text, start, limit):
        if brace[0] == "{":
            depth += 1
            if depth > _DEEPEST:
                return -1
        elif depth:
            depth -= 1
        else:
            return brace.start()
    return text.find("}", start, limit)


def _holes(text: str, place: Place) -> Iterator[str | Hole]:
    """Yield the texts and the holes of a template that is no JSON."""
    done = at = 0
    while (at := text.find("${", at)) >= 0:
        found = _hole(text, at, place)
        if found is None:
            at += 2
            continue
        if done < at:
            yield text[done:at]
        hole, at = found
        done = at
        yield hole
    if done < len(text):
        yield text[done:]


class _Reader:
    """Reads JSON with holes, from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._open: list[str] = []
        self._before = ""  # the last character that means something; "" where a document may begin
        self._done = 0

    def read(self) -> Iterator[str | Hole]:
        text, at = self._text, 0
        while at < len(text):
            character = text[at]
            if character == '"':
                end = yield from self._string(at)
                self._before, at = '"', end
            elif character == "$" and (found := _hole(text, at, Place.VALUE)) is not None:
                hole, end = found
                yield text[self._done : at]
                if not self._is_value(end):
                    hole = Hole(hole.source, hole.kind, hole.name, Place.PIECE, hole.default)
                yield hole
                self._before, self._done, at = "0", end, end
            else:
                self._step(character)
                at += 1
        yield text[self._done :]

    def _step(self, character: str) -> None:
        if character in "{[":
            self._open.append(character)
        elif character in "}]" and self._open:
            self._open.pop()
        if character not in _BLANK:
            self._before = character
        elif character == "\n" and not self._open:
            self._before = ""

    def _is_value(self, end: int) -> bool:
        """Whether a value can stand where a hole ends, by what is before and after it."""
        before = self._before
        within = self._open[-1] if self._open else ""
        fits = before == ":" if within == "{" else before in ("[", ",") if within == "[" else before == ""
        after = self._text[end:].lstrip(_BLANK if within else " \t\r")[:1]
        return fits and (after in _VALUE_ENDS if within else after in ("", "\n"))

    def _string(self, start: int) -> Generator[str | Hole, None, int]:
        """Yield what is in the string that begins at a place; return where it ends."""
        text, at = self._text, start + 1
        limit = self._closing_quote(at)
        is_key = self._open[-1:] == ["{"] and self._before != ":"
        only = None if is_key else _hole(text, at, Place.NULLABLE, limit)
        if only is not None and only[1] == limit and only[0].default == "null":
            yield text[self._done : start]
            yield only[0]
            self._done = limit + 1
            return limit + 1
        while at < limit:
            if text[at] == "\\":
                at += 2
            elif text[at] == "$" and (found := _hole(text, at, Place.QUOTED, limit)) is not None:
                yield text[self._done : at]
                hole, at = found
                yield hole
                self._done = at
            else:
                at += 1
        return limit + 1

    def _closing_quote(self, at: int) -> int:
        text = self._text
        while at < len(text):
            if text[at] == "\\":
                at += 2
            elif text[at] == '"':
                return at
            else:
                at += 1
        return len(text)
