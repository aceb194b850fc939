"""Reading typed fields out of a request's body, with errors that name the field."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mlcommons_py.errors import IllegalArgument

Body = Mapping[str, Any]

_WHOLE = re.compile(r"-?[0-9]{1,19}")


def _wrong(field: str, wanted: str, value: object) -> IllegalArgument:
    kind = "float" if isinstance(value, float) else type(value).__name__
    return IllegalArgument(f"[{field}] must be {wanted}, not {kind}")


def text(body: Body, field: str) -> str | None:
    """Return a string, or None where the field is missing or null.

    Raises:
        IllegalArgument: it is of another type, or has a NUL character.
    """
    value = body.get(field)
    if value is None:
        return None
    if isinstance(value, bool | int | float):
        value = str(value).lower() if isinstance(value, bool) else str(value)
    if not isinstance(value, str):
        raise _wrong(field, "a string", value)
    if "\0" in value:
        raise IllegalArgument(f"[{field}] has a NUL character")
    return value


def text_values(body: Body, field: str, path: str | None = None) -> dict[str, str] | None:
    """Return an object's values, all of them strings, or None where the field is missing or null.

    Errors say nothing of a value, not even its type; ``path`` says where the field is, None that it is at the top.

    Raises:
        IllegalArgument: it is no object, or has another value in it.
    """
    given = mapping(body, field)
    if given is None:
        return None
    texts: dict[str, str] = {}
    for name, value in given.items():
        found = None if isinstance(value, Mapping | list) else text(given, name)
        if found is None:
            raise IllegalArgument(f"[{path or field}.{name}] must be a string")
        texts[name] = found
    return texts


def integer(body: Body, field: str, *, low: int | None = None, high: int | None = None) -> int | None:
    """Return a whole number, which may come as a string, or None where the field is missing or null.

    Raises:
        IllegalArgument: it is of another type, or out of bounds.
    """
    value = body.get(field)
    if value is None:
        return None
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(field, "a whole number", value)
    if low is not None and value < low:
        raise IllegalArgument(f"[{field}] must be at least {low}, not {value}")
    if high is not None and value > high:
        raise IllegalArgument(f"[{field}] must be at most {high}, not {value}")
    return value


def boolean(body: Body, field: str) -> bool | None:
    """Return a truth value, which may come as a string, or None where the field is missing or null.

    Raises:
        IllegalArgument: it is of another type.
    """
    value = body.get(field)
    if value is None:
        return None
    if value in ("true", "false"):
        return bool(value == "true")
    if not isinstance(value, bool):
        raise _wrong(field, "true or false", value)
    return value


def mapping(body: Body, field: str) -> Mapping[str, Any] | None:
    """Return an object, or None where the field is missing or null.

    Raises:
        IllegalArgument: it is of another type.
    """
    value = body.get(field)
    if value is not None and not isinstance(value, Mapping):
        raise _wrong(field, "an object", value)
    return value


def texts(body: Body, field: str) -> Sequence[str] | None:
    """Return a list of strings, or None where the field is missing or null.

    Raises:
        IllegalArgument: it is of another type.
    """
    value = body.get(field)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _wrong(field, "a list of strings", value)
    return value
