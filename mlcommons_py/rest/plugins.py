"""Handlers that show the service as the plugin it stands for, so that Dashboards and clients find it."""

from typing import Any

from mlcommons_py.rest.answer import Answer
from mlcommons_py.rest.asking import ask, headers_of, passed, read, relayed
from mlcommons_py.rest.cat import Column, kind_of, table
from mlcommons_py.rest.request import Request
from mlcommons_py.rest.services import Services

NAME = "opensearch-ml"
DESCRIPTION = "machine learning functionality for opensearch, served by mlcommons-py"
_CLASS = "org.opensearch.ml.plugin.MachineLearningPlugin"
_TIMES = ("local", "cluster_manager_timeout", "master_timeout")

COLUMNS = (
    Column("id", shown=False),
    Column("name", ("n",)),
    Column("component", ("c",)),
    Column("version", ("v",)),
    Column("description", ("d",), shown=False),
)


async def cat_plugins(services: Services, request: Request) -> object:
    """GET /_cat/plugins: a row for every node of the cluster that does not have the plugin itself."""
    query = request.query
    if request.flag("help"):
        return relayed(await ask(services, request, "/_cat/plugins", {"help": "true"}))
    kind = kind_of(query, request.headers.get("accept", ""))
    times = {name: query[name] for name in _TIMES if name in query}
    every = ",".join(one.name for one in COLUMNS)
    listed = await ask(services, request, "/_cat/plugins", {**times, "format": "json", "h": every})
    if listed.status != 200:
        return relayed(listed)
    nodes = await ask(services, request, "/_cat/nodes", {"format": "json", "full_id": "true", "h": "id,name,version"})
    if nodes.status != 200:
        return relayed(nodes)
    rows: Any = read(listed)
    having = {row["id"] for row in rows if row["component"] == NAME}
    members: Any = read(nodes)
    for node in members:
        if node["id"] not in having:
            plugin = {"component": NAME, "version": f"{node['version']}.0", "description": DESCRIPTION}
            rows.append({"id": node["id"], "name": node["name"], **plugin})
    answer = table(COLUMNS, rows, query, kind, head=request.flag("v"))
    return Answer(answer.body, headers=headers_of(listed), media_type=answer.media_type)


async def node_plugins(services: Services, request: Request) -> object:
    """GET /_nodes/plugins and /_nodes/{node_id}/plugins: the plugin on every node that does not have it itself."""
    path = f"/_nodes/{request.params['node_id']}/plugins" if "node_id" in request.params else "/_nodes/plugins"
    reply = await ask(services, request, path, passed(request))
    if reply.status != 200:
        return relayed(reply)
    body: Any = read(reply)
    for node in body["nodes"].values():
        plugins = node.setdefault("plugins", [])
        if NAME not in {plugin["name"] for plugin in plugins}:
            plugins.append(_info(node["version"]))
    return Answer(body, headers=headers_of(reply))


def _info(version: str) -> dict[str, object]:
    return {
        "name": NAME,
        "version": f"{version}.0",
        "opensearch_version": version,
        "java_version": "21",
        "description": DESCRIPTION,
        "classname": _CLASS,
        "custom_foldername": "",
        "extended_plugins": [],
        "has_native_controller": False,
    }
