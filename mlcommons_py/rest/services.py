"""What handlers work with."""

from collections.abc import Callable
from dataclasses import dataclass

from mlcommons_py.cluster_settings import ClusterSettings
from mlcommons_py.gateway.passing import Gateway
from mlcommons_py.guard.stop_words import StopWords
from mlcommons_py.inference.deployments import Deployments
from mlcommons_py.inference.predict import Predictor
from mlcommons_py.inference.remotes import Remotes
from mlcommons_py.inference.streaming import Streamer
from mlcommons_py.lifecycle.batch_jobs import BatchJobs
from mlcommons_py.lifecycle.changing import Changer
from mlcommons_py.lifecycle.deploying import Deployer
from mlcommons_py.lifecycle.keeper import Keeper
from mlcommons_py.lifecycle.registering import Registrar
from mlcommons_py.lifecycle.residents import Residents
from mlcommons_py.models.controllers import Controllers
from mlcommons_py.models.groups import Groups
from mlcommons_py.models.registry import Models
from mlcommons_py.node import Node
from mlcommons_py.nodes import Nodes
from mlcommons_py.observe.counters import Counters
from mlcommons_py.observe.elsewhere import Elsewhere
from mlcommons_py.observe.metrics import Metrics
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.remote.connectors import Connectors
from mlcommons_py.remote.transport import Transport
from mlcommons_py.rest.peers import Peers
from mlcommons_py.settings import Operator
from mlcommons_py.store import Store
from mlcommons_py.tasks.board import Tasks


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a handler may call.

    Attributes:
        elsewhere: what other processes of the service count.
        unready: returns why the service is not ready, or an empty list.
        gateway: the way to the cluster; None where there is none.
    """

    operator: Operator
    store: Store
    node: Node
    nodes: Nodes
    peers: Peers
    settings: PluginSettings
    cluster_settings: ClusterSettings
    groups: Groups
    models: Models
    tasks: Tasks
    registrar: Registrar
    changer: Changer
    connectors: Connectors
    remotes: Remotes
    residents: Residents
    batch_jobs: BatchJobs
    streamer: Streamer
    transport: Transport
    controllers: Controllers
    stop_words: StopWords
    deployer: Deployer
    keeper: Keeper
    deployments: Deployments
    predictor: Predictor
    metrics: Metrics
    counters: Counters
    elsewhere: Elsewhere
    unready: Callable[[], list[str]]
    gateway: Gateway | None = None
