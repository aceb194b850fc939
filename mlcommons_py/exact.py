"""JSON whose numbers keep their digits.

``9007199254740993``, ``1.10`` and ``1e400`` go out as they came in; an exponent may be spelled otherwise (``1E-05``,
``1e-5``). A number that Python's own types would write otherwise is a :class:`Number`: a float for whoever computes,
its digits for whoever writes.
"""

import json
import math
import re
from typing import Any

import orjson

_WHITE = b" \n\r\t"
_LONE = re.compile("[\ud800-\udfff]")
_MAY_BE_LONE = re.compile(rb"\\u[dD][89a-fA-F]")
_STARTS = frozenset('{["-0123456789tfn')
_TOO_DEEP = "it nests too deep"
_SHORT = 18
"""Whole numbers with so many characters are in the range of 64 bits, whatever their digits."""


class Number(float):
    """A number with the digits it was written with.

    >>> Number("1.10"), Number("1.10") == 1.1
    (1.10, True)
    """

    __slots__ = ("text",)

    text: str

    def __new__(cls, text: str) -> "Number":
        """Make a number of its digits, in JSON's spelling."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __repr__(self) -> str:
        return self.text


def default(value: object) -> Any:
    """Return what orjson writes for a :class:`Number`: ``default=`` of whoever writes a provider's values.

    Raises:
        TypeError: the value is of another type that orjson does not know.
    """
    if isinstance(value, Number):
        return orjson.Fragment(value.text)
    raise TypeError(f"Type is not JSON serializable: {type(value).__name__}")


def loads(data: bytes | str, *, repairs: bool = True) -> Any:
    """Return the value of a JSON text, each number with its digits.

    Args:
        data: the text, in UTF-8.
        repairs: whether half a surrogate pair, which JSON can spell but UTF-8 cannot, becomes U+FFFD, or is no JSON.

    Raises:
        ValueError: it is no JSON, or nests too deep to be written within an answer.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as fault:
        try:
            value = _parsed(raw)
            whole = _whole(value) if _MAY_BE_LONE.search(raw) else value
            if not repairs and whole != value:
                raise fault
        except (ValueError, RecursionError):
            raise fault from None  # it says where
    else:
        if (written := _written(value)) is None:
            raise ValueError(_TOO_DEEP)
        if written == raw or _bare(written) == _bare(raw):
            return value
        whole = _parsed(raw)
    if not fits(whole):
        raise ValueError(_TOO_DEEP)
    return whole


def fits(value: Any) -> bool:
    """Return whether a value can be written within an answer: orjson writes no more than 254 levels."""
    return _written(value) is not None


def _written(value: Any) -> bytes | None:
    try:
        return orjson.dumps([[[[[[[[value]]]]]]]], default=default)[8:-8]
    except TypeError:
        return None


def dumps(value: Any) -> bytes:
    """Return a value as JSON in UTF-8, as short as it can be.

    Raises:
        ValueError: a text in it has half a surrogate pair, or a type is none of JSON's.
    """
    try:
        return orjson.dumps(value, default=default)
    except TypeError as fault:
        raise ValueError(str(fault)) from fault


def plain(value: Any) -> Any:
    """Return a value whose numbers are Python's own, as near as they come, for whoever stores or sends it elsewhere.

    >>> plain([Number("1.10"), Number("1e400")])
    [1.1, '1e400']
    """
    if isinstance(value, Number):
        return value.text if math.isinf(value) else float(value)
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return value


def quoted(text: str) -> bytes:
    r"""Return a text as it stands between the quotes of a JSON string, in UTF-8.

    >>> quoted('say "é"')
    b'say \\"\xc3\xa9\\"'

    Raises:
        ValueError: the text has half a surrogate pair.
    """
    return dumps(text)[1:-1]


def is_json(text: str) -> bool:
    """Return whether a text is JSON that can be passed on as it stands.

    >>> is_json("[1.10, 1e400]"), is_json("007"), is_json("NaN")
    (True, False, False)
    """
    if not text or text.lstrip()[:1] not in _STARTS:
        return False
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            raw = text.encode()
            return not _MAY_BE_LONE.search(raw) and _parsed(raw) is not _NOTHING
        except ValueError:
            return False
    return True


def is_lines(text: str) -> bool:
    """Return whether a text is NDJSON: a JSON object or list on each line that is not empty."""
    lines = [line for one in text.split("\n") if (line := one.strip())]
    return bool(lines) and all(line[0] in "{[" and is_json(line) for line in lines)


def first(text: str, at: int) -> Any:
    """Return the JSON value that begins at a place of a text, whatever follows it.

    Raises:
        ValueError: none begins there.
    """
    try:
        value, _ = _DECODER.raw_decode(text, at)
    except RecursionError as fault:
        raise ValueError(_TOO_DEEP) from fault
    return _whole(value)


_NOTHING = object()


def _bare(text: bytes) -> bytes:
    """Return a text without what two spellings of the same digits may differ in: blanks, and the look of exponents."""
    return text.translate(None, _WHITE).replace(b"E", b"e").replace(b"e+", b"e").replace(b"e-0", b"e-")


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw.decode(), parse_float=_float, parse_int=_int, parse_constant=_refused)
    except RecursionError as fault:
        raise ValueError(_TOO_DEEP) from fault


def _float(text: str) -> float:
    number = float(text)
    return number if repr(number) == text and "e" not in text else Number(text)


def _int(text: str) -> int | Number:
    if text == "-0":
        return Number(text)
    if len(text) <= _SHORT:
        return int(text)
    if len(text) > _SHORT + 2:
        return Number(text)
    number = int(text)
    return number if -(1 << 63) <= number < 1 << 64 else Number(text)


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_float=_float, parse_int=_int, parse_constant=_refused)


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return _LONE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_whole(one) for one in value]
    if isinstance(value, dict):
        return {_whole(key): _whole(one) for key, one in value.items()}
    return value
