"""What an API server knows of the models that it may call."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

from mlcommons_py.api_servers.channel import Channel
from mlcommons_py.errors import StatusError, Unavailable
from mlcommons_py.inference.admission import Connection
from mlcommons_py.inference.outside import Outside
from mlcommons_py.inference.remote import Caller
from mlcommons_py.inference.streaming import Streamer
from mlcommons_py.models.documents import Model
from mlcommons_py.models.states import FunctionName, predicting
from mlcommons_py.observe.counters import Counters
from mlcommons_py.remote.documents import Connector
from mlcommons_py.remote.provider import Delta
from mlcommons_py.store.recent import Recent


@dataclass(frozen=True, slots=True)
class Granted:
    """Admission of a model that the core lets any process call."""

    connector: Connector
    credential: Mapping[str, str]

    async def connection(self, model_id: str, model: Model) -> Connection:
        """Return what leads to the model's provider."""
        del model_id, model
        return self.connector, self.credential

    async def deployed(self, model_id: str, model: Model) -> Model:
        """Return the model: it is deployed."""
        del model_id
        return model

    async def limit(self, model_id: str, model: Model, user: str | None) -> None:
        """Let the call pass: the model has no limit."""


class Card:
    """A model that may be called here."""

    def __init__(self, model_id: str, told: Mapping[str, Any], outside: Outside, counters: Counters) -> None:
        self.told = told
        self._model_id = model_id
        self._model = Model.from_json(told["model"])
        self._counters = counters
        granted = Granted(Connector.from_json(told["connector"]), told["credential"])
        self._caller: Caller = outside.caller(outside.guards(_nowhere, _nobody), granted)
        self._streamer = Streamer(self._caller, outside.remotes, outside.settings, counters)

    async def predict(
        self, body: Mapping[str, Any], algorithm: str | None = None, user: str | None = None
    ) -> dict[str, Any]:
        """Return the answer of ``_predict``, as :meth:`~mlcommons_py.inference.predict.Predictor.predict` does.

        Raises:
            MLCommonsError: as that does.
        """
        function = predicting(algorithm)
        with self._counters.counted(self._model.algorithm, "predict", self._model_id):
            return await self._caller.predict(self._model_id, self._model, body, function or FunctionName.REMOTE, user)

    async def stream(self, body: Mapping[str, Any], user: str | None = None) -> AsyncGenerator[Delta]:
        """Return the pieces of the model's answer, as :meth:`~mlcommons_py.inference.streaming.Streamer.stream` does.

        Raises:
            MLCommonsError: as that does.
        """
        return await self._streamer.stream(self._model_id, self._model, body, user)


class Cards:
    """The models of this process, each as the core knew it at most a second ago.

    While the core cannot say, a model is as it was last known; an API server does not outlive the core.
    """

    def __init__(self, channel: Channel, outside: Outside, counters: Counters) -> None:
        self._channel = channel
        self._outside = outside
        self._counters = counters
        self._recent = Recent(self._read)
        self._cards: dict[str, Card] = {}
        self._changes = 0

    async def get(self, model_id: str) -> Card | None:
        """Return a model that may be called here; None for one that only the core may call.

        Raises:
            MLCommonsError: there is no such model, or the core cannot say.
        """
        return await self._recent.get(model_id)

    def changed(self, model_id: str) -> None:
        """Ask the core anew before the next call of a model, and forget what is known of its provider."""
        self._changes += 1
        self._recent.gone(model_id)
        self._outside.breaker.forget(model_id)

    def removed(self, model_id: str) -> None:
        """Forget a model that is not here any more, and its numbers."""
        self._changes += 1
        self._recent.gone(model_id)
        self._drop(model_id)

    def _drop(self, model_id: str) -> None:
        self._cards.pop(model_id, None)
        self._outside.remotes.undeploy(model_id)
        self._outside.breaker.forget(model_id)
        self._outside.metrics.forget(model_id)

    def _close(self, model_id: str) -> None:
        """Forget what a model is called with: its numbers stay."""
        if self._cards.pop(model_id, None) is not None:
            self._outside.breaker.forget(model_id)

    async def _ask(self, model_id: str) -> Any:
        """Return what the core says of a model; what it said before a change was told does not hold."""
        while True:
            changes = self._changes
            try:
                told = await self._channel.ask("model", model_id)
            except StatusError as fault:
                if not isinstance(fault, Unavailable):  # there is no such model
                    self._close(model_id)
                raise
            if changes == self._changes:
                return told

    async def _read(self, model_id: str) -> Card | None:
        told = await self._ask(model_id)
        settings = self._outside.settings
        settings.persistent, settings.transient = told["persistent"], told["transient"]
        if told["card"] is None:
            self._close(model_id)
            return None
        before = self._cards.get(model_id)
        if before is not None and before.told == told["card"]:
            return before
        if before is not None and _connection(before.told) != _connection(told["card"]):
            self._outside.breaker.forget(model_id)
        self._outside.remotes.deploy(model_id)
        card = self._cards[model_id] = Card(model_id, told["card"], self._outside, self._counters)
        return card


def _connection(told: Mapping[str, Any]) -> tuple[object, ...]:
    """Return what a model's calls go by: another says nothing of the provider that was."""
    return told["connector"], told["credential"], told["model"].get("last_deployed_time")


async def _nowhere(index: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Search nothing: guardrails that search are the core's."""
    del body
    raise Unavailable(f"[{index}] is searched by the service's first process only")


async def _nobody(model_id: str, parameters: Mapping[str, str]) -> Mapping[str, Any]:
    """Ask nobody: guardrails that ask a model are the core's."""
    del parameters
    raise Unavailable(f"model [{model_id}] is asked by the service's first process only")
