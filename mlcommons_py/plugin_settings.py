"""The ``plugins.ml_commons.*`` settings: reading their values, and the values in force.

A value may change while the service runs.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from mlcommons_py.errors import BadRequest, IllegalArgument
from mlcommons_py.plugin_keys import PREFIX, SETTINGS, Kind

_WHOLE = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_SIZE = re.compile(r"(\d{1,15})(b|kb|mb|gb|tb|pb)", re.IGNORECASE | re.ASCII)
_UNITS = {"b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40, "pb": 1 << 50}


def parse(key: str, value: Any) -> Any:
    """Return a value in its setting's type; numbers and truth values may come as strings, as OpenSearch takes them.

    >>> parse("plugins.ml_commons.max_model_on_node", "3")
    3

    Raises:
        IllegalArgument: the key is unknown, or the value is of the wrong type or out of bounds.
    """
    setting = SETTINGS.get(key)
    if setting is None:
        raise IllegalArgument(f"setting [{key}], not recognized")
    typed = _READERS[setting.kind](key, value)
    if setting.kind in ("int", "float") and not setting.low <= typed <= setting.high:
        side, bound = (">=", setting.low) if typed < setting.low else ("<=", setting.high)
        raise IllegalArgument(f"Failed to parse value [{value}] for setting [{key}] must be {side} {bound}")
    if setting.check is not None:
        setting.check(key, typed)
    return typed


def size_in_bytes(text: str) -> int:
    """Return the bytes that a size such as ``5gb`` stands for; -1 for ``-1``.

    >>> size_in_bytes("5gb")
    5368709120
    """
    if text.strip() == "-1":
        return -1
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    return int(match[1]) * _UNITS[match[2].lower()]


def _refuse(key: str, value: Any, wanted: str) -> IllegalArgument:
    return IllegalArgument(f"Failed to parse value [{value}] for setting [{key}]: {wanted} is expected")


def _read_bool(key: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return bool(value == "true")
    text = f"Failed to parse value [{value}] as only [true] or [false] are allowed."
    raise IllegalArgument(f"{text} The setting is {key}.")


def _read_int(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str) or not _WHOLE.fullmatch(str(value)):
        raise _refuse(key, value, "a whole number")
    return int(value)


def _read_float(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str) or "_" in str(value):
        raise _refuse(key, value, "a number")
    try:
        number = float(value)
    except ValueError as fault:
        raise _refuse(key, value, "a number") from fault
    if not math.isfinite(number):
        raise _refuse(key, value, "a number")
    return number


def _read_string(key: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    raise _refuse(key, value, "a string")


def _read_strings(key: str, value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return list(value)
    raise _refuse(key, value, "a list of strings")


def _read_bytes(key: str, value: Any) -> str:
    if not isinstance(value, str) and value != -1:
        raise _refuse(key, value, "a size such as 5gb")
    text = str(value)
    try:
        size_in_bytes(text)
    except ValueError as fault:
        raise _refuse(key, value, "a size such as 5gb") from fault
    return text


_READERS: dict[Kind, Callable[[str, Any], Any]] = {
    "bool": _read_bool,
    "int": _read_int,
    "float": _read_float,
    "string": _read_string,
    "strings": _read_strings,
    "bytes": _read_bytes,
}


def flatten(value: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return a tree of settings by full key.

    >>> flatten({"plugins": {"ml_commons.a": 1}})
    {'plugins.ml_commons.a': 1}

    Raises:
        IllegalArgument: a key is there twice, dotted and as a tree.
    """
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        at = f"{path}.{key}" if path else key
        found = flatten(inner, at) if isinstance(inner, Mapping) else {at: inner}
        if twice := flat.keys() & found.keys():
            raise IllegalArgument(f"setting [{min(twice)}] is given twice")
        flat.update(found)
    return flat


class PluginSettings:
    """The values in force: transient over persistent over what the operator gave at start over the default."""

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        self._given = dict(given or {})
        self.persistent: dict[str, Any] = {}
        self.transient: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """Return the value of a key, named without its prefix."""
        key = PREFIX + name
        for values in (self.transient, self.persistent, self._given):
            if key in values:
                return values[key]
        return SETTINGS[key].default

    def check_local_models(self) -> None:
        """Refuse what needs a local model while those are switched off.

        Raises:
            BadRequest: they are.
        """
        if not self["local_model.enabled"]:
            raise BadRequest(
                "Local Model is currently disabled. To enable it, update the setting"
                ' "plugins.ml_commons.local_model.enabled" to true.'
            )

    def check_remote_models(self) -> None:
        """Refuse what needs a provider while remote models are switched off.

        Raises:
            BadRequest: they are.
        """
        if not self["remote_inference.enabled"]:
            raise BadRequest(
                "Remote Inference is currently disabled. To enable it, update the setting"
                ' "plugins.ml_commons.remote_inference_enabled" to true.'
                f" The setting's name is {PREFIX}remote_inference.enabled."
            )

    def check_models(self, *, remote: bool) -> None:
        """Refuse what needs a model of one kind while those are switched off.

        Raises:
            BadRequest: they are.
        """
        if remote:
            self.check_remote_models()
        else:
            self.check_local_models()

    def defaults(self) -> dict[str, Any]:
        """Return the value of each key that neither scope sets."""
        return {
            key: self._given.get(key, setting.default)
            for key, setting in SETTINGS.items()
            if key not in self.transient and key not in self.persistent
        }


__all__ = ["PREFIX", "SETTINGS", "PluginSettings", "flatten", "parse", "size_in_bytes"]
