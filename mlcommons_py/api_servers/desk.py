"""What the core tells API servers of models: whether one may call a model, and with what."""

from collections.abc import Mapping
from typing import Any

from mlcommons_py.errors import CredentialUnreadable, NotFound
from mlcommons_py.guard.guards import DEFAULT_TYPE
from mlcommons_py.lifecycle.admission import StoredAdmission
from mlcommons_py.models.documents import Model
from mlcommons_py.models.registry import Models
from mlcommons_py.plugin_settings import PluginSettings


class Desk:
    """Answers by the documents of the store, as they were at most a second ago."""

    def __init__(self, models: Models, admission: StoredAdmission, settings: PluginSettings) -> None:
        self._models = models
        self._admission = admission
        self._settings = settings

    async def model(self, model_id: str) -> dict[str, Any]:
        """Return what a call of a model needs, under ``card``, and the settings in force.

        The card is None for a model that only the core may call: its requests are counted against a limit, are judged
        by what only the core can ask, or may have it deployed; or the core would refuse them.

        Raises:
            ResourceNotFound: there is no such model.
            Unavailable: the store cannot say, and never could.
        """
        model = await self._models.recent(model_id)
        card = await self._card(model_id, model) if self._is_free(model_id, model) else None
        return {"card": card, "persistent": self._settings.persistent, "transient": self._settings.transient}

    def _is_free(self, model_id: str, model: Model) -> bool:
        """Return whether calls of a model need nothing but its provider."""
        return (
            model.is_remote
            and bool(self._settings["remote_inference.enabled"])
            and model.is_enabled is not False
            and not model.rate_limiter
            and not model.is_controller_enabled
            and _judges_alone(model.guardrails)
            and self._admission.is_deployed(model_id, model)
        )

    async def _card(self, model_id: str, model: Model) -> dict[str, Any] | None:
        try:
            connector, credential = await self._admission.connection(model_id, model)
        except (NotFound, CredentialUnreadable):
            return None
        return {"model": model.to_json(), "connector": connector.to_json(), "credential": credential}


def _judges_alone(guardrails: Mapping[str, Any] | None) -> bool:
    """Return whether guardrails look at nothing but the text: not at an index, and at no other model's opinion."""
    if not guardrails:
        return True
    sides = [guardrails.get(name) or {} for name in ("input_guardrail", "output_guardrail")]
    return guardrails.get("type") in (None, DEFAULT_TYPE) and not any(one.get("stop_words") for one in sides)
