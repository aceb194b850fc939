"""A real OpenSearch for the tests that ask for one; all of a run share it."""

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.opensearch import Node, running


@pytest.fixture(scope="session")
def opensearch() -> Iterator[Node]:
    """A node that is its whole cluster; what is in it stays until a test removes it."""
    with running() as node:
        yield node


def empty(node: Node) -> None:
    """Delete every index of a node, and lift what a test set."""
    _ask(node, "DELETE", "*,.plugins-ml-*")


def clear(node: Node) -> None:
    """Delete every document of the service's indices, which takes less time than to create them anew, and the others.

    The service's indices have to be as the service makes them.
    """
    names = {one["index"] for one in _ask(node, "GET", "_cat/indices?format=json&h=index&expand_wildcards=all")}
    ours = {name for name in names if name.startswith(".plugins-ml-")}
    if names > ours:
        _ask(node, "DELETE", ",".join(names - ours))
    if ours:
        _ask(node, "POST", f"{','.join(ours)}/_refresh")
        everything: dict[str, Any] = {"query": {"match_all": {}}}
        _ask(node, "POST", f"{','.join(ours)}/_delete_by_query?refresh=true&conflicts=proceed", everything)


def _ask(node: Node, method: str, path: str, body: Any = None) -> Any:
    sent = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{node.url}/{path}", sent, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that needs the node."""
    for item in items:
        if "opensearch" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.opensearch)
