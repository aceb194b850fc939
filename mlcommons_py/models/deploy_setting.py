"""A model's ``deploy_setting``: whether a predict may deploy it, and how long it stays (``MLDeploySetting.java``)."""

from collections.abc import Mapping
from typing import Any

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.models import fields

FOR_EVER = -1
"""The ``model_ttl_minutes`` of a model that stays deployed."""

_FLAG, _TTL = "is_auto_deploy_enabled", "model_ttl_minutes"


def deploy_setting(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the ``deploy_setting`` of a body as it is stored; None where there is none.

    Raises:
        IllegalArgument: it has an unknown field, or one of the wrong type.
    """
    given = fields.mapping(body, "deploy_setting")
    if given is None:
        return None
    if unknown := sorted(given.keys() - {_FLAG, _TTL}):
        raise IllegalArgument(f"[deploy_setting] has the unknown field [{unknown[0]}]; it may have {_FLAG} and {_TTL}")
    stored: dict[str, Any] = {}
    if (enabled := fields.boolean(given, _FLAG)) is not None:
        stored[_FLAG] = enabled
    if (minutes := fields.integer(given, _TTL, low=FOR_EVER, high=1 << 40)) is not None:
        if not minutes:
            raise IllegalArgument(f"[{_TTL}] must be at least 1, or {FOR_EVER} for a model that stays deployed")
        stored[_TTL] = minutes
    return stored
