"""Registering and changing remote models: those that live at a provider, behind a connector."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
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
from mlcommons_py.store import new_id
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
            registration = await self._connected(registration)
            model_id = await self._models.create(registration)
            if registration.connector is not None:
                await self._connectors.own.settle(model_id)
            task_id = await self._tasks.create(TaskType.REGISTER_MODEL, registration.function, model_id)
            await self._tasks.complete(task_id, model_id)
        if deploy:
            await self._deploy(model_id)
        return {"task_id": task_id, "status": "CREATED", "model_id": model_id}

    async def _connected(self, registration: Registration) -> Registration:
        """Return a registration with its connector as it is stored, and the interface of a model that is known."""
        if registration.connector_id is not None:
            connector = await self._known(registration.connector_id)
        else:
            model_id = registration.model_id or new_id()  # to which the credential is bound
            stored = await self._connectors.own.made(registration.connector or {}, model_id)
            connector = Connector.from_json(stored)
            registration = replace(registration, model_id=model_id, connector=stored)
        if registration.interface is None:
            registration = replace(registration, interface=preset(connector))
        return registration

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

    async def connection(self, model_id: str, body: Mapping[str, Any]) -> Callable[[Model], dict[str, Any]]:
        """Return the function from a model to what the body of a PUT changes of its connector, as it is stored.

        It raises :class:`~mlcommons_py.errors.BadRequest` where the model has its connector in the other way.

        Raises:
            NotFound: the connector does not exist.
            IllegalArgument: what is said of the model's own connector is wrong.
        """
        connector_id, given = fields.text(body, "connector_id"), fields.mapping(body, "connector")
        if connector_id is not None:
            await self._known(connector_id)
        change = None if given is None else await self._connectors.own.change(given, model_id)

        def connect(model: Model) -> dict[str, Any]:
            if connector_id is not None and model.connector_id is None:
                raise BadRequest("This remote does not have a connector_id field, maybe it uses an internal connector.")
            if change is not None and model.connector is None:
                raise BadRequest(
                    "Cannot update connector settings for this model. The model was created with a connector_id and"
                    " does not have an inline connector."
                )
            if connector_id is not None:
                return {"connector_id": connector_id}
            return {} if change is None else {"connector": change(model.connector)}

        return connect

    async def settle(self, model_id: str, body: Mapping[str, Any]) -> None:
        """Do what remains when a PUT was carried out.

        What is known of a provider is not known of another; and a credential that the PUT brought must be readable,
        though the key was changed meanwhile.
        """
        if "connector" in body or "connector_id" in body:
            self._breaker.forget(model_id)
        if (fields.mapping(body, "connector") or {}).get("credential"):
            await self._connectors.own.settle(model_id)


def preset(connector: Connector) -> dict[str, str] | None:
    """Return the interface of a connector's model, as it is stored, where that is one whose interface is known."""
    shapes = content.interface(connector)
    return None if shapes is None else {side: orjson.dumps(schema).decode() for side, schema in shapes.items()}
