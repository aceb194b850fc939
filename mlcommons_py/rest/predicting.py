"""Handlers of predict."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from mlcommons_py.errors import ResourceNotFound
from mlcommons_py.remote.provider import Delta
from mlcommons_py.rest.answering import predicted, streamed
from mlcommons_py.rest.peers import HANDED_ON
from mlcommons_py.rest.request import Request
from mlcommons_py.rest.services import Services


async def predict(services: Services, request: Request) -> object:
    """POST /models/{model_id}/_predict, /_predict/{algorithm}/{model_id}."""
    model_id = request.params["model_id"]
    if HANDED_ON not in request.headers and await _runs_elsewhere(services, model_id):
        elsewhere = await services.nodes.addresses(model_id)
        if elsewhere:
            return await services.peers.send(request, elsewhere)

    async def answer(body: Mapping[str, Any], algorithm: str | None) -> dict[str, Any]:
        return await services.predictor.predict(model_id, body, algorithm=algorithm, user=request.user)

    return await predicted(request, answer)


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

    async def answer(body: Mapping[str, Any]) -> AsyncGenerator[Delta]:
        model = await services.models.called(model_id)
        return await services.streamer.stream(model_id, model, body, request.user)

    return await streamed(request, answer)


async def batch_predict(services: Services, request: Request) -> object:
    """POST /models/{model_id}/_batch_predict."""
    body = await request.json("request body is required", digits=True)
    return await services.batch_jobs.start(request.params["model_id"], body, request.user)
