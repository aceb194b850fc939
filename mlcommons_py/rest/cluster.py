"""Handlers of what clients expect of a cluster: the banner, its health, its settings."""

from typing import Any

from mlcommons_py import __version__
from mlcommons_py.cluster_settings import nest
from mlcommons_py.rest.request import Request
from mlcommons_py.rest.services import Services

CLUSTER_NAME = "mlcommons-py"
OPENSEARCH_VERSION = "3.6.0"


async def banner(services: Services, request: Request) -> object:
    """GET /: says what OpenSearch says, so that its clients connect."""
    return {
        "name": services.node.name,
        "cluster_name": CLUSTER_NAME,
        "cluster_uuid": services.node.cluster_uuid,
        "version": {
            "distribution": "opensearch",
            "number": OPENSEARCH_VERSION,
            "build_type": "mlcommons-py",
            "build_hash": __version__,
            "build_date": "2026-01-01T00:00:00.000000000Z",
            "build_snapshot": False,
            "lucene_version": "10.3.2",
            "minimum_wire_compatibility_version": "2.19.0",
            "minimum_index_compatibility_version": "2.0.0",
        },
        "tagline": "The OpenSearch Project: https://opensearch.org/",
    }


async def health(services: Services, request: Request) -> object:
    """GET /_cluster/health: a cluster of one node that lacks nothing."""
    return {
        "cluster_name": CLUSTER_NAME,
        "status": "green",
        "timed_out": False,
        "number_of_nodes": 1,
        "number_of_data_nodes": 1,
        "discovered_master": True,
        "discovered_cluster_manager": True,
        "active_primary_shards": 0,
        "active_shards": 0,
        "relocating_shards": 0,
        "initializing_shards": 0,
        "unassigned_shards": 0,
        "delayed_unassigned_shards": 0,
        "number_of_pending_tasks": 0,
        "number_of_in_flight_fetch": 0,
        "task_max_waiting_in_queue_millis": 0,
        "active_shards_percent_as_number": 100.0,
    }


async def get_settings(services: Services, request: Request) -> object:
    """GET /_cluster/settings."""
    scopes: dict[str, Any] = services.cluster_settings.current()
    if request.flag("include_defaults"):
        scopes["defaults"] = services.cluster_settings.defaults()
    return _form(scopes, request)


async def put_settings(services: Services, request: Request) -> object:
    """PUT /_cluster/settings."""
    body = await request.json("request body is required")
    return {"acknowledged": True, **_form(await services.cluster_settings.change(body), request)}


def _form(scopes: dict[str, Any], request: Request) -> dict[str, Any]:
    return scopes if request.flag("flat_settings") else {scope: nest(values) for scope, values in scopes.items()}
