"""Connectors in a real OpenSearch, whose own fields for credentials behave in their own way."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from mlcommons_py.errors import CredentialUnreadable
from mlcommons_py.remote.documents import CONNECTORS
from mlcommons_py.remote.keys import CONFIG, MASTER_KEY, PREVIOUS
from mlcommons_py.remote.rotation import Rotation
from mlcommons_py.remote.secrets import Secrets
from mlcommons_py.store.link import Link
from mlcommons_py.store.opensearch import OpenSearchStore
from scripts.opensearch import Node
from tests.opensearch import empty
from tests.remote.making import connectors, keyed, keys, openai

MODELS = ".plugins-ml-model"


@pytest.fixture
async def cluster(opensearch: Node) -> AsyncIterator[OpenSearchStore]:
    """An empty store in the real OpenSearch."""
    await asyncio.to_thread(empty, opensearch)
    store = OpenSearchStore.open(Link((opensearch.url,)))
    yield store
    await store.close()


async def test_the_whole_way(cluster: OpenSearchStore) -> None:
    """Connectors are created by services that race for the key, changed, found, rotated and deleted in a cluster."""
    services = [connectors(cluster) for _ in range(3)]
    created = await asyncio.gather(*(one.create(openai(name=f"n{n}")) for n, one in enumerate(services)))
    ids = [one["connector_id"] for one in created]
    assert await services[0].count() == 3
    own = await services[0].own.made(openai(), "m")
    await cluster.put(MODELS, "m", {"name": "m", "algorithm": "REMOTE", "connector": own, "created_time": 1})

    await services[1].update(ids[0], {"parameters": {"n": 1}, "credential": {"openAI_key": "new"}})
    found = await services[2].search({"query": {"match": {"name": "n0"}}})
    done = await Rotation(cluster, Secrets(keys(cluster))).run()

    assert [hit["_id"] for hit in found["hits"]["hits"]] == [ids[0]]
    assert found["hits"]["hits"][0]["_source"]["parameters"]["n"] == "1"
    assert (done.changed, done.unreadable) == (4, {})
    assert await cluster.get(CONFIG, PREVIOUS) is None
    secrets = ["new", "the-canary-in-the-coal-mine", "the-canary-in-the-coal-mine"]
    assert [(await connectors(cluster).recent(one))[1]["openAI_key"] for one in ids] == secrets
    assert (await services[0].delete(ids[1])).result == "deleted"


async def test_a_lost_key(cluster: OpenSearchStore) -> None:
    """No key is made while a connector, or only a model, has a credential (test 19)."""
    made = (await connectors(cluster).create(openai()))["connector_id"]
    await cluster.delete(CONFIG, MASTER_KEY)
    with pytest.raises(CredentialUnreadable, match="the master key is lost"):
        await connectors(cluster).create(openai())
    own: dict[str, Any] = {"name": "x", "credential": {"k": "v"}}
    await cluster.put(MODELS, "m", {"name": "m", "connector": own})
    await cluster.delete(CONNECTORS, made)

    with pytest.raises(CredentialUnreadable, match="the master key is lost"):
        await connectors(cluster).create(openai())

    assert await cluster.get(CONFIG, MASTER_KEY) is None


async def test_values_as_long_as_may_be(cluster: OpenSearchStore) -> None:
    """What the checks let through in length is stored: a cluster's fields hold 32,766 bytes."""
    longest = keyed(
        parameters={"endpoint": "api.openai.com", "p": "é" * 15_900},
        credential={"k" * 100: "x" * 15_800},
    )
    longest["actions"][0]["request_body"] = f'"{"x" * 31_998}"'

    made = (await connectors(cluster).create(longest))["connector_id"]

    assert (await connectors(cluster).recent(made))[1] == longest["credential"]
