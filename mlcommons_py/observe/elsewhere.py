"""What the service's other processes have counted, each as it last told."""

from collections.abc import Mapping
from typing import Any, Protocol

from mlcommons_py.observe.numbers import PAST, Numbers, total


class Processes(Protocol):
    """The processes that count, too."""

    async def gather(self) -> None:
        """Have each tell its numbers now; one that does not answer in time is left out."""

    def changed(self, model_id: str) -> None:
        """Have them forget what they know of a model and of its provider."""

    def removed(self, model_id: str) -> None:
        """Have them forget that a model was here."""

    def suspended(self, told: Mapping[str, Any]) -> None:
        """Have them refuse calls of a model, or let them through again."""


class Elsewhere:
    """The numbers of the other processes, and the way to tell them of models.

    Attributes:
        processes: those there are; None where this one is alone.
    """

    def __init__(self) -> None:
        self.processes: Processes | None = None
        self._told: dict[int, Numbers] = {}

    def tell(self, process: int, numbers: Numbers) -> None:
        """Take down what a process has counted since its start; ``process`` is above 0, and its alone."""
        self._told[process] = numbers

    def ended(self, process: int) -> None:
        """Keep what a process that ended had counted."""
        if process in self._told:
            self._told[PAST] = total([self._told.get(PAST, Numbers()), self._told.pop(process).past()])

    def total(self) -> Numbers:
        """Return the sum of what all of them counted."""
        return total(self._told.values())

    async def gather(self) -> None:
        """Have each process tell its numbers now."""
        if self.processes is not None:
            await self.processes.gather()

    def changed(self, model_id: str) -> None:
        """Tell each process that what it knows of a model and of its provider does not hold any more."""
        if self.processes is not None:
            self.processes.changed(model_id)

    def suspended(self, told: Mapping[str, Any]) -> None:
        """Tell each process what calls of this one found out of a provider."""
        if self.processes is not None:
            self.processes.suspended(told)

    def removed(self, model_id: str) -> None:
        """Forget the metrics of a model that is not here any more, and have each process forget them."""
        self._told = {process: numbers.without(model_id) for process, numbers in self._told.items()}
        if self.processes is not None:
            self.processes.removed(model_id)
