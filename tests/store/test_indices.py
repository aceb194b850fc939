"""Indices are created as ML Commons creates them, and taken as they are where they exist."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from mlcommons_py.errors import VersionConflict
from mlcommons_py.store import Delete, Put
from mlcommons_py.store.indices import mapping_of
from mlcommons_py.store.link import Link
from mlcommons_py.store.opensearch import OpenSearchStore
from scripts.opensearch import Node

MODELS = ".plugins-ml-model"
TASKS = ".plugins-ml-task"
VERSIONS = {
    ".plugins-ml-model": 14,
    ".plugins-ml-model-group": 4,
    ".plugins-ml-task": 5,
    ".plugins-ml-connector": 5,
    ".plugins-ml-controller": 1,
    ".plugins-ml-config": 5,
    ".plugins-ml-settings": 1,
}


@pytest.fixture
async def http(opensearch: Node) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the OpenSearch, without a store between."""
    async with httpx.AsyncClient(base_url=opensearch.url, timeout=30) as client:
        yield client


async def mapping(http: httpx.AsyncClient, index: str) -> dict[str, Any]:
    """Return the mapping that an index has."""
    answer = await http.get(f"/{index}/_mapping")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()[index]["mappings"]
    return found


async def make(http: httpx.AsyncClient, index: str, version: int | None, properties: dict[str, Any]) -> None:
    """Create an index as another version would have."""
    meta = {} if version is None else {"_meta": {"schema_version": version, "by": "another"}}
    answer = await http.put(f"/{index}", json={"mappings": {**meta, "properties": properties}})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(("index", "version"), VERSIONS.items())
async def test_created(in_cluster: OpenSearchStore, http: httpx.AsyncClient, index: str, version: int) -> None:
    """The first write creates an index with ML Commons' mapping, one shard and replicas as there are nodes."""
    await in_cluster.put(index, "a", {})
    wanted = mapping_of(index)
    assert wanted is not None
    made = await mapping(http, index)
    assert made["_meta"] == wanted["_meta"] == {"schema_version": version}
    assert made["properties"].keys() == wanted["properties"].keys()
    settings = (await http.get(f"/{index}/_settings")).json()[index]["settings"]["index"]
    everywhere = index in (".plugins-ml-config", ".plugins-ml-settings")
    assert (settings["number_of_shards"], settings["auto_expand_replicas"]) == ("1", "0-all" if everywhere else "0-1")


async def test_reads_and_deletions_create_nothing(in_cluster: OpenSearchStore, http: httpx.AsyncClient) -> None:
    """What finds nothing leaves no index behind."""
    assert await in_cluster.get(MODELS, "a") is None
    assert await in_cluster.content(MODELS, "a") is None
    assert await in_cluster.update(MODELS, "a", {"x": 1}) is None
    assert (await in_cluster.delete(MODELS, "a")).result == "not_found"
    with pytest.raises(VersionConflict, match="but no document was found"):
        await in_cluster.delete(MODELS, "a", if_seq_no=0, if_primary_term=1)
    assert [getattr(one, "result", one) for one in await in_cluster.bulk([Delete(MODELS, "a")])] == ["not_found"]
    assert await in_cluster.delete_by_query(MODELS, {"match_all": {}}) == 0
    found = await in_cluster.search(MODELS, {"aggs": {"n": {"value_count": {"field": "a"}}}})
    assert (found["hits"]["hits"], found["aggregations"]) == ([], {"n": {"value": 0}})
    assert (await http.head(f"/{MODELS}")).status_code == 404


async def test_older_index(in_cluster: OpenSearchStore, http: httpx.AsyncClient) -> None:
    """An index of an older version gets the fields it lacks, at any depth; what it has stays, documents too."""
    properties = {
        "name": {"type": "keyword"},
        "special": {"type": "long"},
        "model_config": {"properties": {"model_type": {"type": "text"}}},
        "user": {"type": "nested", "properties": {"name": {"type": "keyword"}}},
    }
    await make(http, MODELS, 2, properties)
    await http.put(f"/{MODELS}/_doc/old", params={"refresh": "true"}, json={"name": "Old One"})
    await in_cluster.bulk([Put(MODELS, "new", {"name": "New One", "is_hidden": True})])

    made, wanted = await mapping(http, MODELS), mapping_of(MODELS)
    assert wanted is not None
    assert made["_meta"] == {"schema_version": 14, "by": "another"}
    assert made["properties"].keys() == wanted["properties"].keys() | {"special"}
    assert made["properties"]["name"] == {"type": "keyword"}
    inner = made["properties"]["model_config"]["properties"]
    assert (inner["model_type"], inner["embedding_dimension"]) == ({"type": "text"}, {"type": "integer"})
    assert made["properties"]["user"]["properties"]["name"] == {"type": "keyword"}
    assert "backend_roles" in made["properties"]["user"]["properties"]
    found = await in_cluster.search(MODELS, {"query": {"prefix": {"name": ""}}, "sort": "name"})
    assert [hit["_id"] for hit in found["hits"]["hits"]] == ["new", "old"]


async def test_index_without_version(in_cluster: OpenSearchStore, http: httpx.AsyncClient) -> None:
    """An index that names no version counts as the oldest."""
    await make(http, MODELS, None, {})
    await in_cluster.put(MODELS, "a", {})
    assert (await mapping(http, MODELS))["_meta"] == {"schema_version": 14}


async def test_newer_index(in_cluster: OpenSearchStore, http: httpx.AsyncClient) -> None:
    """An index of a newer version keeps its version and what it has, and gets the fields it lacks."""
    properties = {"name": {"type": "keyword"}, "future": {"type": "long"}}
    await make(http, MODELS, 99, properties)
    await in_cluster.put(MODELS, "a", {"name": "x"})
    made, wanted = await mapping(http, MODELS), mapping_of(MODELS)
    assert wanted is not None
    assert made["_meta"] == {"schema_version": 99, "by": "another"}
    assert made["properties"].keys() == wanted["properties"].keys() | {"future"}
    assert made["properties"]["name"] == {"type": "keyword"}


async def test_index_of_ml_commons(in_cluster: OpenSearchStore, http: httpx.AsyncClient) -> None:
    """An index of the same version that ML Commons made gets the fields that are only ours."""
    wanted = mapping_of(TASKS)
    assert wanted is not None
    theirs = {name: field for name, field in wanted["properties"].items() if name not in ("deploy_model", "outcomes")}
    await make(http, TASKS, wanted["_meta"]["schema_version"], theirs)
    await in_cluster.put(TASKS, "a", {"outcomes": {"node": "an error"}})
    made = await mapping(http, TASKS)
    assert made["_meta"] == {"schema_version": 5, "by": "another"}
    assert made["properties"]["outcomes"] == {"type": "object", "enabled": False}
    assert made["properties"]["deploy_model"] == {"type": "boolean"}


async def test_many_first_writers(in_cluster: OpenSearchStore, opensearch: Node, http: httpx.AsyncClient) -> None:
    """Several processes that all write first share one index with the right mapping, and no write is lost."""
    stores = [OpenSearchStore.open(Link((opensearch.url,))) for _ in range(6)]
    await asyncio.gather(*(store.put(MODELS, f"{number}", {}) for number, store in enumerate(stores)))
    assert (await in_cluster.search(MODELS, {"size": 0}))["hits"]["total"]["value"] == 6
    assert (await mapping(http, MODELS))["_meta"] == {"schema_version": 14}
    await asyncio.gather(*(store.close() for store in stores))


async def test_index_deleted_meanwhile(in_cluster: OpenSearchStore, http: httpx.AsyncClient) -> None:
    """If somebody deletes an index that is in use, what the cluster creates in its place gets the fields it lacks."""
    await in_cluster.put(MODELS, "a", {})
    await in_cluster.put(MODELS, "b", {})
    await http.delete(f"/{MODELS}")
    await in_cluster.put(MODELS, "c", {"x": 1})
    await in_cluster.put(MODELS, "d", {})
    made, wanted = await mapping(http, MODELS), mapping_of(MODELS)
    assert wanted is not None
    assert made["_meta"] == {"schema_version": 14}
    assert made["properties"].keys() == wanted["properties"].keys() | {"x"}


async def test_index_found_missing(in_cluster: OpenSearchStore, http: httpx.AsyncClient) -> None:
    """Where a reader has met that an index was deleted, the next write makes it anew as it should be."""
    for number, read in enumerate((in_cluster.get(MODELS, "a"), in_cluster.search(MODELS, {}))):
        await in_cluster.put(MODELS, "a", {})
        await http.delete(f"/{MODELS}")
        await read
        await in_cluster.put(MODELS, "b", {"name": f"{number}"})
        assert (await mapping(http, MODELS))["properties"]["model_state"] == {"type": "keyword"}


async def test_an_index_of_another_name(in_cluster: OpenSearchStore, http: httpx.AsyncClient) -> None:
    """An index that ML Commons does not have is the cluster's to shape."""
    await in_cluster.put("other", "a", {"x": 1})
    assert await mapping(http, "other") == {"properties": {"x": {"type": "long"}}}
