"""Many writes in one request to the cluster."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from mlcommons_py.errors import MLCommonsError, Unavailable
from mlcommons_py.store import Delete, Operation, Put, Source, Written
from mlcommons_py.store.answers import not_deleted, written_of
from mlcommons_py.store.cluster import Answer, Cluster, path
from mlcommons_py.store.encoding import Expected, encode
from mlcommons_py.store.indices import Indices
from mlcommons_py.store.refusals import refusal_of_item

Outcome = Written | MLCommonsError
Earlier = Callable[[str, str, Source | None], Awaitable[Written | None]]

_BYTES = 5_000_000
_ROUNDS = 7
_PAUSE = 0.1


@dataclass(frozen=True, slots=True)
class _Line:
    """A write to send: its place among all, and what goes over the wire."""

    place: int
    operation: Operation
    encoded: bytes


async def write_many(
    cluster: Cluster, indices: Indices, operations: Sequence[Operation], earlier: Earlier, *, refresh: bool
) -> list[Outcome]:
    """Do many writes, in order, and return what became of each.

    With ``refresh`` their indices are refreshed. ``earlier`` returns what an earlier try of ours did, whose answer was
    lost, to a document of that source, or, where there is no source, in deleting it; None where it did nothing.
    """
    outcomes: dict[int, Outcome] = {}
    lines: list[_Line] = []
    absent = await _absent(indices, {one.index for one in operations if isinstance(one, Put)})
    for place, operation in enumerate(operations):
        try:
            if operation.index in absent:
                raise absent[operation.index]
            lines.append(_Line(place, operation, _encoded(operation)))
        except MLCommonsError as fault:
            outcomes[place] = fault
    for batch in _batches(lines):
        await _send(cluster, batch, outcomes, earlier, refresh=refresh)
    if any(isinstance(one, Written) and one.seq_no == 0 for one in outcomes.values()):
        for index in {one.index for one in operations}:
            indices.forget(index)
    return [outcomes[place] for place in range(len(operations))]


async def delete_one(
    cluster: Cluster, index: str, doc_id: str, condition: Expected, earlier: Earlier, *, refresh: bool
) -> Outcome:
    """Delete a document, under a condition if there is one.

    As a bulk of one, for that is a POST: a DELETE whose connection breaks aiohttp sends again by itself, and the caller
    would not know that the deletion which then finds nothing was its second.
    """
    state = {} if condition is None else {"if_seq_no": condition[0], "if_primary_term": condition[1]}
    action = orjson.dumps({"delete": {"_index": index, "_id": doc_id, **state}}) + b"\n"
    outcomes: dict[int, Outcome] = {}
    await _send(cluster, [_Line(0, Delete(index, doc_id), action)], outcomes, earlier, refresh=refresh)
    return outcomes[0]


async def _absent(indices: Indices, names: set[str]) -> Mapping[str, MLCommonsError]:
    """Bring the indices about, and return those that cannot be, with the reason."""
    faults: dict[str, MLCommonsError] = {}
    for name in sorted(names):
        try:
            await indices.ensure(name)
        except MLCommonsError as fault:
            faults[name] = fault
    return faults


def _encoded(operation: Operation) -> bytes:
    name = {"_index": operation.index, "_id": operation.id}
    if isinstance(operation, Delete):
        return orjson.dumps({"delete": name}) + b"\n"
    action = orjson.dumps({"create" if operation.create else "index": name})
    return b"\n".join((action, encode(operation.id, operation.source), b""))


def _batches(lines: Sequence[_Line]) -> Iterator[list[_Line]]:
    batch: list[_Line] = []
    size = 0
    for line in lines:
        if batch and size + len(line.encoded) > _BYTES:
            yield batch
            batch, size = [], 0
        batch.append(line)
        size += len(line.encoded)
    if batch:
        yield batch


async def _send(
    cluster: Cluster, batch: list[_Line], outcomes: dict[int, Outcome], earlier: Earlier, *, refresh: bool
) -> None:
    """Send a batch, and again what the cluster had no room for."""
    for number in range(_ROUNDS):
        answer = await cluster.ask("POST", path("_bulk", refresh=refresh), b"".join(line.encoded for line in batch))
        if answer.refused is not None:
            outcomes |= {line.place: answer.refused.fault(line.operation.index, line.operation.id) for line in batch}
            return
        left = []
        for line, item in zip(batch, answer.body["items"], strict=True):
            ((_, told),) = item.items()
            outcomes[line.place] = await _outcome(line.operation, told, answer, earlier)
            refusal = refusal_of_item(told)
            if refusal is not None and refusal.passes:
                left.append(line)
        if not left:
            return
        batch = left
        await asyncio.sleep(random.uniform(0, _PAUSE * 2**number))  # noqa: S311 - no secret


async def _outcome(operation: Operation, told: Mapping[str, Any], answer: Answer, earlier: Earlier) -> Outcome:
    index, doc_id = operation.index, operation.id
    refusal = refusal_of_item(told)
    if refusal is None:
        if told["result"] == "not_found":
            return not_deleted(index, doc_id, told, repeated=answer.repeated)
        return written_of(told)
    if isinstance(operation, Delete) and refusal.of_missing_index:
        return not_deleted(index, doc_id, {}, repeated=False)
    if refusal.status == 409 and answer.repeated:
        try:
            mine = await earlier(index, doc_id, operation.source if isinstance(operation, Put) else None)
        except Unavailable as fault:
            return fault
        if mine is not None:
            return mine
    return refusal.fault(index, doc_id)
