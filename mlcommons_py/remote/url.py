"""URLs with ``${parameters.x}`` in them.

What the connector's author wrote, or set in the connector's parameters, is the URL. What a request sends is text in it:
it is percent-encoded, so that it cannot end a path segment, begin a query or reach the host. A request that would set a
part of the host is refused.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
    name: str
    text: str


_Pieces = Iterator[str | _Given]


def fill(source: str, parameters: Parameters) -> str:
    """Return the URL to call.

    Raises:
        IllegalArgument: a parameter has no value, would change the host or the structure of the path, or the URL is none.
    """
    host, path, query = "", "", ""
    for piece in _spread(source, parameters, count()):
        if isinstance(piece, _Given):
            if not path:
                raise IllegalArgument(
                    f"[parameters.{piece.name}] is in the host of the connector's url; it can be set in the connector's"
                    " parameters only, not by a request"
                )
            if query:
                query += quote(piece.text, safe="")
            else:
                path += _segment(piece)
            continue
        for character in piece:
            if query:
                query += character
            elif path:
                path, query = (path, character) if character in "?#" else (path + character, "")
            elif character in "/?#" and "://" in host and not host.endswith(":/"):
                path, query = (character, "") if character == "/" else ("/", character)
            else:
                host += character
    url = host + quote(path + query, safe=_AS_IT_STANDS)
    if not host.partition("://")[2] or _UNFIT.search(host):
        raise IllegalArgument(f"Invalid URI. Please check if the endpoint is valid from connector: {url}")
    if any(unquote(segment) in (".", "..") for segment in path.split("/")):
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


def _segment(given: _Given) -> str:
    if not given.text:
        raise IllegalArgument(f"[parameters.{given.name}] is in the path of the connector's url and must not be empty")
    if unquote(given.text) in (".", ".."):
        raise IllegalArgument(f"[parameters.{given.name}] is in the path of the connector's url and must not be [.] or [..]")
    # What is encoded already stays so: a slash as %2F is what a slash becomes anyway.
    return quote(unquote(given.text) if "%2F" in given.text.upper() else given.text, safe=_SEGMENT)


def _spread(source: str, parameters: Parameters, counter: Iterator[int], *, strict: bool = True) -> _Pieces:
    """Yield the connector's own text, and what a request sends, apart from each other."""
    for piece in template.of_text(source):
        if next(counter) > _MOST_PIECES:
            raise IllegalArgument("the connector's url is too complex, or its parameters name each other in a circle")
        if isinstance(piece, str):
            yield piece
        else:
            yield from _value(piece, parameters, counter, strict=strict)


def _value(hole: Hole, parameters: Parameters, counter: Iterator[int], *, strict: bool) -> _Pieces:
    if hole.kind == "credential":
        raise IllegalArgument(f"{hole.source} cannot be used in a url; send the credential in a header")
    found, own = parameters.find(hole.name), parameters.own.get(hole.name)
    if found is None and hole.default is None:
        if strict:
            raise IllegalArgument(f"Some parameter placeholder not filled in url: {hole.inner}")
        yield hole.source
    elif found is None:
        yield from _spread(hole.default or "", parameters, counter, strict=strict)
    elif found[0] is Origin.OWN or found[1] == own:
        yield from _spread(own or "", parameters, counter, strict=strict)
    else:
        yield _Given(hole.name, written(hole.name, found[1]))
