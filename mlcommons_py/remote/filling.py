"""Filling templates with values."""

import re
from collections.abc import Callable
from functools import cached_property
from typing import Any

from mlcommons_py import exact
from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import template
from mlcommons_py.remote.parameters import Origin, Parameters
from mlcommons_py.remote.template import Hole, Pieces, Place, Template

_LARGEST = 128 << 20
"""Bytes that a filled template may have: connectors could otherwise double a text again and again."""

_LINES = bytes.maketrans(b"\r\n", b"  ")

_BEGIN, _END = "\x02", "\x03"
_NO_MARKS = dict.fromkeys(map(ord, _BEGIN + _END))
_GIVEN = re.compile(f"{_BEGIN}([^{_END}]*){_END}")

Encode = Callable[[str], str]


class Filling:
    """Fills templates for one request.

    Attributes:
        missing: the names that no value was found for, in order; their holes stay as they are written.
        is_unsure: whether only a look at what was filled can tell that it is JSON.
    """

    def __init__(self, parameters: Parameters) -> None:
        self.missing: list[str] = []
        self.is_unsure = False
        self._parameters = parameters
        self._within: list[str] = []
        self._done: dict[tuple[str, object], bytes] = {}
        self._one_line = False

    @cached_property
    def _bare(self) -> frozenset[str]:
        """The parameters whose texts may have escapes already."""
        return frozenset(name.strip() for name in (self._parameters.text("no_escape_params") or "").split(","))

    def body(self, read: Template) -> bytes:
        """Return a JSON body.

        Raises:
            IllegalArgument: the connector's parameters name each other in a circle, or a value cannot be written.
        """
        self.is_unsure = not read.is_sound
        self._one_line = read.is_lines
        if read.is_hole:
            return self._whole_body(read.pieces[0])
        return self._pieces(read.pieces)

    def text(self, source: str, encode: Encode = str) -> str:
        """Return a text that is no JSON, each value encoded on its own.

        Raises:
            IllegalArgument: as of :meth:`body`.
        """
        return "".join(one if isinstance(one, str) else self.hole(one, encode) for one in template.of_text(source))

    def own(self, name: str, value: str, encode: Encode = str) -> str:
        """Return a text of the connector's own, filled in its turn."""
        return self._expanded(name, encode, lambda: self.text(value, encode).encode()).decode()

    def _whole_body(self, hole: bytes | Hole) -> bytes:
        assert isinstance(hole, Hole)
        found = self._parameters.find(hole.name)
        if found is not None and isinstance(found[1], str) and exact.is_lines(found[1]):
            origin, lines = found
            return self._pieces(template.of_json(lines).pieces) if origin is Origin.OWN else lines.encode()
        return self._value(hole)

    def _pieces(self, pieces: Pieces) -> bytes:
        filled = b"".join([one if isinstance(one, bytes) else self._fill(one) for one in pieces])
        if len(filled) > _LARGEST:
            raise IllegalArgument(f"the request would have more than {_LARGEST} bytes")
        return filled

    def _fill(self, hole: Hole) -> bytes:
        if hole.kind != "parameters":
            raise IllegalArgument(f"{hole.source} can be used in headers only")
        if hole.place is Place.QUOTED:
            return self._quoted(hole)
        if hole.place is Place.NULLABLE:
            found = self._parameters.find(hole.name)
            return b"null" if found is None or found[1] is None else b'"' + self._quoted(hole) + b'"'
        return self._value(hole) if hole.place is Place.VALUE else self._piece(hole)

    def _quoted(self, hole: Hole) -> bytes:
        found = self._parameters.find(hole.name)
        if found is None:
            if hole.default is None:
                return self._miss(hole)
            return self._pieces(template.of_quoted(hole.default))
        origin, value = found
        if not isinstance(value, str):
            return self._written(hole.name, lambda: exact.quoted(exact.dumps(value).decode()))
        if origin is Origin.OWN:
            return self._expanded(hole.name, "quoted", lambda: self._pieces(template.of_quoted(value)))
        if "\\" in value and hole.name in self._bare and exact.is_json(f'"{value}"'):
            return value.encode()
        return self._written(hole.name, lambda: exact.quoted(value))

    def _value(self, hole: Hole) -> bytes:
        found = self._parameters.find(hole.name)
        if found is None:
            return self._miss(hole) if hole.default is None else self._own_value(hole.default)
        origin, value = found
        if not isinstance(value, str):
            return self._written(hole.name, lambda: exact.dumps(value))
        if origin is Origin.OWN:
            return self._expanded(hole.name, "value", lambda: self._own_value(value))
        if origin is Origin.GIVEN and exact.is_json(value):
            return self._written(hole.name, lambda: self._raw(value.encode()))
        return self._written(hole.name, lambda: exact.dumps(value))

    def _own_value(self, value: str) -> bytes:
        read = template.of_json(value)
        if not read.is_lines and (read.is_sound or (read.has_pieces and read.is_json)):
            self.is_unsure |= read.has_pieces
            return self._raw(self._pieces(read.pieces))
        return b'"' + self._pieces(template.of_quoted(value)) + b'"'

    def _raw(self, value: bytes) -> bytes:
        """Return JSON that came as a text; where each line is a document it must not have lines of its own."""
        return value.strip().translate(_LINES) if self._one_line else value.strip()

    def _piece(self, hole: Hole) -> bytes:
        found = self._parameters.find(hole.name)
        if found is None:
            if hole.default is None:
                return self._miss(hole)
            return self._pieces(template.of_json(hole.default).pieces)
        origin, value = found
        if not isinstance(value, str):
            return self._written(hole.name, lambda: exact.dumps(value))
        if origin is Origin.OWN:
            return self._expanded(hole.name, "piece", lambda: self._pieces(template.of_json(value).pieces))
        return self._written(hole.name, value.encode)

    def hole(self, hole: Hole, encode: Encode = str) -> str:
        """Return the text that a hole of a template that is no JSON is filled with.

        Raises:
            IllegalArgument: as of :meth:`body`.
        """
        found = self._parameters.find(hole.name) if hole.kind == "parameters" else None
        if found is None:
            if hole.default is None or hole.kind != "parameters":
                return self._miss(hole).decode()
            return self.text(hole.default, encode)
        origin, value = found
        if origin is Origin.OWN and isinstance(value, str):
            return self.own(hole.name, value, encode)
        return encode(written(hole.name, value))

    def _miss(self, hole: Hole) -> bytes:
        if hole.inner not in self.missing:
            self.missing.append(hole.inner)
        return hole.source.encode()

    def _expanded(self, name: str, how: object, make: Callable[[], bytes]) -> bytes:
        """Return what becomes of a parameter of the connector's own, made once for each way it is written."""
        if name in self._within:
            circle = " -> ".join([*self._within[self._within.index(name) :], name])
            raise IllegalArgument(f"the connector's parameters name each other in a circle: {circle}")
        if (done := self._done.get((name, how))) is None:
            self._within.append(name)
            try:
                done = self._done[name, how] = make()
            finally:
                self._within.pop()
            if len(done) > _LARGEST:
                raise IllegalArgument(f"[parameters.{name}] would have more than {_LARGEST} bytes")
        return done

    @staticmethod
    def _written(name: str, write: Callable[[], bytes]) -> bytes:
        try:
            return write()
        except ValueError as fault:
            raise _cannot(name, fault) from fault


def given(source: str, parameters: Parameters) -> str:
    """Return what a request puts into a template that is no JSON, without the connector's own text.

    Values with nothing between them are one text, others are lines of their own.

    Raises:
        IllegalArgument: as of :meth:`Filling.body`.
    """
    if "${parameters." not in source:
        return ""
    filled = Filling(parameters).text(source, lambda value: f"{_BEGIN}{value.translate(_NO_MARKS)}{_END}")
    return "\n".join(_GIVEN.findall(filled.replace(_END + _BEGIN, "")))


def written(name: str, value: Any) -> str:
    """Return a value as a text: a text itself, anything else as its JSON.

    Raises:
        IllegalArgument: there is half a surrogate pair in it.
    """
    try:
        text = value if isinstance(value, str) else exact.dumps(value).decode()
        text.encode()
    except ValueError as fault:
        raise _cannot(name, fault) from fault
    return text


def _cannot(name: str, fault: ValueError) -> IllegalArgument:
    of_surrogate = isinstance(fault, UnicodeEncodeError) or "surrogates" in str(fault)
    why = "it has half a surrogate pair (U+D800 to U+DFFF), which is no character" if of_surrogate else str(fault)
    return IllegalArgument(f"[parameters.{name}] cannot be sent: {why}")
