"""Programs with three processes that serve HTTP, on each kind of store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.opensearch import Node
from tests.api_servers.several import several
from tests.e2e.service import Service
from tests.e2e.test_remote import OPEN, Provider
from tests.opensearch import empty


class Rig:
    """A program, and the provider that its models call."""

    def __init__(self, service: Service, provider: Provider) -> None:
        self.service = service
        self.provider = provider

    def connector(self, path: str = "/chat") -> str:
        """Make a connector to a path of the provider, and return its id."""
        return self.provider.connector(self.service, path)

    def model(self, connector_id: str, **fields: object) -> str:
        """Register and deploy a model, and return its id."""
        return self.provider.model(self.service, connector_id, **fields)


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    """A provider that follows a test's script."""
    made = Provider()
    yield made
    made.close()


@pytest.fixture(scope="module")
def store() -> str:
    """The kind of store that the programs of a module keep their documents in."""
    return "embedded"


@pytest.fixture(scope="module")
def rig(
    store: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, provider: Provider
) -> Iterator[Rig]:
    """A program of three processes that the tests of a module share."""
    flags: tuple[str, ...] = ()
    if store == "opensearch":
        node: Node = request.getfixturevalue("opensearch")
        empty(node)
        flags = ("--store", node.url)
    with several(Service(tmp_path_factory.mktemp("several") / "data", *OPEN, flags=flags)) as service:
        yield Rig(service, provider)


@pytest.fixture
def own(tmp_path: Path, provider: Provider) -> Iterator[Rig]:
    """A program of three processes that a test has for itself."""
    with several(Service(tmp_path / "data", *OPEN)) as service:
        yield Rig(service, provider)
