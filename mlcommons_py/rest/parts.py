"""Answers that are put together of one part for each node."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from mlcommons_py.rest.peers import HANDED_ON
from mlcommons_py.rest.request import Request
from mlcommons_py.rest.services import Services

Part = dict[str, Any]
"""What one node has to tell."""


async def of_nodes(
    services: Services, request: Request, chosen: Collection[str], here: Callable[[], Awaitable[Part]]
) -> dict[str, Part]:
    """Return the parts of the chosen nodes that have something to tell, by their ids.

    ``chosen`` are ids, names, ``_local`` or ``_all``, none for every node that lives; ``here`` returns this node's
    part. The others are asked with the client's own request; one that does not answer in time is left out, as ML
    Commons leaves it out. A node that is asked by another tells its own part and asks nobody.
    """
    own = services.node.id
    if HANDED_ON in request.headers:
        nodes: dict[str, str | None] = {own: None}
    else:
        nodes = await services.nodes.chosen(chosen)
    others = {node_id: address for node_id, address in nodes.items() if node_id != own and address is not None}

    async def told(node_id: str, address: str) -> Part:
        answer = await services.peers.ask(request, address)
        return part if isinstance(part := (answer.get("nodes") or {}).get(node_id), dict) else {}

    asked = [told(node_id, address) for node_id, address in others.items()]
    mine = [here()] if own in nodes else []
    parts = await asyncio.gather(*mine, *asked)
    ids = [own, *others] if mine else list(others)
    return {node_id: part for node_id, part in zip(ids, parts, strict=True) if part}
