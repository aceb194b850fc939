"""The way out to providers, as each process that calls them has one."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from mlcommons_py import content
from mlcommons_py.guard.guardrail import Means
from mlcommons_py.guard.guards import Guards
from mlcommons_py.inference.admission import Admission
from mlcommons_py.inference.remote import Caller
from mlcommons_py.inference.remotes import Remotes
from mlcommons_py.models.interface import Interfaces
from mlcommons_py.observe.elsewhere import Elsewhere
from mlcommons_py.observe.metrics import Metrics
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.remote.breaker import Breaker, Suspension
from mlcommons_py.remote.functions import Functions
from mlcommons_py.remote.transport import Transport
from mlcommons_py.remote.trust import Trust
from mlcommons_py.settings import Operator

Search = Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
Ask = Callable[[str, Mapping[str, str]], Awaitable[Mapping[str, Any]]]


def breaker_of(metrics: Metrics, remotes: Remotes, elsewhere: Elsewhere) -> Breaker:
    """Return the core's breaker: it shows in the metrics what is suspended, and tells the other processes."""

    def shown(model_id: str, is_open: bool) -> None:
        if not is_open or model_id in remotes:
            metrics.suspended(model_id, is_open)

    def found(suspension: Suspension) -> None:
        elsewhere.suspended(asdict(suspension))

    return Breaker(changed=shown, forgotten=elsewhere.changed, found=found)


@dataclass(frozen=True, slots=True)
class Outside:
    """What speaks with providers, whoever asks.

    Attributes:
        trust: decides what may be called.
        functions: the pre- and post-process functions that there are.
        breaker: what of calls' faults is known.
    """

    operator: Operator
    settings: PluginSettings
    metrics: Metrics
    remotes: Remotes
    trust: Trust
    functions: Functions
    breaker: Breaker
    transport: Transport
    interfaces: Interfaces

    @classmethod
    def of(
        cls,
        operator: Operator,
        settings: PluginSettings,
        metrics: Metrics,
        remotes: Remotes,
        breaker: Breaker,
    ) -> "Outside":
        """Return the way out that an operator's choice and the settings allow; nothing is connected yet.

        Calls of models that are not among ``remotes`` are not counted: their numbers would never be dropped.

        Raises:
            IllegalArgument: ``private_endpoints`` has something in it that is no host and no range.
        """

        def called(model_id: str, status: int, seconds: float, attempts: int) -> None:
            if model_id in remotes:
                metrics.called(model_id, status, seconds, attempts)

        trust = Trust(settings, operator.private_endpoints)
        return cls(
            operator=operator,
            settings=settings,
            metrics=metrics,
            remotes=remotes,
            trust=trust,
            functions=Functions(content.providers()),
            breaker=breaker,
            transport=Transport(trust, settings, authorities=operator.remote_ca, breaker=breaker, observe=called),
            interfaces=Interfaces(),
        )

    def guards(self, search: Search, ask: Ask) -> Guards:
        """Return the guardrails of models; ``search`` and ``ask`` are what some of them work with."""
        return Guards(Means(search, ask, partial(content.read, "guardrails")), content.guardrails())

    def caller(self, guards: Guards, admission: Admission) -> Caller:
        """Return what calls remote models."""
        return Caller(
            admission,
            self.transport,
            self.functions,
            guards,
            self.interfaces,
            self.remotes,
            self.settings,
            self.metrics,
            self.operator.max_queued_texts,
        )
