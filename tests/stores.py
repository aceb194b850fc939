"""The kinds of store: each test that keeps documents runs on every one of them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mlcommons_py.app import open_store
from mlcommons_py.settings import EMBEDDED, Operator
from mlcommons_py.store import Store
from scripts.opensearch import Node
from tests.opensearch import clear, empty

KINDS = (EMBEDDED, "opensearch")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for a kind of store on every one, or on that which its marker names."""
    if "store_kind" not in metafunc.fixturenames:
        return
    only = metafunc.definition.get_closest_marker("only")
    if only is None:
        kinds = KINDS
    else:
        kinds = only.args
        assert set(kinds) < set(KINDS), f"{metafunc.definition.nodeid}: {kinds} are not some of {KINDS}"
        assert only.kwargs.get("reason"), f"{metafunc.definition.nodeid} runs on {kinds} only: say why, by [reason]"
    marks = {"opensearch": [pytest.mark.opensearch]}
    parameters = [pytest.param(one, marks=marks.get(one, [])) for one in kinds]
    metafunc.parametrize("store_kind", parameters, scope="module")


@pytest.fixture(scope="module")
def fresh(store_kind: str, request: pytest.FixtureRequest) -> Node | None:
    """A node without an index, whatever the module before did to it; None for the embedded kind."""
    if store_kind == EMBEDDED:
        return None
    node: Node = request.getfixturevalue("opensearch")
    empty(node)
    return node


@pytest.fixture
def at(fresh: Node | None) -> str:
    """What ``Operator.store`` says of a store of this kind, without a document."""
    if fresh is None:
        return EMBEDDED
    clear(fresh)
    return fresh.url


@pytest.fixture
async def store(at: str, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store."""
    one = await open_store(Operator(data=tmp_path, store=at))
    yield one
    await one.close()
