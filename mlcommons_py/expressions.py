r"""Regular expressions that others give us, run by RE2: the time they take grows with the text and with nothing else.

RE2 (https://github.com/google/re2/wiki/Syntax) has no look-around and no back-references. What Java spells in another
way and RE2 has too, ``\u00e9``, is translated.
"""

import re
from typing import Any

from mlcommons_py.errors import IllegalArgument

MAX_LENGTH = 10_000
"""Most characters of an expression."""

MAX_PROGRAM = 5000
"""Most instructions of RE2 that one may become; with it grows the time that a text takes at worst."""

_MEMORY = 1 << 20
_BACKWARD = re.compile(r"(?:[^\\]|\\\\)*?\\([1-9]|k<)", re.DOTALL)
_CLASS = re.compile(r"\\Q.*?(?:\\E|$)|\\.|\[\^?\]?((?:\[:\^?\w+:\]|\\.|[^\]\\])*)\]", re.DOTALL)
_WITHIN = re.compile(r"\\.|\[:\^?\w+:\]|(\[|&&)", re.DOTALL)
_UNICODE = re.compile(r"(\\\\)|\\u([0-9A-Fa-f]{4})")


def compiled(expression: str, field: str) -> Any:
    """Return a compiled expression of RE2, with ``search``, ``fullmatch`` and ``programsize``.

    ``field`` is how the error names where it stands.

    >>> compiled("(a|b)+", "x").fullmatch("abba") is not None
    True

    Raises:
        IllegalArgument: it is malformed, too large, or of a kind that RE2 has not; the text says which.
    """
    import re2  # only a model that has an expression needs it

    if len(expression) > MAX_LENGTH:
        raise IllegalArgument(f"[{field}] has an expression of {len(expression)} characters, {MAX_LENGTH} are allowed")
    if _has_nested_class(expression):
        # RE2 takes it, and means something else.
        raise IllegalArgument(
            f"[{field}] cannot use the expression [{expression[:200]}]: a class within a class, and &&, are Java's and"
            " not RE2's; write [ as \\[, or spell the class out"
        )
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        made = re2.compile(_UNICODE.sub(_spelled, expression), options=options)
    except (re2.error, UnicodeEncodeError) as fault:
        raise IllegalArgument(
            f"[{field}] cannot use the expression [{expression[:200]}]: {_why(expression, fault)}"
        ) from fault
    if made.programsize > MAX_PROGRAM:
        raise IllegalArgument(
            f"[{field}] cannot use the expression [{expression[:200]}]: it is too large; repeat less, or split it"
        )
    return made


def _has_nested_class(expression: str) -> bool:
    inner = (one[1] for one in _CLASS.finditer(expression) if one[1])
    return any(sign[1] for content in inner for sign in _WITHIN.finditer(content))


def _spelled(escape: re.Match[str]) -> str:
    return escape[0] if escape[1] else rf"\x{{{escape[2]}}}"


def _why(expression: str, fault: Exception) -> str:
    if any(sign in expression for sign in ("(?=", "(?!", "(?<=", "(?<!")):
        return (
            "look-around is not supported, for it can take exponential time; write what the text has to be as a whole,"
            " or use two expressions, of which either may hold"
        )
    if _BACKWARD.match(expression):
        return "back-references are not supported, for they can take exponential time; spell the alternatives out"
    if re.search(r"[*+?}]\+|\(\?>", expression):
        return "possessive and atomic groups are not supported, and not needed: nothing is tried twice"
    said = fault.args[0] if fault.args else ""
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(fault)
    return f"{text}; the syntax is that of RE2"
