"""Puts the service together, and runs it."""

import asyncio
import ipaddress
import platform
import signal
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from mlcommons_py import __version__, content, garbage, malloc
from mlcommons_py.artifacts.cache import ConvertedModels
from mlcommons_py.cluster_settings import ClusterSettings
from mlcommons_py.errors import MLCommonsError, Unavailable
from mlcommons_py.gateway.passing import Gateway
from mlcommons_py.gateway.pool import pool_of
from mlcommons_py.guard.guardrail import Means
from mlcommons_py.guard.guards import Guards
from mlcommons_py.guard.stop_words import StopWords
from mlcommons_py.inference.deployments import Deployments
from mlcommons_py.inference.predict import Predictor
from mlcommons_py.inference.promises import Promises
from mlcommons_py.inference.remote import Caller
from mlcommons_py.inference.remotes import Remotes
from mlcommons_py.inference.streaming import Streamer
from mlcommons_py.lifecycle.batch_jobs import BatchJobs
from mlcommons_py.lifecycle.connecting import connectors_of, secrets_of
from mlcommons_py.lifecycle.deploying import Deployer
from mlcommons_py.lifecycle.intake import Intake
from mlcommons_py.lifecycle.keeper import Keeper
from mlcommons_py.lifecycle.proof import Proof
from mlcommons_py.lifecycle.reconciler import Reconciler
from mlcommons_py.lifecycle.registering import Registrar
from mlcommons_py.lifecycle.remote import RemoteModels
from mlcommons_py.lifecycle.residents import Residents
from mlcommons_py.lifecycle.vetting import Vetting
from mlcommons_py.models.controllers import Controllers
from mlcommons_py.models.documents import Model
from mlcommons_py.models.groups import Groups
from mlcommons_py.models.interface import Interfaces
from mlcommons_py.models.kept import KeptChunks
from mlcommons_py.models.registry import Models
from mlcommons_py.models.throttle import Throttle
from mlcommons_py.node import hold, identify
from mlcommons_py.nodes import Nodes
from mlcommons_py.observe.counters import Counters
from mlcommons_py.observe.logs import configure
from mlcommons_py.observe.metrics import Metrics
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.remote.breaker import Breaker
from mlcommons_py.remote.functions import Functions
from mlcommons_py.remote.transport import Transport
from mlcommons_py.remote.trust import Trust
from mlcommons_py.rest.binding import tls_of
from mlcommons_py.rest.door import web_app
from mlcommons_py.rest.peers import Peers
from mlcommons_py.rest.routes import table
from mlcommons_py.rest.server import listen, serve
from mlcommons_py.rest.services import Services
from mlcommons_py.settings import EMBEDDED, STORE, Operator
from mlcommons_py.store import Store
from mlcommons_py.store.embedded import EmbeddedStore
from mlcommons_py.tasks.board import Tasks

_START = 1.0
"""How long the start waits for the settings in the store; a cluster may be down, and they are read later."""


@dataclass(frozen=True, slots=True)
class App:
    """The service's parts, wired."""

    services: Services
    store: Store
    reconciler: Reconciler

    async def close(self) -> None:
        """Stop everything; what should be deployed stays so in the store."""
        await self.services.registrar.close()
        await self.services.keeper.close()
        await self.services.deployments.close()
        if self.services.gateway is not None:
            self.services.gateway.close()
        await self.services.peers.close()
        await self.services.transport.close()
        with suppress(MLCommonsError):  # the store may be gone before us; the others will notice by themselves
            await self.services.nodes.leave()
        await self.store.close()


async def wire(operator: Operator, store: Store, data: Path, *, alone: bool = True, address: str | None = None) -> App:
    """Return the service over a store, its settings loaded, and nothing running yet.

    ``alone`` says that no other process uses the store, ``address`` at which URL the others reach this one.
    """
    settings = PluginSettings(operator.plugin)
    cluster_settings = ClusterSettings(store, settings, shared=not alone)
    with suppress(Unavailable, TimeoutError):
        async with asyncio.timeout(_START):
            await cluster_settings.load()
    node = await asyncio.to_thread(identify, data, platform.node())
    counters = Counters()
    deployments, remotes = Deployments(operator.max_queued_texts), Remotes()
    metrics = Metrics(deployments.numbers)
    groups = Groups(store)
    models = Models(store, groups, KeptChunks(data / "uploads"))
    tasks = Tasks(store, node.id, metrics.task)
    converted = ConvertedModels(data / "converted", operator.conversion_memory_bytes, operator.conversion_seconds)
    proof = Proof(models, converted, operator)
    breaker = Breaker(changed=metrics.suspended)

    async def ready(model_id: str, model: Model) -> None:
        await caller.ready(model_id, model)

    residents = Residents(proof, deployments, remotes, ready, settings, breaker, metrics)
    nodes = Nodes(store, node, residents.ids, residents.idle, alone=alone, address=address)
    keeper = Keeper(node.id, nodes, models, tasks, residents)
    deployer = Deployer(node.id, nodes, models, tasks, keeper, settings, counters)

    trust = Trust(settings, operator.private_endpoints)
    functions = Functions(content.providers())
    secrets = secrets_of(operator, store, settings)
    connectors = connectors_of(secrets, store, settings, models, trust, functions, breaker.forget)
    controllers = Controllers(store, models, settings)
    throttle = Throttle(controllers)

    async def ask(model_id: str, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        return await predictor.predict(model_id, {"parameters": parameters})

    stop_words = StopWords(store)
    search = stop_words.search if operator.store == EMBEDDED else store.search
    means = Means(search, ask, partial(content.read, "guardrails"))
    guards, interfaces = Guards(means, content.guardrails()), Interfaces()
    transport = Transport(trust, settings, authorities=operator.remote_ca, breaker=breaker, observe=metrics.called)
    caller = Caller(
        models,
        connectors,
        transport,
        functions,
        guards,
        interfaces,
        throttle,
        nodes,
        remotes,
        deployer.deploy_for_call,
        settings,
        metrics,
        operator.max_queued_texts,
    )
    promises = Promises(interfaces, guards)
    predictor = Predictor(
        node.id, models, deployments, caller, settings, operator, metrics, counters, throttle, nodes, promises
    )
    remote_models = RemoteModels(groups, models, tasks, connectors, deployer, settings, counters, breaker)
    intake = Intake(groups, models, tasks, proof, settings, operator)
    registrar = Registrar(
        groups, models, tasks, proof, intake, deployer, remote_models, converted, settings, operator, counters
    )
    batch_jobs = BatchJobs(models, tasks, caller, settings, counters)
    reconciler = Reconciler(
        nodes,
        cluster_settings,
        models,
        tasks,
        registrar,
        deployer,
        keeper,
        batch_jobs,
        operator.heartbeat_seconds,
    )
    services = Services(
        operator=operator,
        node=node,
        nodes=nodes,
        peers=Peers(operator.predict_timeout, [one for one in (operator.tls_cert, operator.store_ca) if one]),
        settings=settings,
        cluster_settings=cluster_settings,
        groups=groups,
        models=models,
        tasks=tasks,
        registrar=registrar,
        remote_models=remote_models,
        connectors=connectors,
        remotes=remotes,
        residents=residents,
        batch_jobs=batch_jobs,
        streamer=Streamer(caller, remotes, settings, counters),
        transport=transport,
        vetting=Vetting(models, interfaces, guards),
        controllers=controllers,
        stop_words=stop_words,
        deployer=deployer,
        keeper=keeper,
        deployments=deployments,
        predictor=predictor,
        metrics=metrics,
        counters=counters,
        unready=reconciler.unready,
        gateway=None if operator.store == EMBEDDED else Gateway(pool_of(operator)),
    )
    return App(services, store, reconciler)


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


def _reachable(host: str) -> str:
    """Return a name for an address that this process listens on, by which other machines may know it."""
    name = socket.getfqdn() if ipaddress.ip_address(host).is_unspecified else host
    return f"[{name}]" if ":" in name else name


async def _run(operator: Operator) -> None:
    data = operator.data
    tls = tls_of(operator)
    scheme = "http" if tls is None else "https"
    listening = listen(operator.host, operator.port)
    held = None if operator.store == EMBEDDED else hold(data)  # the embedded store has a lock of its own
    store = await open_store(operator)
    host, port = listening.getsockname()[:2]
    address = operator.publish_url or f"{scheme}://{_reachable(host)}:{port}"
    app = await wire(operator, store, data, alone=operator.store == EMBEDDED, address=address)

    def serves() -> None:
        print(f"mlcommons-py {__version__} serves on {scheme}://{host}:{port}", flush=True)  # noqa: T201

    routes = web_app(app.services, table(cluster=app.services.gateway is not None))
    garbage.settle()
    reconciling = asyncio.create_task(app.reconciler.run())
    try:
        await serve(routes, listening, operator.shutdown_seconds, serves, tls=tls)
    finally:
        reconciling.cancel()
        await asyncio.wait([reconciling])
        await app.close()
        if held is not None:
            held.close()


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
