"""Reading the fields of a guardrail, with errors that name them."""

from collections.abc import Mapping
from typing import Any

from mlcommons_py.errors import IllegalArgument


def text(given: Mapping[str, Any], name: str, field: str) -> str | None:
    """Return a string, or None where there is none.

    Raises:
        IllegalArgument: it is something else, or empty.
    """
    value = given.get(name)
    if value is not None and (not isinstance(value, str) or not value):
        raise IllegalArgument(f"[{field}.{name}] must be a string that is not empty")
    return value


def required(given: Mapping[str, Any], name: str, field: str) -> str:
    """Return a string.

    Raises:
        IllegalArgument: there is none, or it is empty.
    """
    value = text(given, name, field)
    if value is None:
        raise IllegalArgument(f"[{field}.{name}] is missing")
    return value


def texts(given: Mapping[str, Any], name: str, field: str) -> list[str]:
    """Return a list of strings, empty where there is none.

    Raises:
        IllegalArgument: it is something else.
    """
    value = given.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise IllegalArgument(f"[{field}.{name}] must be a list of strings")
    return value
