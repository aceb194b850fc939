"""Writes that those who search a cluster's indices by themselves do not see yet."""

import asyncio
import logging

from mlcommons_py.errors import MLCommonsError
from mlcommons_py.store.cluster import Cluster, path
from mlcommons_py.store.patience import wrote

log = logging.getLogger(__name__)


class Unseen:
    """The indices that were written to without a refresh."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._indices: set[str] = set()
        self._turn = asyncio.Lock()

    def note(self, *indices: str, refreshed: bool) -> None:
        """Note that indices were written to; writes that were refreshed everybody sees."""
        if not refreshed:
            self._indices.update(indices)
            wrote(self.settle)

    async def settle(self) -> None:
        """Have everybody who searches see what was noted, with one refresh of all that it is in.

        Where that fails they see it after the cluster's own interval: what was written is written all the same.
        """
        # Whose writes another call refreshes just now waits for that.
        async with self._turn:
            indices, self._indices = self._indices, set()
            if not indices:
                return
            try:
                target = path(",".join(sorted(indices)), "_refresh", ignore_unavailable=True)
                answer = await self._cluster.ask("POST", target)
                if answer.refused is not None:
                    log.debug("%s cannot be refreshed: %s", indices, answer.refused.reason)
            except MLCommonsError as fault:
                log.debug("%s cannot be refreshed: %s", indices, fault.reason)
            except BaseException:
                self._indices |= indices
                raise
