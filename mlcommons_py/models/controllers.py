"""Controllers: how often each user may call a model. Documents of ``.plugins-ml-controller``, as ML Commons has them.

``MLController.java`` and ``*ControllerTransportAction.java`` are the sources.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mlcommons_py import fields
from mlcommons_py.errors import Conflict, Forbidden, IllegalArgument, NotFound, SwitchedOff, Unavailable
from mlcommons_py.models.documents import Model
from mlcommons_py.models.limits import check_whole, rate_limiter
from mlcommons_py.models.registry import Models
from mlcommons_py.models.states import FunctionName, ModelState
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.store import Store, Written
from mlcommons_py.store.record import Record, change

CONTROLLERS = ".plugins-ml-controller"

FRESH = 1.0
"""Seconds for which a predict may go by a controller without reading it again."""

MAX_USERS = 10_000
"""Most users of one controller."""

_CONTROLLABLE = (FunctionName.TEXT_EMBEDDING, FunctionName.REMOTE)
_NO_MODEL = "Failed to find model to create the corresponding model controller with the provided model ID"
_NO_CONTROLLER = "Failed to find model controller with the provided model ID"


@dataclass(frozen=True, kw_only=True)
class Controller(Record):
    """A controller.

    Attributes:
        user_rate_limiter: by the user's name, ``limit`` (a text) and ``unit``.
    """

    model_id: str
    user_rate_limiter: Mapping[str, Mapping[str, str]] | None = None

    def limiter(self, user: str) -> Mapping[str, str] | None:
        """Return the limit of a user; None where there is none."""
        found = (self.user_rate_limiter or {}).get(user)
        return found if isinstance(found, Mapping) else None


class Controllers:
    """The controllers of a store."""

    def __init__(self, store: Store, models: Models, settings: PluginSettings) -> None:
        self._store = store
        self._models = models
        self._settings = settings
        self._recent: dict[str, tuple[float, Controller | None]] = {}

    async def create(self, model_id: str, body: Mapping[str, Any]) -> dict[str, str]:
        """Give a model a controller; one that it has is replaced, with all of its users.

        Raises:
            NotFound: there is no such model.
            Forbidden: its function knows no controllers.
            Conflict: it is being deployed.
            IllegalArgument, ParseFailed: a limit is wrong.
        """
        self._check_enabled()
        await self._model(model_id, deploying=False)
        limiters = _limiters(body)
        for name, one in limiters.items():
            check_whole(one, f"user_rate_limiter.{name}")
        controller = Controller(model_id=model_id, user_rate_limiter=limiters)
        written = await self._store.put(CONTROLLERS, model_id, controller.to_json())
        self._forget(model_id)
        await self._mark(model_id, enabled=True)
        return {"model_id": model_id, "status": written.result.upper()}

    async def update(self, model_id: str, body: Mapping[str, Any]) -> Written:
        """Merge limits into a model's controller, user by user.

        Raises:
            NotFound, Forbidden, IllegalArgument, ParseFailed: as :meth:`create`.
            Conflict: it has no controller.
        """
        self._check_enabled()
        await self._model(model_id)
        given = _limiters(body)

        def make(read: Controller) -> Controller:
            merged = {name: dict(one) for name, one in (read.user_rate_limiter or {}).items()}
            for name, one in given.items():
                merged[name] = {**merged.get(name, {}), **one}
                check_whole(merged[name], f"user_rate_limiter.{name}")
            _check_count(merged)
            return replace(read, user_rate_limiter=merged)

        changed = await change(self._store, CONTROLLERS, model_id, Controller, make)
        self._forget(model_id)
        if changed is None:
            raise Conflict(
                "Model controller haven't been created for the model. Consider calling create model controller api"
                f" instead. Model ID: {model_id}"
            )
        return changed[1]

    async def get(self, model_id: str) -> dict[str, Any]:
        """Return a model's controller as it is stored.

        Raises:
            NotFound: there is none, or no such model.
        """
        self._check_enabled()
        document = await self._store.get(CONTROLLERS, model_id)
        if document is None:
            raise NotFound(_NO_CONTROLLER)
        if await self._models.document(model_id) is None:
            raise NotFound("Failed to find model to get the corresponding model controller with the provided model ID")
        return document.source

    async def delete(self, model_id: str) -> Written:
        """Take a model's controller away, also one that outlived its model.

        Raises:
            NotFound: there is none.
        """
        self._check_enabled()
        written = await self._store.delete(CONTROLLERS, model_id)
        self._forget(model_id)
        if written.result == "not_found":
            raise NotFound("Failed to find model controller")
        await self._mark(model_id, enabled=False)
        return written

    async def model_deleted(self, model_id: str) -> None:
        """Delete the controller of a model that is gone, if it had one."""
        await self._store.delete(CONTROLLERS, model_id)
        self._recent.pop(model_id, None)

    async def recent(self, model_id: str) -> Controller | None:
        """Return a model's controller as it was at most :data:`FRESH` seconds ago; as last known if the store is down.

        Raises:
            Unavailable: the store is down, and the controller was never read.
        """
        at, kept = time.monotonic(), self._recent.get(model_id)
        if kept is not None and at - kept[0] < FRESH:
            return kept[1]
        try:
            document = await self._store.get(CONTROLLERS, model_id)
        except Unavailable:
            if kept is None:
                raise
            return kept[1]
        controller = None if document is None else Controller.from_json({**document.source, "model_id": model_id})
        self._recent[model_id] = (at, controller)
        return controller

    def _forget(self, model_id: str) -> None:
        self._recent.pop(model_id, None)

    def _check_enabled(self) -> None:
        if not self._settings["controller_enabled"]:
            raise SwitchedOff("Controller", "controller_enabled")

    async def _model(self, model_id: str, *, deploying: bool = True) -> Model:
        document = await self._models.document(model_id)
        if document is None:
            raise NotFound(_NO_MODEL)
        model = Model.from_json(document.source)
        if model.algorithm not in _CONTROLLABLE:
            raise Forbidden(
                f"Creating model controller on this operation on the function category {model.algorithm} is not"
                " supported."
            )
        if not deploying and model.state in (ModelState.DEPLOYING, ModelState.LOADING):
            raise Conflict(
                "Creating a model controller during its corresponding model in DEPLOYING state is not allowed, please"
                f" either create the model controller after it is deployed or before deploying it. Model ID: {model_id}"
            )
        return model

    async def _mark(self, model_id: str, *, enabled: bool) -> None:
        await self._models.change(
            model_id,
            lambda read: (
                None if read.is_controller_enabled is enabled else replace(read, is_controller_enabled=enabled)
            ),
        )


def _limiters(body: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the limits of a body by user, as they are stored; a user without any is left out."""
    given = fields.mapping(body, "user_rate_limiter") or {}
    limiters: dict[str, dict[str, str]] = {}
    for user, one in given.items():
        if not isinstance(one, Mapping):
            raise IllegalArgument(f"[user_rate_limiter.{user}] must be an object with [limit] and [unit]")
        if limiter := rate_limiter({"rate_limiter": one}):
            limiters[user] = limiter
    _check_count(limiters)
    return limiters


def _check_count(limiters: Mapping[str, Any]) -> None:
    if len(limiters) > MAX_USERS:
        raise IllegalArgument(f"[user_rate_limiter] has {len(limiters)} users, {MAX_USERS} are allowed")
