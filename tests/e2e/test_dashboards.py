"""OpenSearch Dashboards in front of the service: what its server sends, and what it reads of the answers.

The requests are those of the plugin ml-commons-dashboards 3.8 (``server/services``, with the queries that its page of
deployed models makes) and of Dashboards itself as it starts (``version_check``, ``saved_objects/migrations/core``), as
the JavaScript client, 2.13, writes them.
"""

import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.conftest import TINY
from tests.e2e.service import Service, until

INLINE, STANDING, LOCAL = "with a connector of its own", "with a standing connector", "local"
DEPLOYED = {"terms": {"model_state": ["DEPLOY_FAILED", "DEPLOYED", "PARTIALLY_DEPLOYED"]}}
NO_CHUNKS = {"exists": {"field": "chunk_number"}}
VERSIONS = "/_nodes?filter_path=nodes.*.version%2Cnodes.*.http.publish_address%2Cnodes.*.ip"
KIBANA = {
    "mappings": {
        "dynamic": "strict",
        "_meta": {"migrationMappingPropertyHashes": {"type": "2f4316de49999235636386fe51dc06c1"}},
        "properties": {
            "type": {"type": "keyword"},
            "config": {"dynamic": "true", "properties": {"buildNum": {"type": "keyword"}}},
            "migrationVersion": {"dynamic": "true", "type": "object"},
            "osd_migration_status": {"dynamic": "false", "type": "object"},
        },
    },
    "settings": {"number_of_shards": 1, "auto_expand_replicas": "0-1"},
}


def connector(name: str) -> dict[str, Any]:
    """Return a connector."""
    url = "https://api.openai.com/v1/embeddings"
    actions = [{"action_type": "predict", "method": "POST", "url": url, "request_body": "{}"}]
    described = {"name": name, "description": f"{name}'s", "version": 1, "protocol": "http"}
    return {**described, "credential": {"key": "x"}, "actions": actions}


@pytest.fixture(scope="module")
def models(shared: Service, tiny: bytes) -> dict[str, str]:
    """The ids of a local model, one with a connector of its own and one with a standing one, all deployed, by name."""
    ids = {LOCAL: shared.deployed(tiny, **{**TINY, "name": LOCAL})}
    standing = shared.ml("POST", "/connectors/_create", json=connector("standing"))["connector_id"]
    for name, way in ((INLINE, {"connector": connector("inline")}), (STANDING, {"connector_id": standing})):
        registered = shared.ml("POST", "/models/_register", json={"name": name, "function_name": "remote", **way})
        ids[name] = shared.task(registered["task_id"])["model_id"]
        shared.deploy(ids[name])
    shared.register_meta(tiny, **{**TINY, "name": "being registered"})
    return ids


def found(service: Service, **query: Any) -> list[dict[str, Any]]:
    """Return what the page shows for a search: the first ten, or as many as are asked for."""
    must = [*query.pop("must", []), *query.pop("extra", [])]
    body = {"query": {"bool": {"must": must, "must_not": NO_CHUNKS}}, "from": 0, "size": 10, **query}
    hits = service.ml("POST", "/models/_search", json=body)["hits"]
    assert hits["total"]["value"] == len(hits["hits"])
    return [{"id": hit["_id"], **hit["_source"]} for hit in hits["hits"]]


def named(service: Service, **query: Any) -> set[str]:
    """Return the names of what a search for deployed models finds."""
    return {one["name"] for one in found(service, must=[DEPLOYED], sort=[{"model_state": "asc"}], **query)}


def test_nothing_yet(shared: Service) -> None:
    """Before anything is registered the page is empty: the searches find nothing, or say that there is no index."""
    for noun in ("models", "connectors"):
        answer = shared.http.post(f"/_plugins/_ml/{noun}/_search", json={"query": {"match_all": {}}, "size": 10_000})
        assert answer.status_code == 404 or answer.json()["hits"]["total"]["value"] == 0
        assert answer.status_code == 200 or "index_not_found_exception" in answer.text


def test_deployed_models(shared: Service, models: dict[str, str]) -> None:
    """The page lists deployed models in each order, with the nodes that should run them and those that do."""
    for field, direction in (("model_state", "asc"), ("name.keyword", "asc"), ("name.keyword", "desc"), ("_id", "asc")):
        shown = found(shared, must=[DEPLOYED], sort=[{field: direction}])
        assert {one["name"]: one["id"] for one in shown} == models
        if field != "model_state":
            keys = [one["id" if field == "_id" else "name"] for one in shown]
            assert keys == sorted(keys, reverse=direction == "desc")
    for one in shown:
        assert one["current_worker_node_count"] == one["planning_worker_node_count"] == 1
        assert one["planning_worker_nodes"] == [shared.node_id]
        assert (one["algorithm"] == "REMOTE") == (one["name"] != LOCAL)
        assert ("connector_id" in one) == (one["name"] == STANDING)
        assert one.get("connector", {}).get("name") == ("inline" if one["name"] == INLINE else None)


def test_filters(shared: Service, models: dict[str, str]) -> None:
    """The page's filters find by part of a name, id, state, source, and connector."""
    for text, expected in (("OWN", INLINE), ("standing conn", STANDING), (models[LOCAL], LOCAL)):
        wildcard = {"wildcard": {"name.keyword": {"value": f"*{text}*", "case_insensitive": True}}}
        search = {"bool": {"should": [wildcard, {"term": {"_id": {"value": text}}}]}}
        assert named(shared, extra=[search]) == {expected}
    remote = {"term": {"algorithm": {"value": "REMOTE"}}}
    assert named(shared, extra=[{"bool": {"must": [remote]}}]) == {INLINE, STANDING}
    assert named(shared, extra=[{"bool": {"must_not": [remote]}}]) == {LOCAL}
    assert not found(shared, must=[{"terms": {"model_state": ["DEPLOY_FAILED"]}}], sort=[{"model_state": "asc"}])
    listed = shared.ml("POST", "/connectors/_search", json={"query": {"match_all": {}}, "from": 0, "size": 10_000})
    ((standing, source),) = [(hit["_id"], hit["_source"]) for hit in listed["hits"]["hits"]]
    assert (source["name"], source["description"], listed["hits"]["total"]["value"]) == ("standing", "standing's", 1)
    for name, ids, expected in (("inline", [], INLINE), ("standing", [standing], STANDING)):
        should: list[dict[str, Any]] = [
            {"wildcard": {"connector.name.keyword": {"value": f"*{name}*", "case_insensitive": True}}},
            *([{"terms": {"connector_id.keyword": ids}}] if ids else []),
        ]
        assert named(shared, extra=[{"bool": {"must": [{"bool": {"should": should}}]}}]) == {expected}


def test_names_of_own_connectors(shared: Service, models: dict[str, str]) -> None:
    """The page's list of connectors has those that models bring along."""
    terms = {"terms": {"field": "connector.name.keyword", "size": 10_000}}
    body = {"size": 0, "aggs": {"unique_connector_names": terms}}
    answer = shared.ml("POST", "/models/_search", json=body)
    assert [one["key"] for one in answer["aggregations"]["unique_connector_names"]["buckets"]] == ["inline"]


def test_details_of_a_model(shared: Service, models: dict[str, str]) -> None:
    """The panel of a model shows which nodes should run it and which do; of one that does not run it shows nothing."""
    profile = shared.ml("GET", f"/profile/models/{models[LOCAL]}?view=model")["models"][models[LOCAL]]
    assert profile["target_worker_nodes"] == profile["worker_nodes"] == [shared.node_id]
    assert "models" not in shared.ml("GET", "/profile/models/none?view=model")


@pytest.mark.only("opensearch", reason="Dashboards keeps what it saves in the cluster")
def test_start(shared: Service) -> None:
    """Dashboards finds the version of every node and the plugin, and makes, fills and changes its own index."""
    http = shared.http
    (node,) = http.get(VERSIONS).json()["nodes"].values()
    assert set(node) == {"version", "ip", "http"}
    assert http.get("/").json()["version"]["number"] == node["version"]
    assert http.get("/_cluster/state?filter_path=nodes.*.attributes.cluster_id").status_code == 200
    assert http.get(VERSIONS.replace("_nodes", "_nodes/_local")).json()["nodes"]
    plugins = http.get("/_cat/plugins?format=JSON&v=true").json()
    assert "opensearch-ml" in {one["component"] for one in plugins}

    for number, before in ((1, None), (2, 1)):
        is_there = http.get("/.kibana")
        assert is_there.status_code == (404 if before is None else 200)
        assert http.get("/_cat/templates/kibana_index_template*?format=json").json() == []
        assert http.put(f"/.kibana_{number}", json=KIBANA).json()["acknowledged"]
        mark = f"/.kibana_{number}/_doc/osd_migration_status%3Aprimary"
        assert http.get(mark).status_code == 404
        state = {"type": "osd_migration_status", "osd_migration_status": {"status": "in-progress"}}
        assert http.put(f"{mark}?refresh=false", json=state).status_code == 201
        assert http.get(mark).json()["_source"] == state
        if before is None:
            saved = {"type": "config", "config": {"buildNum": 1}, "migrationVersion": {"config": "7.9.0"}}
            assert http.put("/.kibana_1/_create/config%3A3.6.0?refresh=wait_for", json=saved).status_code == 201
        else:
            move(shared, f".kibana_{before}", f".kibana_{number}")
        held = http.get("/_alias/.kibana")
        actions = [{"remove": {"index": one, "alias": ".kibana"}} for one in held.json() if held.status_code == 200]
        add = {"add": {"index": f".kibana_{number}", "alias": ".kibana"}}
        assert http.post("/_aliases", json={"actions": [*actions, add]}).json() == {"acknowledged": True}
        assert http.get(f"/.kibana_{number}/_refresh").json()["_shards"]["failed"] == 0

    ((name, made),) = http.get("/.kibana").json().items()
    assert (name, list(made["aliases"])) == (".kibana_2", [".kibana"])
    assert made["mappings"]["properties"]["migrationVersion"]["dynamic"] == "true"
    outdated = {"bool": {"must_not": {"term": {"migrationVersion.config": "7.9.0"}}}}
    should = [{"bool": {"must": [{"exists": {"field": "config"}}, outdated]}}]
    count = http.post("/.kibana/_count", json={"query": {"bool": {"should": should}}}).json()
    assert (count["count"], count["_shards"]["successful"]) == (0, count["_shards"]["total"])
    reindex = {"dest": {"index": ".kibana_3"}, "source": {"index": ".kibana_2", "size": 100}}
    task = http.post("/_reindex?refresh=true&wait_for_completion=false", json=reindex).json()["task"]
    done = until(lambda: (told := http.get(f"/_tasks/{quote(task)}").json())["completed"] and told, "the reindexing")
    assert done["response"]["created"] == 2
    assert http.get("/.kibana_3/_doc/config:3.6.0").json()["_source"]["config"] == {"buildNum": 1}


def move(service: Service, source: str, target: str) -> None:
    """Copy the saved objects of an index as Dashboards does when it migrates them."""
    page = service.http.post(f"/{source}/_search?scroll=15m", json={"size": 100}).json()
    lines: list[Any] = []
    for hit in page["hits"]["hits"]:
        if not hit["_id"].startswith("osd_migration_status"):
            lines += [{"index": {"_id": hit["_id"], "_index": target}}, hit["_source"]]
    assert lines
    written = service.http.post(
        "/_bulk",
        content="".join(f"{json.dumps(line)}\n" for line in lines),
        headers={"content-type": "application/x-ndjson"},
    ).json()
    assert written["errors"] is False
    scroll = f"/_search/scroll/{quote(page['_scroll_id'], safe='')}"
    assert service.http.get(f"{scroll}?scroll=15m").json()["hits"]["hits"] == []
    assert service.http.delete(scroll).json()["succeeded"]
