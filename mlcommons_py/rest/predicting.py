"""Handlers of predict."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from mlcommons_py.errors import ResourceNotFound
from mlcommons_py.remote.provider import Delta
from mlcommons_py.rest.answer import Answer, Events
from mlcommons_py.rest.peers import HANDED_ON
from mlcommons_py.rest.request import Request
from mlcommons_py.rest.services import Services

_HEAVY = 16
"""Entries from which on an answer is rendered in a thread."""


async def predict(services: Services, request: Request) -> object:
    """POST /models/{model_id}/_predict, /_predict/{algorithm}/{model_id}."""
    model_id = request.params["model_id"]
    if HANDED_ON not in request.headers and await _runs_elsewhere(services, model_id):
        elsewhere = await services.nodes.addresses(model_id)
        if elsewhere:
            return await services.peers.send(request, elsewhere)
    body = await request.json("request body is required", digits=True)
    algorithm = request.params.get("algorithm", request.query.get("algorithm"))
    answer = await services.predictor.predict(model_id, body, algorithm=algorithm, user=request.user)
    return Answer(answer, heavy=len(answer["inference_results"]) >= _HEAVY)


async def _runs_elsewhere(services: Services, model_id: str) -> bool:
    """Return whether a model may run on another node only; a remote one may be called from any."""
    if model_id in services.residents:
        return False
    try:
        return not (await services.models.recent(model_id)).is_remote
    except ResourceNotFound:
        return False


async def stream(services: Services, request: Request) -> object:
    """POST /models/{model_id}/_predict/stream."""
    model_id = request.params["model_id"]
    body = await request.json("request body is required", digits=True)
    model = await services.models.called(model_id)
    return Events(_shown(await services.streamer.stream(model_id, model, body, request.user)))


async def _shown(deltas: AsyncGenerator[Delta]) -> AsyncGenerator[dict[str, Any]]:
    """Yield pieces of an answer as ML Commons shows them."""
    async with aclosing(deltas):
        async for delta in deltas:
            shown = {"content": delta.content, "is_last": delta.is_last}
            yield {"inference_results": [{"output": [{"name": "response", "dataAsMap": shown}]}]}


async def batch_predict(services: Services, request: Request) -> object:
    """POST /models/{model_id}/_batch_predict."""
    body = await request.json("request body is required", digits=True)
    return await services.batch_jobs.start(request.params["model_id"], body, request.user)
