"""Handlers of indices of stop words, for a service without a cluster."""

from mlcommons_py.rest.answer import Answer
from mlcommons_py.rest.request import Request
from mlcommons_py.rest.services import Services

_NO_BODY = "request body is required"


async def create(services: Services, request: Request) -> object:
    """PUT /{index}."""
    return await services.stop_words.create(request.params["index"], await request.json_or_none() or {})


async def describe(services: Services, request: Request) -> object:
    """GET /{index}."""
    return await services.stop_words.describe(request.params["index"])


async def delete(services: Services, request: Request) -> object:
    """DELETE /{index}."""
    return await services.stop_words.delete(request.params["index"])


async def add(services: Services, request: Request) -> object:
    """POST /{index}/_doc."""
    return (await services.stop_words.put(request.params["index"], None, await request.json(_NO_BODY))).to_json()


async def put(services: Services, request: Request) -> object:
    """PUT, POST /{index}/_doc/{id}."""
    index, doc_id = request.params["index"], request.params["id"]
    return (await services.stop_words.put(index, doc_id, await request.json(_NO_BODY))).to_json()


async def get(services: Services, request: Request) -> object:
    """GET /{index}/_doc/{id}."""
    shown = await services.stop_words.get(request.params["index"], request.params["id"])
    return Answer(shown, 200 if shown["found"] else 404)


async def remove(services: Services, request: Request) -> object:
    """DELETE /{index}/_doc/{id}."""
    removed = await services.stop_words.remove(request.params["index"], request.params["id"])
    return Answer(removed.to_json(), 404 if removed.result == "not_found" else 200)


async def search(services: Services, request: Request) -> object:
    """GET, POST /{index}/_search."""
    return await services.stop_words.search(request.params["index"], await request.json_or_none() or {})
