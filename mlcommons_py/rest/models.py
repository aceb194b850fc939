"""Handlers of models: registering, reading, changing, deploying."""

import re
from collections.abc import Mapping
from typing import Any

from mlcommons_py import exact, fields
from mlcommons_py.errors import IllegalArgument, NumberFormat, ParseFailed
from mlcommons_py.rest.request import Request
from mlcommons_py.rest.services import Services

_AS_TEXTS = ("connector", "rate_limiter")
"""Fields whose numbers are stored as texts, with the digits they came with."""


async def register(services: Services, request: Request) -> object:
    """POST /models/_register."""
    body = _with_digits(await request.json("Model register request has empty body", digits=True))
    return await services.registrar.register(body, deploy=request.flag("deploy") or request.flag("load"))


def _with_digits(body: Mapping[str, Any]) -> dict[str, Any]:
    return {field: value if field in _AS_TEXTS else exact.plain(value) for field, value in body.items()}


async def register_legacy(services: Services, request: Request) -> object:
    """POST /models/{model_id}/{version}/_register, which no longer works upstream either."""
    body = await request.json("Model register request has empty body")
    if fields.text(body, "name") is None:
        raise IllegalArgument("model name is null")
    raise IllegalArgument(f"request [{request.path}] contains unrecognized parameters: [model_id], [version]")


async def register_meta(services: Services, request: Request) -> object:
    """POST /models/_register_meta."""
    body = _with_digits(await request.json("Model meta request has empty body", digits=True))
    return await services.registrar.register_meta(body)


async def upload_chunk(services: Services, request: Request) -> object:
    """POST /models/{model_id}/upload_chunk/{chunk_number}."""
    text = request.params["chunk_number"]
    if not re.fullmatch(r"[+-]?\d{1,10}", text, re.ASCII):
        raise NumberFormat(text)
    return await services.registrar.upload_chunk(request.params["model_id"], int(text), request.body)


async def get(services: Services, request: Request) -> object:
    """GET /models/{model_id}."""
    request.flag("return_content")
    return await services.models.get(request.params["model_id"])


async def update(services: Services, request: Request) -> object:
    """PUT /models/{model_id}."""
    body = _with_digits(await request.json("Update model request has empty body", digits=True))
    return (await services.changer.update(request.params["model_id"], body)).to_json()


async def delete(services: Services, request: Request) -> object:
    """DELETE /models/{model_id}."""
    deleted = await services.registrar.delete(request.params["model_id"])
    await services.controllers.model_deleted(request.params["model_id"])
    return deleted.to_json()


async def search(services: Services, request: Request) -> object:
    """GET, POST /models/_search."""
    body = await request.json("request body or source parameter is required")
    return await services.models.search(
        body, dashboards="OpenSearch Dashboards" in request.headers.get("user-agent", "")
    )


async def deploy(services: Services, request: Request) -> object:
    """POST /models/{model_id}/_deploy."""
    return await services.deployer.deploy(request.params["model_id"], await request.json_or_none() or {})


async def undeploy(services: Services, request: Request) -> object:
    """POST /models/{model_id}/_undeploy."""
    body = await request.json_or_none() or {}
    return await services.deployer.undeploy([request.params["model_id"]], fields.texts(body, "node_ids"))


async def undeploy_many(services: Services, request: Request) -> object:
    """POST /models/_undeploy."""
    body = await request.json_or_none()
    if body is None:
        raise ParseFailed("Must set specific model ids to undeploy")
    return await services.deployer.undeploy(fields.texts(body, "model_ids") or [], fields.texts(body, "node_ids"))
