"""A model's ``deploy_setting``: whether a predict may deploy it, and how long it stays deployed unused."""

from collections.abc import Mapping
from typing import Any

from mlcommons_py import fields
from mlcommons_py.errors import IllegalArgument

FOR_EVER = -1
"""``model_ttl_minutes`` of a model that stays deployed."""

MAX_TTL_MINUTES = 525_600
"""The longest ``model_ttl_minutes``: a year."""

_FIELDS = ("is_auto_deploy_enabled", "model_ttl_minutes")


def deploy_setting(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the ``deploy_setting`` of a body as it is stored; None where there is none.

    Raises:
        IllegalArgument: ``is_auto_deploy_enabled`` is no truth value, or ``model_ttl_minutes`` is neither -1 nor a
            number of minutes, of a year at most; or there is an unknown field.
    """
    given = fields.mapping(body, "deploy_setting")
    if given is None:
        return None
    for name in given:
        if name not in _FIELDS:
            raise IllegalArgument(f"[deploy_setting] has the unknown field [{name}]; there are {', '.join(_FIELDS)}")
    stored: dict[str, Any] = {}
    if (enabled := fields.boolean(given, "is_auto_deploy_enabled")) is not None:
        stored["is_auto_deploy_enabled"] = enabled
    minutes = fields.integer(given, "model_ttl_minutes", low=FOR_EVER, high=MAX_TTL_MINUTES)
    if minutes == 0:
        raise IllegalArgument(f"[model_ttl_minutes] must be at least 1, or {FOR_EVER} for a model that stays deployed")
    if minutes is not None:
        stored["model_ttl_minutes"] = minutes
    return stored
