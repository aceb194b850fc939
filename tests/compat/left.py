"""What a server is told to do before the other one takes its data over, and what it said of it last."""

from dataclasses import dataclass
from typing import Any

from tests.compat.peer import Archive, embeddings, search, state
from tests.e2e.api import Api, until

OF_MODELS = {"bool": {"must_not": [{"exists": {"field": "chunk_number"}}]}}
QUERIES: dict[str, dict[str, Any]] = {
    "model_groups": {"match_all": {}},
    "models": OF_MODELS,
    "tasks": {"match_all": {}},
}
LIMITS = {"ann": {"limit": 4, "unit": "MINUTES"}, "bob": {"limit": "0.5", "unit": "SECONDS"}}
# What changes in a model's document when other nodes run it.
OF_NODES = {
    "deploy_to_all_services",
    "model_state",
    "planning_worker_nodes",
    "planning_worker_node_count",
    "current_worker_node_count",
    "last_deployed_time",
    "last_updated_time",
    "auto_redeploy_retry_times",
}
# ML Commons says in an answer that a model is not hidden, without having stored it; it leaves out an empty list.
OF_ANSWERS = {"is_hidden": False, "planning_worker_nodes": []}


@dataclass(frozen=True)
class Left:
    """What a server left.

    Attributes:
        group: the name of a group.
        group_id: its id; it has the three models.
        undeployed: a model of three chunks that was deployed and undeployed.
        deployed: one that was deployed when the server ended.
        doomed: one that was never deployed.
        answers: what the server last answered to GET, by path.
        found: what it found of groups, models and tasks, by noun and id.
        vectors: what the deployed models made of the texts, by id.
    """

    group: str
    group_id: str
    undeployed: str
    deployed: str
    doomed: str
    answers: dict[str, dict[str, Any]]
    found: dict[str, dict[str, Any]]
    vectors: dict[str, list[list[float]]]


def work(api: Api, group: str, large: Archive, small: Archive) -> Left:
    """Have a server register, deploy and undeploy, and return what it left."""
    said = {"name": group, "description": "the first"}
    group_id = api.ml("POST", "/model_groups/_register", json=said)["model_group_id"]
    undeployed = api.register(large.content, **large.fields, model_group_id=group_id, name="three chunks")
    deployed = api.register(small.content, **small.fields, model_group_id=group_id, name="one chunk")
    doomed = api.register(small.content, **small.fields, model_group_id=group_id, name="to be deleted")
    tasks = [api.deploy(model_id) for model_id in (undeployed, deployed)]
    assert [task["state"] for task in tasks] == ["COMPLETED", "COMPLETED"], tasks
    vectors = {model_id: embeddings(api, model_id) for model_id in (undeployed, deployed)}
    api.ml("POST", f"/models/{undeployed}/_undeploy")
    until(lambda: state(api, undeployed) == "UNDEPLOYED", "the undeploy")
    api.ml("POST", f"/controllers/{deployed}", json={"user_rate_limiter": LIMITS})
    until(lambda: api.ml("GET", f"/models/{deployed}").get("is_controller_enabled") is True, "the controller")
    found = {noun: sources(api, noun) for noun in QUERIES}
    assert found["models"][undeployed]["model_state"] == "UNDEPLOYED"
    paths = [f"/controllers/{deployed}", *(f"/{noun}/{one}" for noun, some in found.items() for one in some)]
    return Left(
        group=group,
        group_id=group_id,
        undeployed=undeployed,
        deployed=deployed,
        doomed=doomed,
        answers={path: api.ml("GET", path) for path in paths},
        found=found,
        vectors=vectors,
    )


def check_controller(api: Api, left: Left) -> None:
    """Change and take away, through a server, the controller that the other one stored."""
    path, ann = f"/controllers/{left.deployed}", {"limit": "7", "unit": "DAYS"}
    api.ml("PUT", path, json={"user_rate_limiter": {"ann": ann}})
    assert api.ml("GET", path) == {
        "model_id": left.deployed,
        "user_rate_limiter": {"ann": ann, "bob": {"limit": "0.5", "unit": "SECONDS"}},
    }
    api.ml("DELETE", path)
    api.ml("GET", path, 404)
    until(lambda: api.ml("GET", f"/models/{left.deployed}")["is_controller_enabled"] is False, "no controller")


def sources(api: Api, noun: str) -> dict[str, Any]:
    """Return the documents that a search for all of a noun finds, by id."""
    return {hit["_id"]: hit["_source"] for hit in search(api, noun, QUERIES[noun])}


def check_documents(api: Api, left: Left) -> None:
    """Compare what a server answers and finds with what the other one answered and found."""
    assert {noun: len(some) for noun, some in left.found.items() if noun != "tasks"} == {"model_groups": 1, "models": 3}
    for path, told in left.answers.items():
        answer = api.ml("GET", path)
        assert _steady(answer, path, left) == _steady(told, path, left), path
    for noun, told in left.found.items():
        found = sources(api, noun)
        assert {one: _steady(found.get(one), one, left) for one in told} == {
            one: _steady(document, one, left) for one, document in told.items()
        }


def _steady(document: dict[str, Any] | None, path: str, left: Left) -> dict[str, Any] | None:
    """Return what must not change of a document, or of the answer that shows it."""
    if document is None:
        return None
    changing = OF_NODES if path.endswith(left.deployed) else set()
    return {
        key: value
        for key, value in document.items()
        if key not in changing and not (key in OF_ANSWERS and value == OF_ANSWERS[key])
    }
