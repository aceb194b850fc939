"""Bodies as bytes: character sets, and how values are written in bodies that are no JSON."""

import codecs
import html
import re
from urllib.parse import quote_plus

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote.filling import Encode

_JSON_TYPES = re.compile(r"(application|text)/([\w.\-]+\+)?(json|x-ndjson|ndjson|x-json|x-amz-json-1\.[01])")
_NOT_TEXTS = frozenset({"unicode-escape", "raw-unicode-escape", "idna", "punycode", "undefined", "mbcs", "oem"})


def writing(content_type: str) -> Encode | None:
    """Return how values are written in a body that is no JSON; None where it ought to be JSON."""
    if _JSON_TYPES.fullmatch(content_type):
        return None
    if content_type == "application/x-www-form-urlencoded":
        return quote_plus
    if re.fullmatch(r"(application|text)/([\w.\-]+\+)?xml", content_type):
        return html.escape
    return str


def encoded(payload: bytes | str, charset: str) -> bytes:
    """Return a body in a character set; in JSON, what the set does not have is escaped.

    Raises:
        IllegalArgument: there is no such set, or it lacks a character of a body that is no JSON.
    """
    try:
        codec = codecs.lookup(charset)
    except (LookupError, ValueError) as fault:
        raise IllegalArgument(f"[parameters.charset]: there is no character set [{charset[:40]}]") from fault
    if codec.name.replace("_", "-") in _NOT_TEXTS or not getattr(codec, "_is_text_encoding", True):
        raise IllegalArgument(f"[parameters.charset]: there is no character set [{charset[:40]}]")
    if codec.name == "utf-8" and isinstance(payload, bytes):
        return payload
    text = payload.decode() if isinstance(payload, bytes) else payload
    try:
        return text.encode(codec.name)
    except UnicodeEncodeError as fault:
        if codec.name == "utf-8":
            raise IllegalArgument(
                "the body has half a surrogate pair (U+D800 to U+DFFF), which is no character"
            ) from fault
        if isinstance(payload, str):
            raise IllegalArgument(f"the body has characters that [{charset}] lacks; use UTF-8") from fault
    return text.translate({ord(one): _escaped(one) for one in set(text) if _lacks(codec.name, one)}).encode(codec.name)


def _lacks(charset: str, character: str) -> bool:
    try:
        character.encode(charset)
    except UnicodeEncodeError:
        return True
    return False


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
