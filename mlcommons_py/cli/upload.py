"""Sending an archive: announce it, then its chunks, several at a time, again where the line fails."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import httpx
import tenacity

from mlcommons_py.cli.archive import TORCH_SCRIPT, Archive
from mlcommons_py.cli.client import ML, Client, patience
from mlcommons_py.errors import Conflict, IllegalArgument, MLCommonsError, NotFound

PARALLEL = 3
"""Chunks on their way at once."""

_INCOMPLETE = ("REGISTERING", "UPLOADING")
_REQUIRED = {"model_type": "--model-type", "embedding_dimension": "--dimension", "framework_type": "--framework"}


def meta(archive: Archive, fields: Mapping[str, Any], config: Mapping[str, Any], model_format: str) -> dict[str, Any]:
    """Return the body of ``_register_meta``; fields and config that are None are left out.

    Raises:
        IllegalArgument: a TorchScript archive, which does not say what it is, lacks a part of its config.
    """
    given = {key: value for key, value in config.items() if value is not None}
    if model_format == TORCH_SCRIPT:
        lacking = [option for key, option in _REQUIRED.items() if key not in given]
        if lacking:
            raise IllegalArgument(
                f"a TorchScript file does not say what it is; give {', '.join(lacking)},"
                " as in: --model-type bert --dimension 384 --framework sentence_transformers"
            )
    body = {
        **{key: value for key, value in fields.items() if value is not None},
        "model_format": model_format,
        "model_content_hash_value": archive.sha256,
        "model_content_size_in_bytes": archive.size,
        "total_chunks": archive.total_chunks,
    }
    return {**body, "model_config": given} if given else body


def group_id(client: Client, name_or_id: str, description: str | None = None) -> str:
    """Return the id of the model group of that id or name; where there is none of that name, found it."""
    groups = client.search("model_groups", {"query": {"ids": {"values": [name_or_id]}}, "size": 1})
    groups = groups or client.search("model_groups", {"query": {"term": {"name.keyword": name_or_id}}, "size": 1})
    if groups:
        return str(groups[0]["id"])
    body = {"name": name_or_id} if description is None else {"name": name_or_id, "description": description}
    return str(client.call("POST", f"{ML}/model_groups/_register", body)["model_group_id"])


def present(client: Client, model_id: str) -> set[int]:
    """Return the numbers of the chunks that the service has."""
    query = {"bool": {"filter": [{"term": {"model_id": model_id}}, {"exists": {"field": "chunk_number"}}]}}
    found = client.search("models", {"query": query, "_source": ["chunk_number"], "size": 10_000})
    return {int(one["chunk_number"]) for one in found}


def missing(client: Client, model_id: str, archive: Archive) -> list[int]:
    """Return the numbers of the chunks that are still to be sent for a model that was announced earlier.

    Raises:
        NotFound: there is no such model.
        Conflict: it was announced with other content.
    """
    document = client.find(model_id)
    if document is None or document["id"] != model_id:
        raise NotFound(f"there is no model {model_id} to resume; leave --resume out to begin anew")
    told = (document.get("model_content_hash_value"), document.get("model_content_size_in_bytes"))
    if told != (archive.sha256, archive.size):
        raise Conflict(
            f"model {model_id} was announced with SHA-256 {told[0]} and {told[1]} bytes, what is here has"
            f" {archive.sha256} and {archive.size}; leave --resume out to register this as a new model"
        )
    if document["model_state"] not in _INCOMPLETE:
        return []
    lacking = sorted(set(range(archive.total_chunks)) - present(client, model_id))
    # A service that died over the last chunk has all of them and still waits for one.
    return lacking or [archive.total_chunks - 1]


def send(
    client: Client, model_id: str, archive: Archive, numbers: Sequence[int], advance: Callable[[int], None]
) -> None:
    """Upload chunks; ``advance`` hears how many bytes went out, negative where a chunk has to be sent again.

    When this is interrupted, the chunks under way are cut off.

    Raises:
        MLCommonsError: a chunk was refused, or could not be sent within several attempts.
    """
    try:
        asyncio.run(_send_all(client, model_id, archive, numbers, advance))
    except ExceptionGroup as faults:
        raise faults.exceptions[0] from None


async def _send_all(
    client: Client, model_id: str, archive: Archive, numbers: Sequence[int], advance: Callable[[int], None]
) -> None:
    places = asyncio.Semaphore(PARALLEL)
    async with client.asynchronous() as http, asyncio.TaskGroup() as group:

        async def send_one(number: int) -> None:
            async with places:
                await _send(client, http, model_id, archive, number, advance)

        for number in numbers:
            group.create_task(send_one(number))


async def _send(
    client: Client,
    http: httpx.AsyncClient,
    model_id: str,
    archive: Archive,
    number: int,
    advance: Callable[[int], None],
) -> None:
    path = f"{ML}/models/{model_id}/upload_chunk/{number}"
    # The bytes are no JSON; ML Commons itself takes them under no other name.
    headers = {"content-type": "application/json", "content-length": str(archive.chunk_size(number))}
    async for attempt in tenacity.AsyncRetrying(**patience()):
        with attempt:
            told = 0

            async def pieces() -> AsyncIterator[bytes]:
                nonlocal told
                for piece in archive.pieces(number):
                    yield piece
                    told += len(piece)
                    advance(len(piece))

            try:
                await client.post(http, path, pieces(), headers)
            except MLCommonsError:
                advance(-told)
                raise
