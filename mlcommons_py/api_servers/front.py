"""What an API server does with a request: answer it itself, pass it on to the cluster, or hand it over to the core."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from mlcommons_py.api_servers.beginning import Beginning, Own
from mlcommons_py.api_servers.cards import Card, Cards
from mlcommons_py.errors import MLCommonsError, Unavailable
from mlcommons_py.gateway.passing import Gateway
from mlcommons_py.observe.metrics import Metrics
from mlcommons_py.remote.provider import Delta
from mlcommons_py.rest.answer import Answer, Events
from mlcommons_py.rest.answering import predicted, streamed
from mlcommons_py.rest.asked import path_of
from mlcommons_py.rest.body import Memory
from mlcommons_py.rest.door import BODIES_AT_ONCE, Door, Endpoint, Route
from mlcommons_py.rest.identity import identity_of
from mlcommons_py.rest.paths import OwnPaths
from mlcommons_py.rest.request import Request
from mlcommons_py.rest.through import Through

_card: ContextVar[Callable[[], Awaitable[Card]]] = ContextVar("card")
"""Returns the model that the request under way calls, as it is now."""


class Front:
    """The ASGI application of an API server.

    Args:
        gateway: the way to the cluster; None where there is none.
        core: the way to the core.
    """

    def __init__(
        self, beginning: Beginning, cards: Cards, metrics: Metrics, gateway: Gateway | None, core: Gateway
    ) -> None:
        self._cards = cards
        self._core = Through(core, None)
        self._through = None if gateway is None else Through(gateway, metrics)
        identity = None if gateway is None else identity_of(gateway, beginning.operator)
        chunks = asyncio.Semaphore(1)  # none comes here
        bodies = Memory(BODIES_AT_ONCE * beginning.operator.max_body_bytes)

        def door(path: str, own: Own) -> Door:
            route = Route("POST", path, _HANDLERS[own], frozenset(beginning.queries[path]), abandon=True)
            return Door(metrics, path, Endpoint(beginning, [route], chunks, bodies, identity).answer)

        self._paths: OwnPaths[Door | None] = OwnPaths(
            {
                path: (door(path, beginning.own[path]) if path in beginning.own else None, frozenset(methods))
                for path, methods in beginning.routes.items()
            }
        )

    def way(self, path: str, method: str) -> Through | None:
        """Return the way of a request to the cluster or to the core, None where it may be answered here."""
        if self._through is not None and self._paths.lack(path, method):
            return self._through
        (door, _), _ = self._paths.find(path) or ((None, ()), {})
        return self._core if door is None or method != "POST" else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request for which there is no way, or hand it over after all."""
        found = self._paths.find(path_of(scope))
        assert found is not None
        (door, _), params = found
        assert door is not None
        app = await self._own(door, scope, params)
        await app(scope, receive, send)

    async def _own(self, door: Door, scope: Scope, params: Mapping[str, str]) -> ASGIApp:
        try:
            card = await self._cards.get(params["model_id"])
        except MLCommonsError:
            card = None  # there is no such model, or the core has no answer: in either case it says so itself
        if card is None:
            return self._core
        _card.set(partial(self._still, params["model_id"]))
        scope["path_params"] = params
        return door

    async def _still(self, model_id: str) -> Card:
        """Return a model after the body of a request came, which may have taken long.

        Raises:
            MLCommonsError: only the core may call it now, or there is no such model any more.
        """
        card = await self._cards.get(model_id)
        if card is None:
            raise Unavailable(f"Model {model_id} was changed while the request came; send it again")
        return card


async def _predict(beginning: Beginning, request: Request) -> Answer:
    """POST /models/{model_id}/_predict, /_predict/{algorithm}/{model_id}."""
    del beginning
    current = _card.get()

    async def answer(body: Mapping[str, Any], algorithm: str | None) -> dict[str, Any]:
        card = await current()
        return await card.predict(body, algorithm, request.user)

    return await predicted(request, answer)


async def _stream(beginning: Beginning, request: Request) -> Events:
    """POST /models/{model_id}/_predict/stream."""
    del beginning
    current = _card.get()

    async def answer(body: Mapping[str, Any]) -> AsyncGenerator[Delta]:
        card = await current()
        return await card.stream(body, request.user)

    return await streamed(request, answer)


_HANDLERS: Mapping[Own, Any] = {"predict": _predict, "stream": _stream}
