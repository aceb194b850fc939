"""Bodies as bytes: character sets, and how values are written in bodies that are no JSON."""

import codecs
import html
import re
from collections.abc import Callable
from urllib.parse import quote_plus, unquote_plus

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote.filling import Encode

_JSON_TYPES = re.compile(r"(application|text)/([\w.\-]+\+)?(json|x-ndjson|ndjson|x-json|x-amz-json-1\.[01])")
_FORM = "application/x-www-form-urlencoded"
_XML_TYPES = re.compile(r"(application|text)/([\w.\-]+\+)?xml")
_NOT_TEXTS = frozenset({"unicode-escape", "raw-unicode-escape", "idna", "punycode", "undefined", "mbcs", "oem"})


def writing(content_type: str) -> Encode | None:
    """Return how values are written in a body that is no JSON; None where it ought to be JSON."""
    if _JSON_TYPES.fullmatch(content_type):
        return None
    if content_type == _FORM:
        return quote_plus
    if _XML_TYPES.fullmatch(content_type):
        return html.escape
    return str


def reading(content_type: str) -> Callable[[str], str] | None:
    """Return how the texts in a body are read that are written in it in another way; None where they are not.

    >>> reading("application/x-www-form-urlencoded")("q=a+%C3%A9")
    'q=a é'
    """
    if content_type == _FORM:
        return unquote_plus
    return html.unescape if _XML_TYPES.fullmatch(content_type) else None


def named(charset: str) -> str | None:
    """Return the name that Python has for a character set; None where there is none of that name.

    >>> named("UTF8"), named("klingon"), named("hex")
    ('utf-8', None, None)
    """
    try:
        codec = codecs.lookup(charset)
    except (LookupError, ValueError):
        return None
    if codec.name.replace("_", "-") in _NOT_TEXTS or not getattr(codec, "_is_text_encoding", True):
        return None
    return codec.name


def encoded(payload: bytes | str, charset: str) -> bytes:
    """Return a body in a character set; in JSON, what the set does not have is escaped.

    Raises:
        IllegalArgument: there is no such set, or it lacks a character of a body that is no JSON.
    """
    name = named(charset)
    if name is None:
        raise IllegalArgument(f"[parameters.charset]: there is no character set [{charset[:40]}]")
    if name == "utf-8" and isinstance(payload, bytes):
        return payload
    text = payload.decode() if isinstance(payload, bytes) else payload
    try:
        return text.encode(name)
    except UnicodeEncodeError as fault:
        if name == "utf-8":
            raise IllegalArgument(
                "the body has half a surrogate pair (U+D800 to U+DFFF), which is no character"
            ) from fault
        if isinstance(payload, str):
            raise IllegalArgument(f"the body has characters that [{charset}] lacks; use UTF-8") from fault
    return text.translate({ord(one): _escaped(one) for one in set(text) if _lacks(name, one)}).encode(name)


def _lacks(charset: str, character: str) -> bool:
    try:
        character.encode(charset)
    except UnicodeEncodeError:
        return True
    return False


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
