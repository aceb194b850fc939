"""Reading the parameters of a query, one by one, until none is left over."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from mlcommons_py.errors import ParsingFailed
from mlcommons_py.store.fields import Candidate

Match = Callable[[Candidate], float | None]
"""Returns a document's score, or None where it does not match."""

MAX_CLAUSES = 1024
"""Most clauses, or words, of one query; Lucene's limit."""

Maker = Callable[[dict[str, Any]], Match]
"""Makes a match of a query's parameters, which it empties.

Raises :class:`~mlcommons_py.errors.ParsingFailed` where they are not what the query takes.
"""


def refuse_rest(query: str, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that nobody took; a query's ``_name`` changes nothing.

    Raises:
        ParsingFailed: there is one.
    """
    for name in parameters:
        if name != "_name":
            raise ParsingFailed(f"[{query}] query does not support [{name}]")


def take_boost(query: str, parameters: dict[str, Any]) -> float:
    """Take the boost out of a query's parameters; 1 where there is none.

    Raises:
        ParsingFailed: it is no number of at least 0.
    """
    return weight(query, parameters.pop("boost", 1.0))


def weight(query: str, value: Any) -> float:
    """Return a boost as a number.

    Raises:
        ParsingFailed: it is no number of at least 0.
    """
    try:
        boost = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        boost = math.nan
    if not 0 <= boost < math.inf:
        raise ParsingFailed(f"[{query}] [boost] must be a number of at least 0, not [{value}]")
    return boost


def take_flag(query: str, parameters: dict[str, Any], name: str, *, default: bool = False) -> bool:
    """Take a truth value out of the parameters.

    Raises:
        ParsingFailed: it is neither true nor false.
    """
    return flag(f"[{query}] [{name}]", parameters.pop(name, default))


def flag(what: str, value: Any) -> bool:
    """Return a truth value, which may be spelled as a string.

    Raises:
        ParsingFailed: it is neither true nor false; the text begins with ``what``.
    """
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    raise ParsingFailed(f"{what} must be true or false, not [{value}]")


def take_field(query: str, parameters: dict[str, Any], *keys: str) -> tuple[str, Any, dict[str, Any]]:
    """Return the field of a query on one field, the value asked for, and its options.

    The value stands under the field or, in an object with the options, under one of ``keys``.

    Raises:
        ParsingFailed: there is not one field, or the value is missing or no string, number or truth value.
    """
    named = {name: value for name, value in parameters.items() if name not in ("boost", "_name")}
    if len(named) != 1:
        raise ParsingFailed(f"[{query}] query malformed, one field was expected instead of {sorted(map(str, named))}")
    ((field, body),) = named.items()
    options = {name: value for name, value in parameters.items() if name == "boost"}
    if hasattr(body, "to_dict"):
        body = body.to_dict()
    if isinstance(body, Mapping):
        options |= body
        key = next((one for one in keys if one in options), None)
        if key is None:
            raise ParsingFailed(f"[{query}] query on [{field}] has no [{keys[0]}]")
        body = options.pop(key)
    return field, scalar(query, field, body), options


def scalar(query: str, field: str, value: Any) -> Any:
    """Return a value that is a string, a number or a truth value.

    Raises:
        ParsingFailed: it is something else.
    """
    if not isinstance(value, str | int | float):
        kind = "null" if value is None else "an array" if isinstance(value, list | tuple) else "an object"
        raise ParsingFailed(f"[{query}] query on [{field}] does not support {kind} as a value")
    return value


def least(query: str, wanted: Any, clauses: int) -> int:
    """Return how many of some clauses must match by a ``minimum_should_match``: 2, -1, 75% or -25%.

    Raises:
        ParsingFailed: it is none of these.
    """
    text = str(wanted).strip()
    try:
        number = int(text.removesuffix("%"))
    except ValueError as fault:
        raise ParsingFailed(f"[{query}] does not support [minimum_should_match] of [{wanted}]") from fault
    from_all = number < 0
    if text.endswith("%"):
        number = clauses * number // 100 if number >= 0 else -(clauses * -number // 100)
    return max(0, clauses + number) if from_all else number


def check_count(query: str, clauses: int) -> None:
    """Refuse more clauses, or words, in one query than Lucene takes.

    Raises:
        ParsingFailed: there are more than :data:`MAX_CLAUSES`.
    """
    if clauses > MAX_CLAUSES:
        raise ParsingFailed(f"[{query}] has {clauses} clauses, but maxClauseCount is set to {MAX_CLAUSES}")
