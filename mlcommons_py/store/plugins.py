"""The plugins of a cluster's nodes, and what follows from them."""

import logging
from typing import Any

from mlcommons_py.errors import Unavailable
from mlcommons_py.store.cluster import Cluster, path

log = logging.getLogger(__name__)

_TARGET = path("_nodes", "plugins", filter_path="_nodes.failed,nodes.*.plugins.name")
_SHORT = 5.0
_WANTING = ("opensearch-security", "search-guard", "opensearch-ml")


class Plugins:
    """Asks the cluster what its nodes have."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._want_refreshes = True if cluster.is_told_who_asks else None
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
        nodes = self._noted(answer.body)
        return frozenset(node_id for node_id, names in nodes.items() if plugin in names)

    async def want_refreshes(self) -> bool:
        """Return whether writes have to be refreshed for all who read to know them.

        Reads by id and the service's searches know them anyway. But the security plugin has requests for system indices
        read only what was refreshed (``realtime(false)`` in its ``SystemIndexAccessEvaluator.java``), and ML Commons'
        own plugin does not refresh before it searches. So they have to be where one of these is installed, and where
        that cannot be told: the service shows who it is, or may not ask.
        """
        if self._want_refreshes is None:
            try:
                answer = await self._cluster.ask("GET", _TARGET, within=_SHORT)
            except Unavailable:  # one node that hangs keeps this answer back, but not a write
                return True
            if answer.refused is None and not answer.body["_nodes"].get("failed"):
                self._noted(answer.body)
            elif answer.refused is not None and not answer.refused.passes:
                self._want_refreshes = True
        return self._want_refreshes is not False

    def _noted(self, body: Any) -> dict[str, set[str]]:
        """Return the names of each node's plugins, by its id, and note what follows from them."""
        nodes = {key: {one["name"] for one in node.get("plugins", ())} for key, node in body.get("nodes", {}).items()}
        names = set[str]().union(*nodes.values())
        self._want_refreshes = self._cluster.is_told_who_asks or any(one.startswith(_WANTING) for one in names)
        return nodes
