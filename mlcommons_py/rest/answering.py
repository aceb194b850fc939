"""Answers of predict, whichever process of the service gives them."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any

from mlcommons_py.remote.provider import Delta
from mlcommons_py.rest.answer import Answer, Events
from mlcommons_py.rest.request import Request

Predict = Callable[[Mapping[str, Any], str | None], Awaitable[dict[str, Any]]]
"""Returns the answer of a body, and of the algorithm that the path names."""

Stream = Callable[[Mapping[str, Any]], Awaitable[AsyncGenerator[Delta]]]
"""Returns the pieces of the answer of a body."""

_HEAVY = 16
"""Entries from which on an answer is rendered in a thread."""


async def predicted(request: Request, predict: Predict) -> Answer:
    """Return the answer to a request of ``_predict``.

    Raises:
        MLCommonsError: the body is wrong, or what ``predict`` raises.
    """
    body = await request.json("request body is required", digits=True)
    answer = await predict(body, request.params.get("algorithm", request.query.get("algorithm")))
    return Answer(answer, heavy=len(answer["inference_results"]) >= _HEAVY)


async def streamed(request: Request, stream: Stream) -> Events:
    """Return the answer to a request of ``_predict/stream``.

    Raises:
        MLCommonsError: the body is wrong, or what ``stream`` raises.
    """
    return Events(_shown(await stream(await request.json("request body is required", digits=True))))


async def _shown(deltas: AsyncGenerator[Delta]) -> AsyncGenerator[dict[str, Any]]:
    """Yield pieces of an answer as ML Commons shows them."""
    async with aclosing(deltas):
        async for delta in deltas:
            shown = {"content": delta.content, "is_last": delta.is_last}
            yield {"inference_results": [{"output": [{"name": "response", "dataAsMap": shown}]}]}
