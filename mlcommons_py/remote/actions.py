"""The actions of a connector as a client gives them, checked (``ConnectorAction.java``)."""

import re
from collections.abc import Mapping
from typing import Any

from mlcommons_py import fields
from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote.documents import ActionType

_TYPES = ("PREDICT", "EXECUTE", "BATCH_PREDICT", "CANCEL_BATCH_PREDICT", "BATCH_PREDICT_STATUS")
_METHODS = ("POST", "GET", "PUT", "DELETE")
_TEXTS = ("request_body", "pre_process_function", "post_process_function")
_KNOWN = ("action_type", "name", "method", "url", "headers", *_TEXTS, "supports_structured_output")
_MAX_NAME = 64
_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_LONGEST = 32_000


_IDLE = "response_filter"
"""Stands in actions of OpenSearch's own pages, and does nothing there; a parameter of that name does."""


def check_actions(body: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the ``actions`` of a body as they are stored; None where there are none.

    Raises:
        IllegalArgument: one lacks something, or has what it may not have; the text names it.
    """
    given = body.get("actions")
    if given is None:
        return None
    if not isinstance(given, list) or not all(isinstance(one, Mapping) for one in given):
        raise IllegalArgument("[actions] must be a list of objects")
    return [_action(one, number) for number, one in enumerate(given)]


def _action(given: Mapping[str, Any], number: int) -> dict[str, Any]:
    for field in given:
        if field not in (*_KNOWN, _IDLE):
            raise IllegalArgument(f"unknown field [actions[{number}].{field}]; there are {', '.join(_KNOWN)}")
    kind = fields.text(given, "action_type")
    if kind is not None and kind.upper() not in _TYPES:
        raise IllegalArgument(
            f"No enum constant org.opensearch.ml.common.connector.ConnectorAction.ActionType.{kind.upper()}"
        )
    url, method = fields.text(given, "url"), fields.text(given, "method")
    for field, value in (("action type", kind), ("url", url), ("method", method)):
        if value is None:
            raise IllegalArgument(f"{field} can't be null")
    assert kind is not None
    assert method is not None
    if method.upper() not in _METHODS:
        raise IllegalArgument(f"unsupported http method [{method}]; there are {', '.join(_METHODS)}")
    action: dict[str, Any] = {
        "action_type": kind.upper(),
        "method": method,
        "url": url,
        "headers": fields.text_values(given, "headers", f"actions[{number}].headers"),
        **{field: fields.text(given, field) for field in _TEXTS},
        "name": _name(fields.text(given, "name")),
        "supports_structured_output": fields.boolean(given, "supports_structured_output") or None,
    }
    for field in ("url", *_TEXTS):
        if action[field] is not None and len(action[field].encode()) > _LONGEST:
            raise IllegalArgument(f"[actions[{number}].{field}] has more than {_LONGEST} bytes")
    return {field: value for field, value in action.items() if value is not None}


def _name(name: str | None) -> str | None:
    if name is None:
        return None
    if any(ord(character) < 32 for character in name):
        raise IllegalArgument("Action name must not contain control characters")
    if len(name) > _MAX_NAME:
        raise IllegalArgument(f"Action name exceeds maximum length of {_MAX_NAME} characters")
    if not _NAME.fullmatch(name):
        raise IllegalArgument(
            "Action name contains invalid characters. Only alphanumeric characters, hyphens, and underscores are"
            " allowed"
        )
    if name.lower() in list(ActionType):
        raise IllegalArgument(f"name can't be one of action type [{', '.join(_TYPES)}]")
    return name
