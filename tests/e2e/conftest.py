"""Running programs, on each kind of store."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from mlcommons_py.settings import EMBEDDED
from scripts.opensearch import Node, placed
from tests.e2e.service import Run, Service, running
from tests.opensearch import empty

TINY = {
    "model_format": "TORCH_SCRIPT",
    "model_config": {"model_type": "bert", "embedding_dimension": 32, "framework_type": "sentence_transformers"},
}
"""What the small archive is registered with."""

Start = Callable[..., Service]
"""Starts a service, by name, on the cluster."""


@pytest.fixture(scope="session")
def own_cluster() -> Iterator[Node]:
    """A second node, for programs that a test has for itself while others share one: with k-NN, and snapshots."""
    with placed(flavour="knn") as node:
        (snapshots := node.directory / "snapshots").mkdir()
        yield node.start({"path.repo": str(snapshots)})


@pytest.fixture
def own(store_kind: str, request: pytest.FixtureRequest) -> str:
    """What ``--store`` says of an empty store that is the test's own."""
    if store_kind == EMBEDDED:
        return EMBEDDED
    node: Node = request.getfixturevalue("own_cluster")
    empty(node)
    return node.url


@pytest.fixture
def run(own: str) -> Run:
    """How a test starts a program of its own on an empty store."""
    return partial(running, flags=("--store", own))


@pytest.fixture
def service(tmp_path: Path, run: Run) -> Iterator[Service]:
    """A program of the test's own."""
    with run(tmp_path / "data") as one:
        yield one


@pytest.fixture(scope="module")
def shared(fresh: Node | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A program that the tests of a module share."""
    flags = () if fresh is None else ("--store", fresh.url)
    with running(tmp_path_factory.mktemp("shared") / "data", flags=flags) as one:
        yield one


@pytest.fixture(scope="module")
def minilm(shared: Service, minilm_zip: Path) -> str:
    """The id of all-MiniLM-L6-v2, deployed in the shared program."""
    return shared.deployed(minilm_zip.read_bytes(), name="all-MiniLM-L6-v2")


@pytest.fixture(scope="session")
def tiny() -> bytes:
    """A small TorchScript archive: a BERT of two layers, 32 dimensions, mean pooling, normalised."""
    return (Path(__file__).parents[1] / "data" / "traced" / "bert-mean-normalized.zip").read_bytes()


@pytest.fixture
def start(opensearch: Node, tmp_path: Path) -> Iterator[Start]:
    """Starts services, by name, on the cluster."""
    services: dict[str, Service] = {}
    empty(opensearch)

    def make(
        name: str,
        *settings: str,
        url: str | None = None,
        data: str | None = None,
        wait_ready: bool = True,
        environment: dict[str, str] | None = None,
    ) -> Service:
        custom = "plugins.ml_commons.allow_custom_deployment_plan=true"
        config = tmp_path / "config.toml"
        config.write_text("heartbeat_seconds = 0.4\n")  # a dead service is noticed after five
        flags = ("--store", url or opensearch.url, "--config", str(config))
        if name in services:
            services[name].close()
        service = services[name] = Service(tmp_path / (data or name), custom, *settings, flags=flags)
        service.environment = environment or {}
        return service.start(wait_ready=wait_ready)

    yield make
    for service in services.values():
        service.close()
    empty(opensearch)
