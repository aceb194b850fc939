"""Letting calls of remote models go out by what the store says of them."""

from collections.abc import Awaitable, Callable

from mlcommons_py.errors import IllegalArgument, Unavailable
from mlcommons_py.inference.admission import Connection
from mlcommons_py.inference.remotes import Remotes
from mlcommons_py.models.documents import Model
from mlcommons_py.models.registry import Models
from mlcommons_py.models.states import ModelState
from mlcommons_py.models.throttle import Throttle
from mlcommons_py.nodes import Nodes
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.remote.connectors import Connectors
from mlcommons_py.remote.documents import Connector

Deploy = Callable[[str], Awaitable[None]]
"""Deploys a model that is called before anybody deployed it."""

_OWN = "connector"


class StoredAdmission:
    """Admission by the documents of the store."""

    def __init__(
        self,
        models: Models,
        connectors: Connectors,
        throttle: Throttle,
        nodes: Nodes,
        remotes: Remotes,
        deploy: Deploy,
        settings: PluginSettings,
    ) -> None:
        self._models = models
        self._connectors = connectors
        self._throttle = throttle
        self._nodes = nodes
        self._remotes = remotes
        self._deploy = deploy
        self._settings = settings

    async def connection(self, model_id: str, model: Model) -> Connection:
        """Return what leads to a model's provider."""
        if model.connector_id is not None:
            return await self._connectors.recent(model.connector_id)
        if (own := model.kept.get(_OWN)) is None:
            own = model.kept[_OWN] = Connector.from_json(model.connector or {})
        return await self._connectors.own.opened(own, model_id)

    def is_deployed(self, model_id: str, model: Model) -> bool:
        """Return whether a model may be called; what one node has deployed, any of them may call."""
        return model_id in self._remotes or model.state in (ModelState.DEPLOYED, ModelState.PARTIALLY_DEPLOYED)

    async def deployed(self, model_id: str, model: Model) -> Model:
        """Deploy a model that is deployed nowhere, if that is allowed, and return it as it is then."""
        if self.is_deployed(model_id, model):
            return model
        if not self._settings["model_auto_deploy.enable"]:
            raise IllegalArgument("Model not ready yet. Please deploy the model first.")
        if (model.deploy_setting or {}).get("is_auto_deploy_enabled") is False:
            raise IllegalArgument(
                f"Auto deployment disabled for this model, please deploy model first Model ID: {model_id}"
            )
        await self._deploy(model_id)
        model = await self._models.recent(model_id)
        if model_id not in self._remotes:
            raise Unavailable(f"model {model_id} cannot be deployed: {model.state_reason or 'it was undeployed'}")
        return model

    async def limit(self, model_id: str, model: Model, user: str | None) -> None:
        """Count a call; every node may call a model, whichever has deployed it."""
        await self._throttle.check(model_id, model, user, len(self._nodes.alive()))
