"""The stats API: which numbers a request sees."""

from typing import Any

import httpx
import pytest

from mlcommons_py.rest.services import Services
from tests.rest.test_models import register

ML = "/_plugins/_ml"
CLUSTER = {
    "ml_config_index_status": "non-existent",
    "ml_controller_index_status": "non-existent",
    "ml_model_index_status": "non-existent",
    "ml_connector_index_status": "non-existent",
    "ml_task_index_status": "non-existent",
    "ml_connector_count": 0,
    "ml_model_count": 0,
}
NODE = {
    "ml_jvm_heap_usage": 0,
    "ml_executing_task_count": 1,
    "ml_request_count": 4,
    "ml_failure_count": 1,
    "ml_deployed_model_count": 0,
    "ml_circuit_breaker_trigger_count": 0,
}
ALGORITHMS = {
    "text_embedding": {
        "predict": {"ml_action_request_count": 3, "ml_action_failure_count": 1},
        "deploy": {"ml_action_request_count": 1},
    }
}
MODELS = {
    "m1": {"predict": {"ml_action_request_count": 2, "ml_action_failure_count": 1}},
    "m2": {"predict": {"ml_action_request_count": 1}},
}


@pytest.fixture(autouse=True)
def counted(services: Services) -> None:
    """Three predicts, one failed and one under way, and a deploy."""
    counters = services.counters
    counters.begin("TEXT_EMBEDDING", "predict", "m1")
    counters.end("TEXT_EMBEDDING", "predict", "m1", failed=True)
    counters.begin("TEXT_EMBEDDING", "predict", "m1")
    counters.end("TEXT_EMBEDDING", "predict", "m1", failed=False)
    counters.begin("TEXT_EMBEDDING", "predict", "m2")
    counters.begin("TEXT_EMBEDDING", "deploy")
    counters.end("TEXT_EMBEDDING", "deploy", failed=False)


@pytest.mark.parametrize("path", ["/stats", "/stats/", "/{node}/stats", "/other,{node}/stats/"])
async def test_all(client: httpx.AsyncClient, services: Services, path: str) -> None:
    """Without a name there is everything, of the cluster and of the node."""
    answer = await client.get(ML + path.format(node=services.node.id))

    assert answer.json() == {
        **CLUSTER,
        "nodes": {services.node.id: {**NODE, "algorithms": ALGORITHMS, "models": MODELS}},
    }


async def test_unknown_node(client: httpx.AsyncClient) -> None:
    """Of a node that does not exist there is nothing; the cluster's numbers are there nevertheless."""
    answer = await client.get(f"{ML}/nobody/stats")

    assert (answer.status_code, answer.json()) == (200, CLUSTER)


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ("ml_model_count", {"ml_model_count": 0, "ml_connector_count": 0}),
        ("ml_connector_count", {"ml_connector_count": 0}),
        (
            "ML_TASK_INDEX_STATUS,ml_model_index_status",
            {"ml_model_index_status": "non-existent", "ml_task_index_status": "non-existent"},
        ),
    ],
)
async def test_cluster_stats(client: httpx.AsyncClient, names: str, shown: dict[str, Any]) -> None:
    """The cluster's stats come alone, models and connectors counted together, names in any case."""
    assert (await client.get(f"{ML}/stats/{names}")).json() == shown


async def test_node_stats(client: httpx.AsyncClient, services: Services) -> None:
    """A stat of the node comes with the models' counts and with an empty map of algorithms."""
    answer = await client.get(f"{ML}/stats/ml_request_count")

    assert answer.json() == {"nodes": {services.node.id: {"ml_request_count": 4, "algorithms": {}, "models": MODELS}}}


async def test_mixed_stats(client: httpx.AsyncClient, services: Services) -> None:
    """Stats of both levels may be mixed, on a node too."""
    answer = await client.get(f"{ML}/{services.node.id}/stats/ml_failure_count,ml_connector_count")

    assert answer.json() == {
        "ml_connector_count": 0,
        "nodes": {services.node.id: {"ml_failure_count": 1, "algorithms": {}, "models": MODELS}},
    }


async def test_body(client: httpx.AsyncClient, services: Services) -> None:
    """A body says levels, stats, algorithms, models and actions."""
    body = {
        "target_stat_levels": ["CLUSTER", "node", "action"],
        "cluster_level_stats": ["ml_model_count"],
        "node_level_stats": ["ml_failure_count"],
        "action_level_stats": ["ml_action_failure_count"],
        "algorithms": ["text_embedding", "KMEANS"],
        "models": ["m1"],
        "actions": ["predict"],
    }

    answer = await client.request("GET", f"{ML}/stats", json=body)

    failed = {"predict": {"ml_action_failure_count": 1}}
    assert answer.json() == {
        "ml_model_count": 0,
        "ml_connector_count": 0,
        "nodes": {
            services.node.id: {
                "ml_failure_count": 1,
                "algorithms": {"text_embedding": failed},
                "models": {"m1": failed},
            }
        },
    }


async def test_body_of_another_node(client: httpx.AsyncClient) -> None:
    """A body may name nodes; of others there is nothing."""
    body = {"target_stat_levels": ["cluster", "node"], "node_ids": ["other"]}

    assert (await client.request("GET", f"{ML}/stats", json=body)).json() == CLUSTER


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("/stats/ml_nothing", None, "Wrong ML cluster level stat"),
        ("/stats", {"target_stat_levels": ["planet"]}, "Wrong ML stat level"),
        ("/stats", {"cluster_level_stats": ["ml_request_count"]}, "Wrong ML cluster level stat"),
        ("/stats", {"node_level_stats": ["ml_model_count"]}, "Wrong ML node level stat"),
        ("/stats", {"action_level_stats": ["x"]}, "Wrong ML action level stat"),
        ("/stats", {"algorithms": ["x"]}, "Wrong function name"),
        ("/stats", {"actions": ["x"]}, "Wrong action name"),
        ("/stats", {"models": "m1"}, "[models] must be a list of strings"),
    ],
)
async def test_wrong_names(client: httpx.AsyncClient, path: str, body: Any, reason: str) -> None:
    """A stat, level, algorithm or action that does not exist is refused in upstream's words."""
    answer = await client.request("GET", ML + path, json=body)

    described = {"type": "illegal_argument_exception", "reason": reason}
    assert answer.json() == {"error": {"root_cause": [described], **described}, "status": 400}


async def test_index_of_controllers(client: httpx.AsyncClient) -> None:
    """The index of controllers is there from the first one on, also when the last one is gone."""
    setting = {"plugins.ml_commons.allow_registering_model_via_local_file": True}
    await client.put("/_cluster/settings", json={"transient": setting})
    stat = f"{ML}/stats/ml_controller_index_status"
    model_id = await register(client)
    before = (await client.get(stat)).json()
    await client.post(f"{ML}/controllers/{model_id}", json={"user_rate_limiter": {}})
    made = (await client.get(stat)).json()
    await client.delete(f"{ML}/controllers/{model_id}")

    assert before == {"ml_controller_index_status": "non-existent"}
    assert made == (await client.get(stat)).json() == {"ml_controller_index_status": "green"}
