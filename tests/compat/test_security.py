"""A cluster with the security plugin: the service's user there, and the users who call the service."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compat.secured import SecuredNode

pytestmark = pytest.mark.compat

PASSWORD = "a-Long-and-1-Winding-road"  # the plugin refuses weak ones
NODE = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredNode]:
    """A node that knows the service's user and the users ann and bob."""
    with tempfile.TemporaryDirectory(prefix="opensearch-") as directory:
        one = SecuredNode(Path(directory), tmp_path_factory.mktemp("certificates"))
        try:
            one.start()
            for user in ("ml-service", "ann", "bob"):
                one.administer(f"internalusers/{user}", {"password": PASSWORD})
            yield one
        finally:
            one.stop()


def test_boots(node: SecuredNode) -> None:
    with node.client("ann", PASSWORD) as ann:
        print(ann.get("/_plugins/_security/authinfo").text)
    assert 0
