"""Changing a registered model: the body of ``PUT /models/{id}``."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from mlcommons_py import fields
from mlcommons_py.errors import BadRequest, Conflict, Forbidden, NotFound
from mlcommons_py.identifiers import MAX_DESCRIPTION, MAX_NAME, check_length
from mlcommons_py.models import config
from mlcommons_py.models.deploy_setting import deploy_setting
from mlcommons_py.models.documents import Model
from mlcommons_py.models.interface import interface
from mlcommons_py.models.limits import check_whole, rate_limiter
from mlcommons_py.models.registry import Models
from mlcommons_py.models.states import FunctionName, ModelState
from mlcommons_py.models.vocabulary import refuse_unknown
from mlcommons_py.store import Written
from mlcommons_py.store.record import now

_REMOVABLE = ("interface", "guardrails", "rate_limiter")
"""Fields that null, or an object without anything, takes away; all else cannot be without them."""

_CHANGEABLE = (FunctionName.TEXT_EMBEDDING, FunctionName.REMOTE)


Connect = Callable[[str, Mapping[str, Any]], Awaitable[Callable[[Model], Mapping[str, Any]]]]
"""Returns the function from a model to what a body changes of its connector, as it is stored."""


async def update(models: Models, connect: Connect, model_id: str, body: Mapping[str, Any]) -> tuple[Model, Written]:
    """Carry out an update, and return the model as it is now.

    Objects are merged key by key, and null takes some of them away; a model that moves to another group becomes that
    group's newest version.

    Raises:
        NotFound: the model, or the group it shall move to, does not exist.
        Conflict: it is being deployed.
        Forbidden: its function does not allow it.
        BadRequest, IllegalArgument: a field cannot be changed, or is wrong.
    """
    document = await models.document(model_id)
    if document is None:
        raise NotFound(f"Failed to find model to update with the provided model id: {model_id}")
    model = Model.from_json(document.source)
    refuse_unknown(body)
    _refuse(model_id, model, body)
    changes, connection = _changes(model, body), await connect(model_id, body)
    await asyncio.to_thread(connection, model)  # it may look at much
    _onto(model, changes)
    group_id = fields.text(body, "model_group_id")
    if group_id is not None and group_id != model.model_group_id:
        version = await models.membership.next_version(group_id)
        if version is None:
            raise NotFound(
                "Failed to find the model group with the provided model group id in the update model input,"
                f" MODEL_GROUP_ID: {group_id}"
            )
        changes.update(model_group_id=group_id, model_version=str(version))

    def make(read: Model) -> Model:
        _refuse(model_id, read, body)
        return replace(read, **_onto(read, changes), **connection(read), last_updated_time=now())

    changed = await models.change(model_id, make)
    if changed is None:
        raise NotFound(f"Failed to find model to update with the provided model id: {model_id}")
    return changed


def _refuse(model_id: str, model: Model, body: Mapping[str, Any]) -> None:
    function = FunctionName(model.algorithm)
    if function not in _CHANGEABLE:
        raise Forbidden(f"The function category {function} is not supported at this time.")
    if model.state in (ModelState.DEPLOYING, ModelState.LOADING):
        raise Conflict(f"Model is deploying. Please wait for the model to complete deployment. model ID {model_id}")
    if "connector" in body and "connector_id" in body:
        raise BadRequest(
            "Model cannot have both stand-alone connector and internal connector. Please check your update input body."
        )
    if function is not FunctionName.REMOTE and ("connector" in body or "connector_id" in body):
        raise BadRequest("Trying to update the connector or connector_id field on a local model.")


def _changes(model: Model, body: Mapping[str, Any]) -> dict[str, Any]:
    name, description = fields.text(body, "name"), fields.text(body, "description")
    check_length("name", name, MAX_NAME)
    check_length("description", description, MAX_DESCRIPTION)
    changes: dict[str, Any] = {
        "name": name,
        "description": description,
        "is_enabled": fields.boolean(body, "is_enabled"),
        "rate_limiter": rate_limiter(body),
        "deploy_setting": deploy_setting(body),
        "interface": interface(body),
        "guardrails": fields.mapping(body, "guardrails"),
    }
    given = fields.mapping(body, "model_config")
    if given is not None:
        changes["model_config"] = config.check(given, FunctionName(model.algorithm), complete=False)
        _check_dimension(model, changes["model_config"].get("embedding_dimension"))
    given_up = {name: None for name in _REMOVABLE if name in body and body[name] in (None, {})}
    return {**{name: value for name, value in changes.items() if value is not None}, **given_up}


def _check_dimension(model: Model, given: int | None) -> None:
    """Refuse a dimension that a proven model does not have: it would be refused when it is deployed next."""
    proven = model.state_reason is None and not model.state.is_incomplete and not model.is_remote
    has = model.config.get("embedding_dimension")
    if proven and None not in (given, has) and given != has:
        raise BadRequest(f"[model_config.embedding_dimension] is {given}, but the model's embeddings have {has}")


def _onto(model: Model, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a model's fields that become of changes."""
    merged = {name: _merged(getattr(model, name), value) for name, value in changes.items()}
    check_whole(merged.get("rate_limiter") or {}, "rate_limiter")
    return merged


def _merged(before: object, value: Any) -> Any:
    if isinstance(before, Mapping) and isinstance(value, Mapping):
        return {**before, **value}
    return value
