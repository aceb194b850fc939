"""Handlers of connectors."""

from mlcommons_py.rest.request import Request
from mlcommons_py.rest.services import Services


async def create(services: Services, request: Request) -> object:
    """POST /connectors/_create."""
    body = await request.json("Create Connector request has empty body", digits=True)
    return await services.connectors.create(body)


async def get(services: Services, request: Request) -> object:
    """GET /connectors/{connector_id}."""
    return await services.connectors.get(request.params["connector_id"])


async def update(services: Services, request: Request) -> object:
    """PUT /connectors/{connector_id}."""
    body = await request.json("Failed to update connector: Request body is empty", digits=True)
    return (await services.connectors.update(request.params["connector_id"], body)).to_json()


async def delete(services: Services, request: Request) -> object:
    """DELETE /connectors/{connector_id}."""
    return (await services.connectors.delete(request.params["connector_id"])).to_json()


async def search(services: Services, request: Request) -> object:
    """GET, POST /connectors/_search."""
    return await services.connectors.search(await request.json("request body or source parameter is required"))
