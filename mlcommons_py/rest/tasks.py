"""Handlers of tasks."""

from mlcommons_py.rest.request import Request
from mlcommons_py.rest.services import Services


async def get(services: Services, request: Request) -> object:
    """GET /tasks/{task_id}."""
    return await services.batch_jobs.shown(request.params["task_id"])


async def delete(services: Services, request: Request) -> object:
    """DELETE /tasks/{task_id}."""
    return (await services.tasks.delete(request.params["task_id"])).to_json()


async def cancel(services: Services, request: Request) -> object:
    """POST /tasks/{task_id}/_cancel, or _cancel_batch, as the documentation has it."""
    await services.batch_jobs.cancel(request.params["task_id"])
    return {"status": "OK"}


async def search(services: Services, request: Request) -> object:
    """GET, POST /tasks/_search."""
    return await services.tasks.search(await request.json("request body or source parameter is required"))
