"""Handlers of predict."""

from mlcommons_py.errors import ParseFailed
from mlcommons_py.rest.answer import Answer
from mlcommons_py.rest.peers import HANDED_ON
from mlcommons_py.rest.request import Request
from mlcommons_py.rest.services import Services

_HEAVY = 16
"""Entries from which on an answer is rendered in a thread."""


async def predict(services: Services, request: Request) -> object:
    """POST /models/{model_id}/_predict, /_predict/{algorithm}/{model_id}."""
    model_id = request.params["model_id"]
    if services.deployments.get(model_id) is None and HANDED_ON not in request.headers:
        elsewhere = await services.nodes.addresses(model_id)
        if elsewhere:
            return await services.peers.send(request, elsewhere)
    body = await request.json_or_none()
    if body is None:
        raise ParseFailed("request body is required")
    answer = await services.predictor.predict(
        model_id, body, algorithm=request.params.get("algorithm"), user=request.user
    )
    return Answer(answer, heavy=len(answer["inference_results"]) >= _HEAVY)
