"""The nodes that share a store, as they tell each other of themselves."""

import asyncio

from mlcommons_py.node import Node
from mlcommons_py.nodes import APART, Nodes
from mlcommons_py.store import Store

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


async def test_many_ask_for_one_look(store: Store) -> None:
    """All who ask at once for a model that runs nowhere share a look, which is not put off for ever."""
    other = joined(store, "other", [])

    async with asyncio.timeout(50 * APART / 2):
        assert await asyncio.gather(*(other.addresses(MODEL) for _ in range(50))) == [[]] * 50
