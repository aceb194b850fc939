"""URLs with ``${parameters.x}`` in them.

What the connector's author wrote, or set in the connector's parameters, is the URL. What a request sends is text in it:
it is percent-encoded, so that it cannot end a path segment, begin a query or reach the host. A request that would set a
part of the host is refused.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from urllib.parse import quote, unquote

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import template
from mlcommons_py.remote.filling import written
from mlcommons_py.remote.parameters import Origin, Parameters
from mlcommons_py.remote.template import Hole

_SEGMENT = "-._~:@!$&'()*+,;="
_AS_IT_STANDS = _SEGMENT + "/?#[]%"
_LONGEST = 8192
_MOST_PIECES = 1000


_UNFIT = re.compile(r"[\x00-\x20\x7f\\]")


@dataclass(frozen=True, slots=True)
class _Given:
    """What a request sends, and what the connector itself has under its name."""

    name: str
    text: str
    own: "_Pieces | None"


_Pieces = Iterator[str | _Given]


class _Parts:
    """A URL as it grows; ``host`` has the scheme, ``query`` the fragment."""

    def __init__(self, *, refuses: bool) -> None:
        self.host = self.path = self.query = ""
        self._refuses = refuses

    def add(self, pieces: _Pieces) -> None:
        for piece in pieces:
            if isinstance(piece, str):
                self._add_own(piece)
            elif self.query:
                self.query += quote(piece.text, safe="")
            elif self.path:
                self.path += _segment(piece)
            elif self._refuses or piece.own is None:
                raise IllegalArgument(
                    f"[parameters.{piece.name}] is in the host of the connector's url; it can be set in the connector's"
                    " parameters only, not by a request"
                )
            else:
                self.add(piece.own)

    def _add_own(self, text: str) -> None:
        for character in text:
            if self.query:
                self.query += character
            elif self.path and character in "?#":
                self.query = character
            elif self.path:
                self.path += character
            elif character in "/?#" and "://" in self.host and not self.host.endswith(":/"):
                self.path, self.query = ("/", "") if character == "/" else ("/", character)
            else:
                self.host += character


def fill(source: str, parameters: Parameters, *, refuses: bool = True) -> str:
    """Return the URL to call.

    Args:
        source: the template.
        parameters: what it is filled with.
        refuses: whether a request that has another value for a part of the host is refused. If not, the connector's own
            value is taken: what a provider says of a batch job may have any names.

    Raises:
        IllegalArgument: a parameter has no value, or would change the host or the path's structure; or the URL is none.
    """
    if "${" not in source:
        return _fixed(source)
    parts = _Parts(refuses=refuses)
    parts.add(_spread(source, parameters, count()))
    return _joined(parts)


@lru_cache(1024)
def _fixed(source: str) -> str:
    """Return a URL that has no parameters."""
    parts = _Parts(refuses=True)
    parts.add(iter([source]))
    return _joined(parts)


def _joined(parts: _Parts) -> str:
    url = parts.host + quote(parts.path + parts.query, safe=_AS_IT_STANDS)
    if not parts.host.partition("://")[2] or _UNFIT.search(parts.host):
        raise IllegalArgument(f"Invalid URI. Please check if the endpoint is valid from connector: {url}")
    if any(unquote(segment) in (".", "..") for segment in parts.path.split("/")):
        raise IllegalArgument("the path of the connector's url must not have the segments [.] and [..]")
    if len(url) > _LONGEST:
        raise IllegalArgument(f"the connector's url has {len(url)} characters, {_LONGEST} are allowed")
    return url


def known(source: str, own: Mapping[str, str]) -> str:
    """Return a URL as far as the connector itself says it; what requests fill in stays as it is written.

    Raises:
        IllegalArgument: it has a credential in it, or parameters that name each other in a circle.
    """
    pieces = _spread(source, Parameters(own=own), count(), strict=False)
    return "".join(piece if isinstance(piece, str) else piece.text for piece in pieces)


def trusted(source: str, own: Mapping[str, str]) -> str:
    """Return a URL as :func:`known` does, for one that is to be trusted: its host has to be known.

    Raises:
        IllegalArgument: as of :func:`known`, or a part of the host is left open.
    """
    url = known(source, own)
    host = url.partition("://")[2].partition("/")[0]
    for piece in template.of_text(host):
        if isinstance(piece, Hole):
            raise IllegalArgument(
                f"[parameters.{piece.name}] is in the host of the connector's url and has no value; set it in the"
                " connector's parameters, a request cannot"
            )
    return url


def _segment(given: _Given) -> str:
    if not given.text:
        raise IllegalArgument(f"[parameters.{given.name}] is in the path of the connector's url and must not be empty")
    if unquote(given.text) in (".", ".."):
        raise IllegalArgument(
            f"[parameters.{given.name}] is in the path of the connector's url and must not be [.] or [..]"
        )
    # What is encoded already stays so: a slash as %2F is what a slash becomes anyway.
    return quote(unquote(given.text) if "%2F" in given.text.upper() else given.text, safe=_SEGMENT)


def _spread(
    source: str, parameters: Parameters, counter: Iterator[int], within: tuple[str, ...] = (), *, strict: bool = True
) -> _Pieces:
    """Yield the connector's own text, and what a request sends, apart from each other."""
    for piece in template.of_text(source):
        if next(counter) > _MOST_PIECES:
            raise IllegalArgument(f"the connector's url has more than {_MOST_PIECES} parts")
        if isinstance(piece, str):
            yield piece
        else:
            yield from _value(piece, parameters, counter, within, strict=strict)


def _value(
    hole: Hole, parameters: Parameters, counter: Iterator[int], within: tuple[str, ...], *, strict: bool
) -> _Pieces:
    if hole.kind == "credential":
        raise IllegalArgument(f"{hole.source} cannot be used in a url; send the credential in a header")
    if hole.name in within:
        circle = " -> ".join([*within[within.index(hole.name) :], hole.name])
        raise IllegalArgument(f"the connector's parameters name each other in a circle: {circle}")
    within = (*within, hole.name)
    found, own = parameters.find(hole.name), parameters.own.get(hole.name)
    if found is None and hole.default is None:
        if strict:
            raise IllegalArgument(f"Some parameter placeholder not filled in url: {hole.inner}")
        yield hole.source
    elif found is None:
        yield from _spread(hole.default or "", parameters, counter, within, strict=strict)
    elif found[0] is Origin.OWN or found[1] == own:
        yield from _spread(own or "", parameters, counter, within, strict=strict)
    else:
        pieces = None if own is None else _spread(own, parameters, counter, within, strict=strict)
        yield _Given(hole.name, written(hole.name, found[1]), pieces)
