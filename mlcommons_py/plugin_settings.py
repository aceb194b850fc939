"""The ``plugins.ml_commons.*`` settings: their names, types, bounds and defaults, and the values in force.

Names and defaults are ML Commons' (``MLCommonsSettings.java``); a value may change while the service runs.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mlcommons_py.errors import IllegalArgument

PREFIX = "plugins.ml_commons."

Kind = Literal["bool", "int", "float", "string", "strings", "bytes"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One key.

    Attributes:
        kind: ``strings`` is a list of strings, ``bytes`` a size such as ``5gb`` (``-1`` for none).
        low, high: bounds of a number, inclusive.
        dynamic: whether the settings API may change it; the others are given at start only.
        check: raises :class:`IllegalArgument` for a value that is of the right type and still wrong.
    """

    default: Any
    kind: Kind
    low: float = -math.inf
    high: float = math.inf
    dynamic: bool = True
    check: Callable[[str, Any], None] | None = None


def _regex(key: str, value: str) -> None:
    try:
        re.compile(value)
    except re.error as fault:
        raise IllegalArgument(f"[{key}] is not a regular expression: {fault}") from fault


def _policy(key: str, value: str) -> None:
    if value not in ("round_robin", "least_load"):
        raise IllegalArgument(f"[{key}] must be round_robin or least_load, not [{value}]")


def _bool(default: bool, dynamic: bool = True) -> Setting:
    return Setting(default, "bool", dynamic=dynamic)


def _int(default: int, low: float = 0, high: float = math.inf) -> Setting:
    return Setting(default, "int", low, high)


_TABLE: dict[str, Setting] = {
    "task_dispatch_policy": Setting("round_robin", "string", check=_policy),
    "max_model_on_node": _int(10, 0, 10_000),
    "max_register_model_tasks_per_node": _int(10, 0, 10),
    "max_deploy_model_tasks_per_node": _int(10, 0, 10),
    "max_ml_task_per_node": _int(10, 0, 10_000),
    "only_run_on_ml_node": _bool(True),
    "sync_up_job_interval_in_seconds": _int(10, 0, 86_400),
    "ml_task_timeout_in_seconds": _int(600, 1, 86_400),
    "monitoring_request_count": _int(100, 0, 10_000_000),
    "trusted_url_regex": Setting(
        r"^(https?|ftp|file)://[-a-zA-Z0-9+&@#/%?=~_|!:,.;]*[-a-zA-Z0-9+&@#/%=~_|]", "string", check=_regex
    ),
    "native_memory_threshold": _int(90, 0, 100),
    "jvm_heap_memory_threshold": _int(85, 0, 100),
    "disk_free_space_threshold": Setting("5gb", "bytes"),
    "exclude_nodes._name": Setting("", "string"),
    "allow_custom_deployment_plan": _bool(False),
    "model_auto_deploy.enable": _bool(True),
    "model_auto_redeploy.enable": _bool(True),
    "model_auto_redeploy.lifetime_retry_times": _int(3),
    "model_auto_redeploy_success_ratio": Setting(0.8, "float", 0, 1),
    "allow_registering_model_via_url": _bool(False),
    "allow_registering_model_via_local_file": _bool(False),
    "remote_inference.enabled": _bool(True),
    "local_model.enabled": _bool(True),
    "model_access_control_enabled": _bool(False),
    "connector_access_control_enabled": _bool(False),
    "connector.private_ip_enabled": _bool(False),
    "max_json_size": _int(100_000_000, -1),
    "controller_enabled": _bool(True),
    "stream_enabled": _bool(False),
    "safe_delete_model": _bool(False),
}

SETTINGS: Mapping[str, Setting] = {PREFIX + name: setting for name, setting in _TABLE.items()}
"""Every key this version knows, by its full name."""

_SIZE = re.compile(r"(\d+)(b|kb|mb|gb|tb|pb)", re.IGNORECASE)
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
    raise _refuse(key, value, "true or false")


def _read_int(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise _refuse(key, value, "a whole number")
    try:
        return int(value)
    except ValueError as fault:
        raise _refuse(key, value, "a whole number") from fault


def _read_float(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
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

    def defaults(self) -> dict[str, Any]:
        """Return the value of each key that neither scope sets."""
        return {
            key: self._given.get(key, setting.default)
            for key, setting in SETTINGS.items()
            if key not in self.transient and key not in self.persistent
        }
