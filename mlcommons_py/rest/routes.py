"""The table of routes."""

from mlcommons_py.rest import (
    cat,
    cluster,
    connectors,
    controllers,
    groups,
    health,
    models,
    plugins,
    predicting,
    profile,
    shared_settings,
    stats,
    stop_words,
    tasks,
)
from mlcommons_py.rest.door import Route
from mlcommons_py.rest.paths import ML

_SETTINGS = frozenset({"flat_settings", "cluster_manager_timeout", "master_timeout", "timeout"})
_HEALTH = frozenset({"wait_for_status", "timeout", "level", "local", "cluster_manager_timeout", "master_timeout"})
_TIMES = frozenset({"timeout", "local", "cluster_manager_timeout", "master_timeout"})
_INDICES = frozenset({"allow_no_indices", "expand_wildcards", "ignore_unavailable"})
_WRITE = frozenset({"refresh", "timeout"})
_SEARCH = frozenset({"source", "source_content_type"})

TABLE: tuple[Route, ...] = (
    Route("GET", "/", cluster.banner),
    Route("GET", "/_cluster/health", cluster.health, _HEALTH),
    Route("GET", "/_cluster/settings", cluster.get_settings, _SETTINGS | {"include_defaults", "local"}),
    Route("PUT", "/_cluster/settings", cluster.put_settings, _SETTINGS),
    Route("GET", "/_health/live", health.live),
    Route("GET", "/_health/ready", health.ready),
    Route("GET", "/metrics", health.metrics),
    Route("GET", "/{index}", stop_words.describe, _TIMES | _INDICES),
    Route("PUT", "/{index}", stop_words.create, _TIMES | {"wait_for_active_shards"}),
    Route("DELETE", "/{index}", stop_words.delete, _TIMES),
    Route("POST", "/{index}/_doc", stop_words.add, _WRITE),
    Route("PUT,POST", "/{index}/_doc/{id}", stop_words.put, _WRITE),
    Route("GET", "/{index}/_doc/{id}", stop_words.get),
    Route("DELETE", "/{index}/_doc/{id}", stop_words.remove, _WRITE),
    Route("GET,POST", "/{index}/_search", stop_words.search, _SEARCH),
    Route("POST", f"{ML}/model_groups/_register", groups.register),
    Route("GET,POST", f"{ML}/model_groups/_search", groups.search, _SEARCH),
    Route("GET", f"{ML}/model_groups/{{model_group_id}}", groups.get),
    Route("PUT", f"{ML}/model_groups/{{model_group_id}}", groups.update),
    Route("DELETE", f"{ML}/model_groups/{{model_group_id}}", groups.delete),
    Route("POST", f"{ML}/models/_register", models.register, frozenset({"deploy"})),
    Route("POST", f"{ML}/models/_upload", models.register, frozenset({"load", "deploy"})),
    Route("POST", f"{ML}/models/{{model_id}}/{{version}}/_register", models.register_legacy),
    Route("POST", f"{ML}/models/{{model_id}}/{{version}}/_upload", models.register_legacy),
    Route("POST", f"{ML}/models/_register_meta", models.register_meta),
    Route("POST", f"{ML}/models/meta", models.register_meta),
    Route("POST", f"{ML}/models/{{model_id}}/upload_chunk/{{chunk_number}}", models.upload_chunk, body="raw"),
    Route("POST", f"{ML}/models/{{model_id}}/chunk/{{chunk_number}}", models.upload_chunk, body="raw"),
    Route("GET,POST", f"{ML}/models/_search", models.search, _SEARCH),
    Route("POST", f"{ML}/models/_undeploy", models.undeploy_many),
    Route("POST", f"{ML}/models/_unload", models.undeploy_many),
    Route("GET", f"{ML}/models/{{model_id}}", models.get, frozenset({"return_content"})),
    Route("PUT", f"{ML}/models/{{model_id}}", models.update),
    Route("DELETE", f"{ML}/models/{{model_id}}", models.delete),
    Route("POST", f"{ML}/models/{{model_id}}/_deploy", models.deploy),
    Route("POST", f"{ML}/models/{{model_id}}/_load", models.deploy),
    Route("POST", f"{ML}/models/{{model_id}}/_undeploy", models.undeploy),
    Route("POST", f"{ML}/models/{{model_id}}/_unload", models.undeploy),
    Route("POST", f"{ML}/models/{{model_id}}/_predict", predicting.predict, frozenset({"algorithm"}), abandon=True),
    Route("POST", f"{ML}/_predict/{{algorithm}}/{{model_id}}", predicting.predict, abandon=True),
    Route("POST", f"{ML}/models/{{model_id}}/_predict/stream", predicting.stream, abandon=True),
    Route("POST", f"{ML}/models/{{model_id}}/_batch_predict", predicting.batch_predict),
    Route("POST", f"{ML}/connectors/_create", connectors.create),
    Route("GET,POST", f"{ML}/connectors/_search", connectors.search, _SEARCH),
    Route("GET", f"{ML}/connectors/{{connector_id}}", connectors.get),
    Route("PUT", f"{ML}/connectors/{{connector_id}}", connectors.update),
    Route("DELETE", f"{ML}/connectors/{{connector_id}}", connectors.delete),
    Route("POST", f"{ML}/controllers/{{model_id}}", controllers.create),
    Route("PUT", f"{ML}/controllers/{{model_id}}", controllers.update),
    Route("GET", f"{ML}/controllers/{{model_id}}", controllers.get),
    Route("DELETE", f"{ML}/controllers/{{model_id}}", controllers.delete),
    Route("GET,POST", f"{ML}/tasks/_search", tasks.search, _SEARCH),
    Route("GET", f"{ML}/tasks/{{task_id}}", tasks.get),
    Route("DELETE", f"{ML}/tasks/{{task_id}}", tasks.delete),
    Route("POST", f"{ML}/tasks/{{task_id}}/_cancel", tasks.cancel),
    Route("POST", f"{ML}/tasks/{{task_id}}/_cancel_batch", tasks.cancel),
    Route("GET", f"{ML}/stats", stats.stats),
    Route("GET", f"{ML}/stats/{{stat}}", stats.stats),
    Route("GET", f"{ML}/{{node_id}}/stats", stats.stats),
    Route("GET", f"{ML}/{{node_id}}/stats/{{stat}}", stats.stats),
    Route("GET", f"{ML}/profile", profile.profile, frozenset({"view"})),
    Route("GET", f"{ML}/profile/models", profile.profile, frozenset({"view"})),
    Route("GET", f"{ML}/profile/models/{{model_ids}}", profile.profile, frozenset({"view"})),
    Route("GET", f"{ML}/profile/tasks", profile.profile, frozenset({"view"})),
    Route("GET", f"{ML}/profile/tasks/{{task_ids}}", profile.profile, frozenset({"view"})),
)

BESIDE: tuple[Route, ...] = (
    Route("GET", "/_cluster/settings", shared_settings.get_settings, _SETTINGS | {"include_defaults", "local"}),
    Route("PUT", "/_cluster/settings", shared_settings.put_settings, _SETTINGS, body="yaml"),
    Route("GET", "/_cat/plugins", plugins.cat_plugins, cat.PARAMETERS | _TIMES, formed=True),
    Route("GET", "/_nodes/plugins", plugins.node_plugins, _TIMES | {"flat_settings"}),
    Route("GET", "/_nodes/{node_id}/plugins", plugins.node_plugins, _TIMES | {"flat_settings"}),
)
"""Routes that add to what a cluster answers."""

_CLUSTERS = ("/", "/_cluster/health", "/_cluster/settings")


def table(*, cluster: bool) -> tuple[Route, ...]:
    """Return the routes that are served; with a cluster, it answers for itself, or the answer has parts of both."""
    if not cluster:
        return TABLE
    here = (route for route in TABLE if route.path not in _CLUSTERS and not route.path.startswith("/{index}"))
    return tuple(here) + BESIDE
