"""Puts the service together, and runs it."""

import asyncio
import contextlib
import logging
import platform
import signal
from dataclasses import dataclass
from pathlib import Path

import uvloop

from mlcommons_py import __version__, malloc
from mlcommons_py.artifacts.cache import ConvertedModels
from mlcommons_py.cluster_settings import ClusterSettings
from mlcommons_py.errors import Unavailable
from mlcommons_py.gateway.passing import Gateway
from mlcommons_py.gateway.pool import pool_of
from mlcommons_py.inference.deployments import Deployments
from mlcommons_py.inference.predict import Predictor
from mlcommons_py.lifecycle.deploying import Deployer
from mlcommons_py.lifecycle.intake import Intake
from mlcommons_py.lifecycle.keeper import Keeper
from mlcommons_py.lifecycle.proof import Proof
from mlcommons_py.lifecycle.registering import Registrar
from mlcommons_py.models.groups import Groups
from mlcommons_py.models.registry import Models
from mlcommons_py.node import identify
from mlcommons_py.observe.counters import Counters
from mlcommons_py.observe.logs import configure
from mlcommons_py.observe.metrics import Metrics
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.rest.binding import tls_of
from mlcommons_py.rest.door import web_app
from mlcommons_py.rest.routes import table
from mlcommons_py.rest.server import listen, serve
from mlcommons_py.rest.services import Services
from mlcommons_py.settings import EMBEDDED, STORE, Operator
from mlcommons_py.store import Store
from mlcommons_py.store.embedded import EmbeddedStore
from mlcommons_py.tasks.board import Tasks

log = logging.getLogger(__name__)

_RESTORE_PAUSE = 5.0
_RETRY_PAUSE = 0.5
_START = 1.0
_FOLLOW_SECONDS = 2.0


@dataclass(slots=True)
class Obstacle:
    """Why the service cannot read from the store what should be; empty if it can."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class App:
    """The service's parts, wired."""

    services: Services
    store: Store
    obstacle: Obstacle

    async def restore(self) -> None:
        """Bring about what the store says should be; whatever is in the way of it, it may be gone the next time."""
        while True:
            try:
                await self.services.cluster_settings.load()
                await self.services.registrar.restore()
                await self.services.keeper.restore()
            except Unavailable as fault:
                if fault.reason != self.obstacle.reason:
                    log.warning("waiting for the store: %s", fault.reason)
                self.obstacle.reason = fault.reason
                await asyncio.sleep(_RETRY_PAUSE)
            except Exception:
                log.exception("cannot read what should be deployed; trying again in %.0f s", _RESTORE_PAUSE)
                await asyncio.sleep(_RESTORE_PAUSE)
            else:
                self.obstacle.reason = ""
                return

    async def close(self) -> None:
        """Stop everything; what should be deployed stays so in the store."""
        await self.services.registrar.close()
        await self.services.keeper.close()
        await self.services.deployments.close()
        if self.services.gateway is not None:
            self.services.gateway.close()
        await self.store.close()


async def wire(operator: Operator, store: Store, data: Path) -> App:
    """Return the service over a store, its settings loaded, and nothing running yet."""
    settings = PluginSettings(operator.plugin)
    shared = operator.store != EMBEDDED
    cluster_settings = ClusterSettings(store, settings, shared=shared)
    # A cluster may be down now; then restore() loads them.
    with contextlib.suppress(Unavailable, TimeoutError):
        async with asyncio.timeout(_START):
            await cluster_settings.load()
    obstacle = Obstacle()
    node = await asyncio.to_thread(identify, data, platform.node())
    groups = Groups(store)
    models = Models(store, groups)
    counters = Counters()
    deployments = Deployments(operator.max_queued_texts)
    metrics = Metrics(deployments.numbers)
    tasks = Tasks(store, node.id, metrics.task)
    converted = ConvertedModels(data / "converted", operator.conversion_memory_bytes, operator.conversion_seconds)
    proof = Proof(models, converted, operator)
    intake = Intake(groups, models, tasks, proof, settings, operator)
    keeper = Keeper(node.id, models, tasks, proof, deployments, settings)
    deployer = Deployer(node.id, models, tasks, keeper, settings, counters)
    services = Services(
        operator=operator,
        node=node,
        settings=settings,
        cluster_settings=cluster_settings,
        groups=groups,
        models=models,
        tasks=tasks,
        registrar=Registrar(groups, models, tasks, proof, intake, deployer, converted, settings, operator, counters),
        deployer=deployer,
        keeper=keeper,
        deployments=deployments,
        predictor=Predictor(models, deployments, settings, operator, metrics, counters),
        metrics=metrics,
        counters=counters,
        unready=lambda: _missing(obstacle, keeper),
        gateway=Gateway(pool_of(operator)) if shared else None,
    )
    return App(services, store, obstacle)


def _missing(obstacle: Obstacle, keeper: Keeper) -> list[str]:
    if obstacle.reason:
        return [f"the store: {obstacle.reason}"]
    return ["the models of the last run"] if (left := keeper.returning()) is None else left


async def open_store(operator: Operator) -> Store:
    """Return the store that the operator chose; a cluster need not be up yet.

    Raises:
        Unavailable: the embedded store's file cannot be used.
        IllegalArgument: a file of secrets or certificates cannot be used.
    """
    if operator.store == EMBEDDED:
        return await EmbeddedStore.open(operator.data / STORE)
    # Not needed by who has no cluster: a third of a second, and 20 MB.
    from mlcommons_py.store.link import link_of
    from mlcommons_py.store.opensearch import OpenSearchStore

    return OpenSearchStore.open(link_of(operator))


async def _run(operator: Operator) -> None:
    data = operator.data
    tls = tls_of(operator)
    listening = listen(operator.host, operator.port)
    store = await open_store(operator)
    app = await wire(operator, store, data)
    host, port = listening.getsockname()[:2]
    scheme = "http" if tls is None else "https"

    def serves() -> None:
        print(f"mlcommons-py {__version__} serves on {scheme}://{host}:{port}", flush=True)  # noqa: T201

    background = [asyncio.create_task(app.restore())]
    if app.services.gateway is not None:
        background.append(asyncio.create_task(app.services.cluster_settings.follow(_FOLLOW_SECONDS)))
    try:
        await serve(
            web_app(app.services, table(cluster=app.services.gateway is not None)),
            listening,
            operator.shutdown_seconds,
            serves,
        )
    finally:
        for task in background:
            task.cancel()
        await asyncio.wait(background)
        await app.close()


def run(operator: Operator) -> int:
    """Serve until told to stop; return the exit status.

    Raises:
        Unavailable: the address or the data directory cannot be used.
        IllegalArgument: a certificate cannot be used, or the address is open to other machines without protection.
    """
    configure(operator.log_level)
    malloc.tune(mapped_from=1 << 20)  # chunks of models pass through, 10 MB each
    # Until the server takes the signals over, they end the process as they always do.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(operator))
    return 0
