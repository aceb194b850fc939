"""Wishes for structured output: parameters that set fields of a request's body (``HttpConnector.java``)."""

from typing import Any

from mlcommons_py import exact
from mlcommons_py.remote.parameters import Parameters

_FIELDS = ("response_format", "generationConfig", "toolConfig")
"""Fields that ``_<field>_json`` and ``_<field>_additions_json`` may set: no others, such as the model."""


def asked(body: Any, parameters: Parameters) -> Any:
    """Return a body with the fields that a wish for structured output sets (``HttpConnector.java``)."""
    if not isinstance(body, dict):
        return body
    changed = dict(body)
    for name in _FIELDS:
        if (value := _object(parameters.value(f"_{name}_json"))) is not None:
            changed[name] = value
        if (more := _object(parameters.value(f"_{name}_additions_json"))) is not None:
            before = changed.get(name)
            changed[name] = {**(before if isinstance(before, dict) else {}), **more}
    return changed


def _object(value: Any) -> dict[str, Any] | None:
    if isinstance(value, str):
        try:
            value = exact.loads(value)
        except ValueError:
            return None
    return value if isinstance(value, dict) else None
