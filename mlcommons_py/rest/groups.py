"""Handlers of model groups."""

from mlcommons_py.rest.request import Request
from mlcommons_py.rest.services import Services


async def register(services: Services, request: Request) -> object:
    """POST /model_groups/_register."""
    body = await request.json("Model group request has empty body")
    return {"model_group_id": await services.groups.register(body), "status": "CREATED"}


async def get(services: Services, request: Request) -> object:
    """GET /model_groups/{model_group_id}."""
    return await services.groups.get(request.params["model_group_id"])


async def update(services: Services, request: Request) -> object:
    """PUT /model_groups/{model_group_id}."""
    body = await request.json("Model group request has empty body")
    await services.groups.update(request.params["model_group_id"], body)
    return {"status": "Updated"}


async def delete(services: Services, request: Request) -> object:
    """DELETE /model_groups/{model_group_id}."""
    return (await services.groups.delete(request.params["model_group_id"])).to_json()


async def search(services: Services, request: Request) -> object:
    """GET, POST /model_groups/_search."""
    return await services.groups.search(await request.json("request body or source parameter is required"))
