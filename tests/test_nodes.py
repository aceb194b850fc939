"""The nodes that share a store, as they tell each other of themselves."""

import asyncio

from mlcommons_py.node import Node
from mlcommons_py.nodes import APART, PATIENCE, Nodes
from mlcommons_py.store import Store
from tests.store.hooked import HookedStore

MODEL = "m" * 20


def joined(store: Store, node_id: str, running: list[str]) -> Nodes:
    """Return a node's own view of the nodes of a store."""
    node = Node(node_id, node_id, "cluster")
    return Nodes(store, node, lambda: running, alone=False, address=f"http://{node_id}")


async def test_address_of_a_model_deployed_this_moment(store: Store) -> None:
    """A model that another node has just told of is found there, however short ago this one looked."""
    running: list[str] = []
    one, other = joined(store, "one", running), joined(store, "other", [])
    await one.beat()
    await other.look()
    running.append(MODEL)
    await one.beat()

    assert await other.addresses(MODEL) == ["http://one"]


async def test_a_look_whose_client_goes_away(store: Store) -> None:
    """Who shares a look with a client that goes away takes one of their own."""
    hooked = HookedStore(store)
    one, other = joined(store, "one", [MODEL]), joined(hooked, "other", [])
    await one.beat()
    async with hooked.stopped(lambda call: call.name == "search", after=False) as stop:
        left = asyncio.create_task(other.addresses(MODEL))
        await stop.reached.wait()
        stays = asyncio.create_task(other.addresses(MODEL))
        await asyncio.sleep(0)
        left.cancel()

        assert await stays == ["http://one"]


async def test_many_ask_for_one_look(store: Store) -> None:
    """All who ask at once for a model that runs nowhere share a look, which is not put off for ever."""
    other = joined(store, "other", [])

    async with asyncio.timeout(50 * APART / 2):
        assert await asyncio.gather(*(other.addresses(MODEL) for _ in range(50))) == [[]] * 50


async def test_who_may_be_gone(store: Store) -> None:
    """Of a node that a first look finds nobody knows whether it lives, until it tells something new, or is gone."""
    one, dead, other = joined(store, "one", []), joined(store, "dead", []), joined(store, "other", [])
    await one.beat()
    await dead.beat()
    await other.look()
    assert (other.unsure(), other.alive()) == (["dead", "one"], ["dead", "one", "other"])

    await one.beat()
    await joined(store, "new", []).beat()
    await other.look(ages=False)
    assert other.unsure() == ["dead"]

    for _ in range(PATIENCE):
        await one.beat()
        await other.look()
    assert (other.unsure(), other.is_gone("dead")) == ([], True)
