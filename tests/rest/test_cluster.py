"""What clients expect of a cluster: banner, health, settings."""

from typing import Any

import httpx
import pytest

from mlcommons_py.plugin_settings import SETTINGS
from mlcommons_py.rest.services import Services
from mlcommons_py.wiring import App, wire

pytestmark = pytest.mark.only("embedded", reason="with a cluster these routes are the cluster's own")

MODELS = "plugins.ml_commons.max_model_on_node"
LOCAL = "plugins.ml_commons.local_model.enabled"
ENDPOINTS = "plugins.ml_commons.trusted_connector_endpoints_regex"


async def test_banner(client: httpx.AsyncClient, services: Services) -> None:
    """GET / says that this is OpenSearch, by the fields that its clients read; HEAD too."""
    answer = await client.get("/")

    body = answer.json()
    assert body.pop("name") == services.node.name
    assert len(body.pop("cluster_uuid")) == 22
    assert body["version"].pop("build_date")
    assert body["version"].pop("build_hash")
    assert body == {
        "cluster_name": "mlcommons-py",
        "version": {
            "distribution": "opensearch",
            "number": "3.6.0",
            "build_type": "mlcommons-py",
            "build_snapshot": False,
            "lucene_version": "10.3.2",
            "minimum_wire_compatibility_version": "2.19.0",
            "minimum_index_compatibility_version": "2.0.0",
        },
        "tagline": "The OpenSearch Project: https://opensearch.org/",
    }
    assert (await client.head("/")).status_code == 200


async def test_health(client: httpx.AsyncClient) -> None:
    """GET /_cluster/health is green at once, whatever status a client waits for."""
    answer = await client.get("/_cluster/health?wait_for_status=yellow&timeout=5s")

    assert answer.json()["status"] == "green"
    assert answer.json()["timed_out"] is False


async def test_nothing_set(client: httpx.AsyncClient) -> None:
    """Without any setting both scopes are empty."""
    assert (await client.get("/_cluster/settings")).json() == {"persistent": {}, "transient": {}}


@pytest.mark.parametrize(
    "given",
    [
        {"plugins.ml_commons.max_model_on_node": 3},
        {"plugins.ml_commons.max_model_on_node": "3"},
        {"plugins": {"ml_commons": {"max_model_on_node": 3}}},
        {"plugins": {"ml_commons.max_model_on_node": "3"}},
        {"plugins.ml_commons": {"max_model_on_node": 3}},
    ],
)
@pytest.mark.parametrize("scope", ["persistent", "transient"])
async def test_set(client: httpx.AsyncClient, services: Services, scope: str, given: dict[str, Any]) -> None:
    """A setting may come dotted, as a tree or mixed; it is in force at once and comes back as a text."""
    changed = {"persistent": {}, "transient": {}, scope: {"plugins": {"ml_commons": {"max_model_on_node": "3"}}}}

    answer = await client.put("/_cluster/settings", json={scope: given})

    assert answer.json() == {"acknowledged": True, **changed}
    assert (await client.get("/_cluster/settings")).json() == changed
    assert services.settings["max_model_on_node"] == 3


async def test_flat_settings(client: httpx.AsyncClient) -> None:
    """flat_settings answers with dotted keys; truth values and lists are texts too."""
    body = {"persistent": {LOCAL: False}, "transient": {ENDPOINTS: ["^https://a$", "^https://b$"]}}
    shown = {"persistent": {LOCAL: "false"}, "transient": {ENDPOINTS: ["^https://a$", "^https://b$"]}}

    answer = await client.put("/_cluster/settings?flat_settings=true", json=body)

    assert answer.json() == {"acknowledged": True, **shown}
    assert (await client.get("/_cluster/settings?flat_settings")).json() == shown


async def test_defaults(client: httpx.AsyncClient) -> None:
    """include_defaults shows what holds for each key that is not set."""
    await client.put("/_cluster/settings", json={"persistent": {MODELS: 3}})

    shown = (await client.get("/_cluster/settings?include_defaults=true&flat_settings=true")).json()

    assert shown["persistent"] == {MODELS: "3"}
    assert set(shown["defaults"]) == set(SETTINGS) - {MODELS}
    assert shown["defaults"][LOCAL] == "true"
    assert shown["defaults"]["plugins.ml_commons.model_auto_redeploy_success_ratio"] == "0.8"


async def test_transient_wins(client: httpx.AsyncClient, services: Services) -> None:
    """A transient value wins over a persistent one, and gives way to it when it is reset."""
    await client.put("/_cluster/settings", json={"persistent": {MODELS: 3}, "transient": {MODELS: 5}})
    assert services.settings["max_model_on_node"] == 5

    await client.put("/_cluster/settings", json={"transient": {MODELS: None}})
    assert services.settings["max_model_on_node"] == 3


@pytest.mark.parametrize("pattern", ["plugins.ml_commons.*", "*", "plugins.ml_commons.max*", MODELS])
async def test_reset(client: httpx.AsyncClient, services: Services, pattern: str) -> None:
    """A null resets a key, or all that a pattern finds in its scope."""
    await client.put("/_cluster/settings", json={"persistent": {MODELS: 3}, "transient": {LOCAL: False}})

    answer = await client.put("/_cluster/settings", json={"persistent": {pattern: None}})

    assert answer.json() == {"acknowledged": True, "persistent": {}, "transient": {}}
    assert services.settings["max_model_on_node"] == 10
    assert services.settings["local_model.enabled"] is False


async def test_reset_goes_before_a_value(client: httpx.AsyncClient, services: Services) -> None:
    """Where a pattern resets what the same call sets, the value holds."""
    await client.put("/_cluster/settings", json={"persistent": {MODELS: 3, LOCAL: False}})

    await client.put("/_cluster/settings", json={"persistent": {MODELS: 4, "plugins.ml_commons.*": None}})

    assert services.settings["max_model_on_node"] == 4
    assert services.settings["local_model.enabled"] is True


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        ({}, "action_request_validation_exception", "Validation Failed: 1: no settings to update;"),
        ({"persistent": {}}, "action_request_validation_exception", "Validation Failed: 1: no settings to update;"),
        (
            {"persistent": {"plugins": {}}},
            "action_request_validation_exception",
            "Validation Failed: 1: no settings to update;",
        ),
        ({"persistent": {"a.b": 1}}, "settings_exception", "persistent setting [a.b], not recognized"),
        ({"transient": {"a": None}}, "settings_exception", "transient setting [a], not recognized"),
        (
            {"persistent": {"plugins.ml_commons.multi_tenancy_enabled": True}},
            "settings_exception",
            "persistent setting [plugins.ml_commons.multi_tenancy_enabled], not dynamically updateable",
        ),
        (
            {"persistent": {MODELS: 10_001}},
            "illegal_argument_exception",
            f"Failed to parse value [10001] for setting [{MODELS}] must be <= 10000",
        ),
        (
            {"persistent": {LOCAL: "maybe"}},
            "illegal_argument_exception",
            f"Failed to parse value [maybe] as only [true] or [false] are allowed. The setting is {LOCAL}.",
        ),
        (
            {"persistent": {MODELS: 3, "plugins": {"ml_commons": {"max_model_on_node": 4}}}},
            "illegal_argument_exception",
            f"setting [{MODELS}] is given twice",
        ),
        ({"persistent": [1]}, "parsing_exception", "[persistent] must be an object"),
        ({"settings": {}}, "parsing_exception", "[cluster_update_settings_request] unknown field [settings]"),
    ],
)
async def test_refused(client: httpx.AsyncClient, body: Any, kind: str, reason: str) -> None:
    """A wrong key or value is 400 and named."""
    answer = await client.put("/_cluster/settings", json=body)

    described = {"type": kind, "reason": reason}
    assert answer.json() == {"error": {"root_cause": [described], **described}, "status": 400}
    assert answer.status_code == 400


async def test_missing_body(client: httpx.AsyncClient) -> None:
    """Without a body nothing is set."""
    answer = await client.put("/_cluster/settings")

    assert answer.status_code == 400
    assert answer.json()["error"]["root_cause"] == [{"type": "parse_exception", "reason": "request body is required"}]


async def test_all_or_nothing(client: httpx.AsyncClient, services: Services) -> None:
    """If one value is wrong, none is set, in neither scope."""
    await client.put("/_cluster/settings", json={"transient": {LOCAL: False}, "persistent": {MODELS: 3, "x": 1}})

    assert (await client.get("/_cluster/settings")).json() == {"persistent": {}, "transient": {}}
    assert services.settings["local_model.enabled"] is True


async def test_persistent_survives(client: httpx.AsyncClient, service: App) -> None:
    """A persistent setting holds after a restart, a transient one does not."""
    await client.put("/_cluster/settings", json={"persistent": {MODELS: 3}, "transient": {LOCAL: False}})

    again = (await wire(service.services.operator, service.store, service.services.operator.data)).services

    assert again.settings["max_model_on_node"] == 3
    assert again.settings["local_model.enabled"] is True


async def test_keys_of_another_version_stay(client: httpx.AsyncClient, service: App) -> None:
    """A stored key that this version does not know is kept, and has no effect."""
    stored = {"plugins.ml_commons.of_tomorrow": "x"}
    await service.store.put(".plugins-ml-settings", "cluster", {"persistent": stored})
    await service.services.cluster_settings.load()

    await client.put("/_cluster/settings", json={"persistent": {MODELS: 3}})

    document = await service.store.get(".plugins-ml-settings", "cluster")
    assert document is not None
    assert document.source == {"persistent": {**stored, MODELS: 3}}
    assert (await client.get("/_cluster/settings?flat_settings")).json()["persistent"] == {MODELS: "3"}
