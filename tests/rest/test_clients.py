"""OpenSearch's own Python client, over a real socket."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
from opensearchpy import OpenSearch
from opensearchpy.exceptions import NotFoundError, RequestError, TransportError

from mlcommons_py.rest.routes import table
from mlcommons_py.rest.server import listen, serve
from mlcommons_py.rest.services import Services
from mlcommons_py.rest.web import web_app

MODELS = "plugins.ml_commons.max_model_on_node"


@pytest.fixture
async def port(services: Services) -> AsyncIterator[int]:
    """The port of a server of the whole API."""
    listening, serves = listen("127.0.0.1", 0), asyncio.Event()
    port = listening.getsockname()[1]
    routes = table(cluster=services.gateway is not None)
    task = asyncio.ensure_future(serve(web_app(services, routes), listening, 10, serves.set))
    await asyncio.wait_for(serves.wait(), 10)
    yield port
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(task, 20)


@pytest.mark.parametrize("compressed", [False, True])
async def test_opensearch_py(port: int, compressed: bool) -> None:
    """opensearch-py connects, sets a setting, founds a group and finds it again, and raises its own errors."""

    def talk() -> None:
        with OpenSearch(hosts=[{"host": "127.0.0.1", "port": port}], http_compress=compressed) as client:
            assert client.ping()
            assert client.info()["version"]["distribution"] == "opensearch"
            assert client.cluster.health(wait_for_status="yellow")["status"] == "green"
            changed = client.cluster.put_settings(body={"persistent": {MODELS: 5}}, flat_settings=True)
            assert changed == {"acknowledged": True, "persistent": {MODELS: "5"}, "transient": {}}
            assert client.cluster.get_settings(flat_settings=True)["persistent"] == {MODELS: "5"}
            group = client.plugins.ml.register_model_group(body={"name": "café", "description": "x" * 2000})
            group_id = group["model_group_id"]
            found = client.plugins.ml.search_model_group(body={"query": {"ids": {"values": [group_id]}}})
            assert [hit["_source"]["name"] for hit in found["hits"]["hits"]] == ["café"]
            with pytest.raises(NotFoundError) as missing:
                client.plugins.ml.get_task(task_id="nobody")
            assert missing.value.error == "status_exception"
            with pytest.raises(RequestError) as refused:
                client.cluster.put_settings(body={"persistent": {"no.such": 1}})
            assert "persistent setting [no.such], not recognized" in str(refused.value)

    await asyncio.to_thread(talk)


@pytest.mark.only("embedded", reason="a cluster has indices of its own, and all of its API")
async def test_indices_of_stop_words(port: int) -> None:
    """opensearch-py keeps an index of stop words as it would in a cluster, and asks whether it is there."""
    mapping = {"mappings": {"properties": {"query": {"type": "percolator"}, "title": {"type": "text"}}}}

    def talk() -> None:
        with OpenSearch(hosts=[{"host": "127.0.0.1", "port": port}]) as client:
            assert not client.indices.exists(index="stop")
            client.indices.create(index="stop", body=mapping)
            assert client.indices.exists(index="stop")
            assert client.indices.get(index="stop")["stop"]["mappings"] == mapping["mappings"]
            client.index(index="stop", id="1", body={"query": {"match": {"title": "kill"}}})
            assert client.exists(index="stop", id="1")
            assert not client.exists(index="stop", id="2")
            with pytest.raises(NotFoundError) as missing:
                client.get(index="stop", id="2")
            assert missing.value.info == {"_index": "stop", "_id": "2", "found": False}
            with pytest.raises(TransportError, match="no handler found"):
                client.bulk(body=[{"delete": {"_index": "stop", "_id": "1"}}])

    await asyncio.to_thread(talk)
