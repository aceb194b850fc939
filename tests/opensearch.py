"""A real OpenSearch for the tests that ask for one; all of a run share it."""

import urllib.request
from collections.abc import Iterator

import pytest

from scripts.opensearch import Node, running


@pytest.fixture(scope="session")
def opensearch() -> Iterator[Node]:
    """A node that is its whole cluster; what is in it stays until a test removes it."""
    with running() as node:
        yield node


def empty(node: Node) -> None:
    """Delete every index of a node, and lift what a test set."""
    request = urllib.request.Request(f"{node.url}/*,.plugins-ml-*", method="DELETE")
    with urllib.request.urlopen(request, timeout=30):
        pass


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that needs the node."""
    for item in items:
        if "opensearch" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.opensearch)
