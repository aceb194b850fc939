"""The remote models that are deployed here: nothing of them runs, but calls may go out."""

import time
from collections.abc import Mapping

from mlcommons_py.observe.latencies import Latencies
from mlcommons_py.observe.numbers import Use


class Remotes:
    """The remote models of this node, each with how long its last calls took."""

    def __init__(self) -> None:
        self._deployed: dict[str, Latencies] = {}

    def deploy(self, model_id: str) -> None:
        """Let calls of a model go out; one that is deployed already is left alone."""
        self._deployed.setdefault(model_id, Latencies())

    def undeploy(self, model_id: str) -> bool:
        """Let no call of a model go out any more; return whether it was deployed."""
        return self._deployed.pop(model_id, None) is not None

    def __contains__(self, model_id: str) -> bool:
        """Return whether a model is deployed here."""
        return model_id in self._deployed

    def ids(self) -> list[str]:
        """Return the models that are deployed here."""
        return sorted(self._deployed)

    def latencies(self, model_id: str) -> Latencies | None:
        """Return how long the last calls of a model took; None where it is not deployed."""
        return self._deployed.get(model_id)

    def uses(self) -> dict[str, Use]:
        """Return how each model was used in this process."""
        return {model_id: latencies.use() for model_id, latencies in self._deployed.items()}

    def tell(self, process: int, uses: Mapping[str, Use]) -> None:
        """Take down how models were used in another process of the service."""
        for model_id, latencies in self._deployed.items():
            latencies.tell(process, uses.get(model_id))

    def ended(self, process: int) -> None:
        """Keep what a process that ended has told."""
        for latencies in self._deployed.values():
            latencies.ended(process)

    def touch(self, model_id: str) -> None:
        """Note that a model is in use."""
        if (latencies := self._deployed.get(model_id)) is not None:
            latencies.touch()

    def timed(self, model_id: str) -> "Timed":
        """Take down how long this block takes, as one call of a model, unless it raises."""
        return Timed(self, model_id)


class Timed:
    """A block that calls a model."""

    __slots__ = ("_began", "_model_id", "_remotes")

    def __init__(self, remotes: Remotes, model_id: str) -> None:
        self._remotes = remotes
        self._model_id = model_id
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and (latencies := self._remotes.latencies(self._model_id)) is not None:
            latencies.add(time.monotonic() - self._began)
