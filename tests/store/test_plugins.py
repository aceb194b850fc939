"""What a store concludes from the plugins of a cluster's nodes."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from mlcommons_py.errors import Unavailable
from mlcommons_py.store import Delete, Put, Store
from mlcommons_py.store.link import Link
from mlcommons_py.store.opensearch import OpenSearchStore
from scripts.opensearch import Node
from tests.opensearch import empty
from tests.store.contract import INDEX
from tests.store.faulty import Drop, Faults, Say, error, proxied


def having(*names: str) -> Say:
    """Return a cluster's word that one of its nodes has these plugins, and another none."""
    return Say(200, {"_nodes": {}, "nodes": {"n": {"plugins": [{"name": one} for one in names]}, "m": {}}})


UNTOLD = error("security_exception", "no permissions for [cluster:monitor/nodes/info]", 403)


@pytest.fixture
async def faults(opensearch: Node) -> AsyncIterator[Faults]:
    """A proxy before an empty OpenSearch; its faults hit what is asked of nodes."""
    await asyncio.to_thread(empty, opensearch)
    async with proxied(opensearch.url) as one:
        one.when = lambda _, path: path.startswith("/_nodes")
        yield one


@pytest.fixture
async def store(faults: Faults) -> AsyncIterator[OpenSearchStore]:
    """A store behind the proxy, that gives up after a second and a half."""
    one = OpenSearchStore.open(Link((faults.url,)), patience=1.5)
    yield one
    await one.close()


async def refreshed(store: Store, faults: Faults) -> list[bool]:
    """Return of one write of each kind, a chunk's the last, whether it was refreshed."""
    await store.put(INDEX, "a", {"x": 1})
    await store.update(INDEX, "a", {"x": 2})
    await store.bulk([Put(INDEX, "b", {}), Delete(INDEX, "b")])
    await store.delete(INDEX, "a")
    await store.delete_by_query(INDEX, {"match_all": {}})
    await store.put(INDEX, "c", {}, content=b"c", at_once=False)
    kinds = ("/_doc/", "/_update/", "/_bulk", "/_delete_by_query")
    written = [one.path for one in faults.heard if one.method == "POST" and any(kind in one.path for kind in kinds)]
    return ["refresh=true" in path for path in written]


async def test_writes_of_an_open_cluster(store: OpenSearchStore, faults: Faults) -> None:
    """Without these plugins no write is refreshed, and the plugins are asked for once."""
    assert await refreshed(store, faults) == [False] * 6
    assert [one.method for one in faults.heard if one.path.startswith("/_nodes")] == ["GET"]


@pytest.mark.parametrize("said", [having("a", "opensearch-security"), having("opensearch-ml"), UNTOLD])
async def test_writes_where_others_could_not_read_them(store: OpenSearchStore, faults: Faults, said: Say) -> None:
    """With Security or ML Commons, or where nobody tells, every write is refreshed but for those that may wait."""
    faults.acts = [said]

    assert await refreshed(store, faults) == [True] * 5 + [False]


async def test_writes_of_who_shows_who_it_is(faults: Faults) -> None:
    """Where the cluster knows users every write is refreshed, and nobody asks for the plugins."""
    store = OpenSearchStore.open(Link((faults.url,), user="ml-service", password="x"))

    assert await refreshed(store, faults) == [True] * 5 + [False]
    assert not [one for one in faults.heard if one.path.startswith("/_nodes")]
    await store.close()


async def test_writes_after_a_plugin_came(store: OpenSearchStore, faults: Faults) -> None:
    """Who hears later that a node has ML Commons' plugin refreshes from then on, and no more when it is gone."""
    assert await refreshed(store, faults) == [False] * 6
    faults.acts = [having("opensearch-ml")]

    assert await store.nodes_with("opensearch-ml") == {"n"}

    assert (await refreshed(store, faults))[6:] == [True] * 5 + [False]
    await store.nodes_with("opensearch-ml")
    assert (await refreshed(store, faults))[12:] == [False] * 6


async def test_writes_while_not_all_nodes_answer(store: OpenSearchStore, faults: Faults) -> None:
    """While not all nodes tell of their plugins writes are refreshed, and the next one asks again."""
    faults.acts = [Say(200, {"_nodes": {"failed": 1}, "nodes": {}})]

    assert await refreshed(store, faults) == [True] + [False] * 5


async def test_writes_while_nobody_tells(faults: Faults) -> None:
    """Where the question for the plugins alone gets no answer, writes are done all the same, and refreshed."""
    store = OpenSearchStore.open(Link((faults.url,)), patience=0.2)
    faults.always = Drop()

    assert await refreshed(store, faults) == [True] * 5 + [False]
    await store.close()


@pytest.mark.parametrize(
    "said", [error("security_exception", "no permissions for [cluster:monitor/nodes/info]", 403), Say(405, "no")]
)
async def test_nodes_that_may_not_be_asked_for(store: OpenSearchStore, faults: Faults, said: Say) -> None:
    """Where the service may not ask for the cluster's nodes, none has a plugin; nothing else depends on it."""
    faults.acts = [said]

    assert await store.nodes_with("opensearch-ml") == frozenset()


@pytest.mark.parametrize("said", [Say(500, ""), Say(200, {"_nodes": {"failed": 1}, "nodes": {}})])
async def test_nodes_that_do_not_all_answer(store: OpenSearchStore, faults: Faults, said: Say) -> None:
    """While not all nodes of the cluster tell of their plugins, nobody concludes that they have none."""
    faults.acts = [said]

    with pytest.raises(Unavailable):
        await store.nodes_with("opensearch-ml")
