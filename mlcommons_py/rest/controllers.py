"""Handlers of controllers."""

from mlcommons_py.rest.request import Request
from mlcommons_py.rest.services import Services


async def create(services: Services, request: Request) -> object:
    """POST /controllers/{model_id}."""
    body = await request.json("Create model controller request has empty body", digits=True)
    return await services.controllers.create(request.params["model_id"], body)


async def update(services: Services, request: Request) -> object:
    """PUT /controllers/{model_id}."""
    body = await request.json("Update model controller request has empty body", digits=True)
    return (await services.controllers.update(request.params["model_id"], body)).to_json()


async def get(services: Services, request: Request) -> object:
    """GET /controllers/{model_id}."""
    return await services.controllers.get(request.params["model_id"])


async def delete(services: Services, request: Request) -> object:
    """DELETE /controllers/{model_id}."""
    return (await services.controllers.delete(request.params["model_id"])).to_json()
