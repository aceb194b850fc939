"""The plugins of a cluster's nodes, and what follows from them."""

import logging
from typing import Any

from mlcommons_py.errors import Unavailable
from mlcommons_py.store.cluster import Cluster, path

log = logging.getLogger(__name__)

_TARGET = path("_nodes", "plugins", filter_path="_nodes.failed,nodes.*.plugins.name")
_SHORT = 5.0
_SECURITY = ("opensearch-security", "search-guard")


class Plugins:
    """Asks the cluster what its nodes have."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._reads_know_writes = False if cluster.is_told_who_asks else None
        self._said_untold = False

    async def nodes_with(self, plugin: str) -> frozenset[str]:
        """Return the ids of the nodes that have a plugin, none where the service may not ask.

        Raises:
            Unavailable: not all nodes answer.
        """
        answer = await self._cluster.ask("GET", _TARGET, within=_SHORT)
        if answer.refused is not None:
            if answer.refused.passes or answer.refused.status >= 500:
                raise answer.refused.fault("_nodes")
            level = logging.DEBUG if self._said_untold else logging.WARNING
            log.log(level, "the cluster does not tell which nodes have plugins: %s", answer.refused.reason)
            self._said_untold = True
            return frozenset()
        if answer.body["_nodes"].get("failed"):
            raise Unavailable("not all nodes of the cluster tell which plugins they have")
        return frozenset(node_id for node_id, names in _names(answer.body).items() if plugin in names)

    async def reads_know_writes(self) -> bool:
        """Return whether reads by id are sure to know what was not refreshed since it was written.

        The security plugin has requests for system indices read only what was refreshed (``realtime(false)`` in its
        ``SystemIndexAccessEvaluator.java``). So they are not where it is installed, nor where that cannot be told: the
        service shows who it is, or may not ask.
        """
        if self._reads_know_writes is None:
            answer = await self._cluster.ask("GET", _TARGET, within=_SHORT)
            if answer.refused is None and not answer.body["_nodes"].get("failed"):
                names = set[str]().union(*_names(answer.body).values())
                self._reads_know_writes = not any(one.startswith(_SECURITY) for one in names)
            elif answer.refused is not None and not answer.refused.passes:
                self._reads_know_writes = False
        return self._reads_know_writes is True


def _names(body: Any) -> dict[str, set[str]]:
    """Return the names of each node's plugins, by its id."""
    nodes = body.get("nodes", {}).items()
    return {node_id: {one["name"] for one in node.get("plugins", ())} for node_id, node in nodes}
