"""The parts of an API server, wired."""

from dataclasses import asdict, dataclass
from typing import Any

from mlcommons_py.api_servers.beginning import Beginning
from mlcommons_py.api_servers.cards import Cards
from mlcommons_py.api_servers.channel import Channel
from mlcommons_py.api_servers.front import Front
from mlcommons_py.gateway.passing import Gateway
from mlcommons_py.gateway.pool import pool_of
from mlcommons_py.inference.outside import Outside
from mlcommons_py.inference.remotes import Remotes
from mlcommons_py.observe.counters import Counters
from mlcommons_py.observe.metrics import Metrics
from mlcommons_py.observe.numbers import Numbers
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.remote.breaker import Breaker, Suspension
from mlcommons_py.settings import EMBEDDED


@dataclass(frozen=True, slots=True)
class Parts:
    """What an API server is made of.

    Attributes:
        gateway: the way to the cluster; None where there is none.
        core: the way to the core.
    """

    front: Front
    cards: Cards
    outside: Outside
    counters: Counters
    gateway: Gateway | None
    core: Gateway

    @classmethod
    def of(cls, beginning: Beginning, channel: Channel, core: Gateway) -> "Parts":
        """Return the parts of an API server that goes by what the core told it."""
        operator = beginning.operator
        metrics, counters = Metrics(tuple), Counters()

        def found(suspension: Suspension) -> None:
            channel.tell("suspended", asdict(suspension))

        outside = Outside.of(operator, PluginSettings(operator.plugin), metrics, Remotes(), Breaker(found=found))
        cards = Cards(channel, outside, counters)
        gateway = None if operator.store == EMBEDDED else Gateway(pool_of(operator))
        return cls(Front(beginning, cards, metrics, gateway, core), cards, outside, counters, gateway, core)

    def numbers(self) -> dict[str, Any]:
        """Return what this process has counted, as the core reads it."""
        counted = Numbers(
            counts=self.counters.counts(),
            executing=self.counters.executing,
            series=self.outside.metrics.series(),
            uses=self.outside.remotes.uses(),
        )
        return counted.to_json()

    async def close(self) -> None:
        """Hang up on everybody but the core's channel."""
        await self.outside.transport.close()
        if self.gateway is not None:
            self.gateway.close()
        self.core.close()
