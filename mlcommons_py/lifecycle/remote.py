"""Registering and changing remote models: those that live at a provider, behind a connector."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from mlcommons_py import content, fields
from mlcommons_py.errors import BadRequest, MLCommonsError, NotFound, ResourceNotFound
from mlcommons_py.lifecycle.deploying import Deployer
from mlcommons_py.models.documents import Model
from mlcommons_py.models.groups import Groups
from mlcommons_py.models.registration import Registration
from mlcommons_py.models.registry import Models
from mlcommons_py.observe.counters import Counters
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.remote.breaker import Breaker
from mlcommons_py.remote.connectors import Connectors
from mlcommons_py.remote.documents import Connector
from mlcommons_py.remote.own import Own
from mlcommons_py.remote.secrets import Sealed
from mlcommons_py.store import Written, new_id
from mlcommons_py.tasks.board import Tasks, TaskType

log = logging.getLogger(__name__)


class RemoteModels:
    """Takes remote models in, and gives them other connectors."""

    def __init__(
        self,
        groups: Groups,
        models: Models,
        tasks: Tasks,
        connectors: Connectors,
        deployer: Deployer,
        settings: PluginSettings,
        counters: Counters,
        breaker: Breaker,
    ) -> None:
        self._groups = groups
        self._models = models
        self._tasks = tasks
        self._connectors = connectors
        self._deployer = deployer
        self._settings = settings
        self._counters = counters
        self._breaker = breaker

    async def register(self, body: Mapping[str, Any], *, deploy: bool) -> dict[str, Any]:
        """Register a remote model and return the answer of ``_register``; its task is over by then.

        Raises:
            BadRequest: remote models are switched off.
            IllegalArgument: a field is missing or wrong, or the connector is.
            NotFound, ResourceNotFound: the connector, or the group, does not exist.
        """
        self._settings.check_remote_models()
        registration = Registration.of_remote(body)
        with self._counters.counted(registration.function, "register"):
            group_id = registration.model_group_id
            if group_id is not None and not await self._groups.exists(group_id):
                raise ResourceNotFound(f"Model Group Response is empty for {group_id}")
            registration, sealed = await self._connected(registration)
            model_id, _ = await self._models.create(registration)
            await self.renew(model_id, sealed)
            task_id = await self._tasks.create(TaskType.REGISTER_MODEL, registration.function, model_id)
            await self._tasks.complete(task_id, model_id)
        if deploy:
            await self._deploy(model_id)
        return {"task_id": task_id, "status": "CREATED", "model_id": model_id}

    async def _connected(self, registration: Registration) -> tuple[Registration, Sealed | None]:
        """Return a registration with its connector as it is stored, and the interface of a model that is known.

        With it comes the credential that is in it.
        """
        sealed = None
        if registration.connector_id is not None:
            connector = await self._known(registration.connector_id)
        else:
            model_id = registration.model_id or new_id()  # to which the credential is bound
            own = await self._connectors.inline(registration.connector or {}, model_id)
            stored, sealed = own.onto(), own.sealed
            connector = Connector.from_json(stored)
            registration = replace(registration, model_id=model_id, connector=stored)
        if registration.interface is None:
            registration = replace(registration, interface=preset(connector))
        return registration, sealed

    async def _known(self, connector_id: str) -> Connector:
        try:
            return (await self._connectors.recent(connector_id))[0]
        except NotFound as fault:
            raise NotFound(f"Failed to find connector:{connector_id}") from fault

    async def _deploy(self, model_id: str) -> None:
        """Deploy a model that was registered for it; a refusal does not undo the registration, its document tells."""
        try:
            await self._deployer.deploy(model_id, {})
        except MLCommonsError as fault:
            reason = f"registered, but not deployed: {fault.reason}"
            log.warning("model %s is %s", model_id, reason)
            await self._models.change(model_id, lambda model: replace(model, state_reason=reason))

    async def connection(self, model_id: str, model: Model, body: Mapping[str, Any]) -> "Connection":
        """Return what the body of a PUT changes of a model's connector.

        Raises:
            BadRequest: the model has its connector in the other way.
            NotFound: the connector does not exist.
            IllegalArgument: what would become of the connector is wrong.
        """
        connector_id, given = fields.text(body, "connector_id"), fields.mapping(body, "connector")
        _check_way(model, connector_id, given)
        own = None
        if connector_id is not None:
            await self._known(connector_id)
        elif given is not None:
            own = await self._connectors.inline(given, model_id, model.connector)
        return Connection(self, model_id, connector_id, own)

    async def renew(self, model_id: str, sealed: Sealed | None) -> tuple[Model, Written] | None:
        """Encrypt a credential that was stored in a model again, if the keys were rotated meanwhile.

        Returns the model where it was changed.
        """
        changed = None
        while sealed is not None and (newer := await self._connectors.renewed(sealed)) is not None:
            changed = await self._exchange(model_id, sealed, newer) or changed
            sealed = newer
        return changed

    async def _exchange(self, model_id: str, before: Sealed, after: Sealed) -> tuple[Model, Written] | None:
        def make(read: Model) -> Model | None:
            own = read.connector or {}
            if own.get("credential") != before.values:
                return None
            return replace(read, connector={**own, "credential": after.values})

        return await self._models.change(model_id, make)

    def forget(self, model_id: str) -> None:
        """Forget what is known of a model's provider."""
        self._breaker.forget(model_id)


@dataclass(frozen=True, slots=True)
class Connection:
    """What the body of a PUT changes of a model's connector: its id, or a model's own, or neither."""

    remote_models: RemoteModels
    model_id: str
    connector_id: str | None
    own: Own | None

    def onto(self, model: Model) -> dict[str, Any]:
        """Return the fields of a model that change, as they are stored.

        Raises:
            BadRequest: the model has its connector in the other way.
            IllegalArgument: what would become of the connector is wrong.
        """
        _check_way(model, self.connector_id, self.own)
        if self.connector_id is not None:
            return {"connector_id": self.connector_id}
        return {} if self.own is None else {"connector": self.own.onto(model.connector)}

    async def stored(self) -> tuple[Model, Written] | None:
        """Do what remains when they are stored; return the model where it had to be stored once more."""
        if self.connector_id is None and self.own is None:
            return None
        self.remote_models.forget(self.model_id)
        return None if self.own is None else await self.remote_models.renew(self.model_id, self.own.sealed)


def _check_way(model: Model, connector_id: str | None, own: object) -> None:
    if connector_id is not None and model.connector_id is None:
        raise BadRequest("This remote does not have a connector_id field, maybe it uses an internal connector.")
    if own is not None and model.connector is None:
        raise BadRequest(
            "Cannot update connector settings for this model. The model was created with a connector_id and"
            " does not have an inline connector."
        )


def preset(connector: Connector) -> dict[str, str] | None:
    """Return the interface of a connector's model, as it is stored, where that is one whose interface is known."""
    shapes = content.interface(connector)
    return None if shapes is None else {side: orjson.dumps(schema).decode() for side, schema in shapes.items()}
