"""Puts the parts of the service together."""

import asyncio
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mlcommons_py.artifacts.cache import ConvertedModels
from mlcommons_py.cluster_settings import ClusterSettings
from mlcommons_py.errors import MLCommonsError, Unavailable
from mlcommons_py.gateway.passing import Gateway
from mlcommons_py.gateway.pool import pool_of
from mlcommons_py.guard.guards import Guards
from mlcommons_py.guard.stop_words import StopWords
from mlcommons_py.inference.deployments import Deployments
from mlcommons_py.inference.outside import Outside, breaker_of
from mlcommons_py.inference.predict import Predictor
from mlcommons_py.inference.promises import Promises
from mlcommons_py.inference.remote import Caller
from mlcommons_py.inference.remotes import Remotes
from mlcommons_py.inference.streaming import Streamer
from mlcommons_py.lifecycle.admission import StoredAdmission
from mlcommons_py.lifecycle.batch_jobs import BatchJobs
from mlcommons_py.lifecycle.changing import Changer
from mlcommons_py.lifecycle.connecting import connectors_of, secrets_of
from mlcommons_py.lifecycle.deploying import Deployer
from mlcommons_py.lifecycle.intake import Intake
from mlcommons_py.lifecycle.keeper import Keeper
from mlcommons_py.lifecycle.proof import Proof
from mlcommons_py.lifecycle.reconciler import Reconciler
from mlcommons_py.lifecycle.recovery import Recovery
from mlcommons_py.lifecycle.registering import Registrar
from mlcommons_py.lifecycle.registrations import Registrations
from mlcommons_py.lifecycle.remote import RemoteModels
from mlcommons_py.lifecycle.residents import Ready, Residents
from mlcommons_py.lifecycle.vetting import Vetting
from mlcommons_py.models.controllers import Controllers
from mlcommons_py.models.documents import Model
from mlcommons_py.models.groups import Groups
from mlcommons_py.models.kept import KeptChunks
from mlcommons_py.models.registry import Models
from mlcommons_py.models.throttle import Throttle
from mlcommons_py.node import Node, identify
from mlcommons_py.nodes import Nodes
from mlcommons_py.observe.counters import Counters
from mlcommons_py.observe.elsewhere import Elsewhere
from mlcommons_py.observe.metrics import Metrics
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.remote.breaker import Breaker
from mlcommons_py.remote.connectors import Connectors
from mlcommons_py.rest.peers import Peers
from mlcommons_py.rest.services import Services
from mlcommons_py.settings import EMBEDDED, Operator
from mlcommons_py.store import Store
from mlcommons_py.tasks.board import Tasks

_START = 1.0
"""How long the start waits for the settings in the store; a cluster may be down, and they are read later."""


@dataclass(frozen=True, slots=True)
class App:
    """The service's parts, wired.

    Attributes:
        admission: what other processes of the service call remote models by, too.
        registrations: what is being registered.
        converted: the cache of converted models.
    """

    services: Services
    store: Store
    reconciler: Reconciler
    admission: StoredAdmission
    registrations: Registrations
    converted: ConvertedModels

    async def close(self) -> None:
        """Stop everything; what should be deployed stays so in the store."""
        await self.registrations.close()
        await self.converted.close()
        await self.services.keeper.close()
        await self.services.deployments.close()
        if self.services.gateway is not None:
            self.services.gateway.close()
        await self.services.peers.close()
        await self.services.transport.close()
        with suppress(MLCommonsError):  # the store may be gone before us; the others will notice by themselves
            await self.services.nodes.leave()
        await self.store.close()


@dataclass(frozen=True, slots=True)
class _Records:
    """What is kept in the store, and who keeps it."""

    operator: Operator
    store: Store
    data: Path
    settings: PluginSettings
    node: Node
    elsewhere: Elsewhere
    counters: Counters
    metrics: Metrics
    deployments: Deployments
    remotes: Remotes
    groups: Groups
    models: Models
    tasks: Tasks
    controllers: Controllers


@dataclass(frozen=True, slots=True)
class _Placing:
    """What brings models onto this node, and keeps them there."""

    converted: ConvertedModels
    proof: Proof
    residents: Residents
    nodes: Nodes
    keeper: Keeper
    deployer: Deployer


@dataclass(frozen=True, slots=True)
class _Answering:
    """What answers predicts."""

    connectors: Connectors
    stop_words: StopWords
    guards: Guards
    admission: StoredAdmission
    caller: Caller
    predictor: Predictor


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
    records = _records(operator, store, data, settings, node)
    metrics, remotes = records.metrics, records.remotes
    outside = Outside.of(operator, settings, metrics, remotes, breaker_of(metrics, remotes, records.elsewhere))

    async def ready(model_id: str, model: Model) -> None:
        await answering.caller.ready(model_id, model)

    placing = _placing(records, outside.breaker, ready, alone=alone, address=address)
    answering = _answering(records, placing, outside)
    return _service(records, placing, answering, outside, cluster_settings)


def _records(operator: Operator, store: Store, data: Path, settings: PluginSettings, node: Node) -> _Records:
    deployments = Deployments(operator.max_queued_texts, operator.predict_timeout)
    elsewhere = Elsewhere()
    metrics = Metrics(deployments.numbers, elsewhere)
    groups = Groups(store)
    models = Models(store, groups, KeptChunks(data / "uploads"))
    return _Records(
        operator=operator,
        store=store,
        data=data,
        settings=settings,
        node=node,
        elsewhere=elsewhere,
        counters=Counters(elsewhere),
        metrics=metrics,
        deployments=deployments,
        remotes=Remotes(),
        groups=groups,
        models=models,
        tasks=Tasks(store, node.id, metrics.task),
        controllers=Controllers(store, models, settings),
    )


def _placing(records: _Records, breaker: Breaker, ready: Ready, *, alone: bool, address: str | None) -> _Placing:
    operator, models, settings = records.operator, records.models, records.settings
    converted = ConvertedModels(
        records.data / "converted", operator.conversion_memory_bytes, operator.conversion_seconds
    )
    proof = Proof(models, converted, operator)
    residents = Residents(proof, records.deployments, records.remotes, ready, settings, breaker, records.metrics)
    nodes = Nodes(records.store, records.node, residents.ids, residents.idle, alone=alone, address=address)
    keeper = Keeper(records.node.id, nodes, models, records.tasks, residents)
    deployer = Deployer(records.node.id, nodes, models, records.tasks, keeper, settings, records.counters)
    return _Placing(converted, proof, residents, nodes, keeper, deployer)


def _answering(records: _Records, placing: _Placing, outside: Outside) -> _Answering:
    operator, store, models, settings = records.operator, records.store, records.models, records.settings
    secrets = secrets_of(operator, store, settings)
    connectors = connectors_of(
        secrets, store, settings, models, outside.trust, outside.functions, outside.breaker.forget
    )
    throttle = Throttle(records.controllers)

    async def ask(model_id: str, parameters: Mapping[str, str]) -> Mapping[str, Any]:
        return await predictor.predict(model_id, {"parameters": parameters})

    stop_words = StopWords(store)
    # Of other indices than its own the service may read, and no more.
    search = stop_words.search if operator.store == EMBEDDED else partial(store.search, latest=False)
    guards = outside.guards(search, ask)
    admission = StoredAdmission(
        models, connectors, throttle, placing.nodes, records.remotes, placing.deployer.deploy_for_call, settings
    )
    caller = outside.caller(guards, admission)
    predictor = Predictor(
        records.node.id,
        models,
        records.deployments,
        caller,
        settings,
        operator,
        records.metrics,
        records.counters,
        throttle,
        placing.nodes,
        Promises(outside.interfaces, guards),
    )
    return _Answering(connectors, stop_words, guards, admission, caller, predictor)


def _service(
    records: _Records,
    placing: _Placing,
    answering: _Answering,
    outside: Outside,
    cluster_settings: ClusterSettings,
) -> App:
    operator, models, tasks = records.operator, records.models, records.tasks
    settings, counters = records.settings, records.counters
    connectors, deployer, caller = answering.connectors, placing.deployer, answering.caller
    remote_models = RemoteModels(
        records.groups, models, tasks, connectors, deployer, settings, counters, outside.breaker
    )
    vetting = Vetting(models, outside.interfaces, answering.guards)
    intake = Intake(records.groups, models, tasks, placing.proof, settings, operator)
    registrations = Registrations(models, tasks, placing.proof, intake, deployer, settings, counters)
    registrar = Registrar(
        records.groups,
        models,
        placing.proof,
        registrations,
        deployer,
        remote_models,
        vetting,
        settings,
        operator,
        counters,
    )
    batch_jobs = BatchJobs(models, tasks, caller, settings, counters)
    reconciler = Reconciler(
        placing.nodes,
        cluster_settings,
        models,
        tasks,
        Recovery(models, tasks, placing.proof, intake, placing.converted, registrations),
        deployer,
        placing.keeper,
        batch_jobs,
        operator.heartbeat_seconds,
    )
    services = Services(
        operator=operator,
        store=records.store,
        node=records.node,
        nodes=placing.nodes,
        peers=Peers(operator.predict_timeout, [one for one in (operator.tls_cert, operator.store_ca) if one]),
        settings=settings,
        cluster_settings=cluster_settings,
        groups=records.groups,
        models=models,
        tasks=tasks,
        registrar=registrar,
        changer=Changer(models, remote_models, vetting, placing.keeper),
        connectors=connectors,
        remotes=records.remotes,
        residents=placing.residents,
        batch_jobs=batch_jobs,
        streamer=Streamer(caller, records.remotes, settings, counters),
        transport=outside.transport,
        controllers=records.controllers,
        stop_words=answering.stop_words,
        deployer=deployer,
        keeper=placing.keeper,
        deployments=records.deployments,
        predictor=answering.predictor,
        metrics=records.metrics,
        counters=counters,
        elsewhere=records.elsewhere,
        unready=reconciler.unready,
        gateway=None if operator.store == EMBEDDED else Gateway(pool_of(operator)),
    )
    return App(services, records.store, reconciler, answering.admission, registrations, placing.converted)
