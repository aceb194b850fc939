"""Tasks: what runs in the background, kept where every caller can look it up."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import orjson

from mlcommons_py.errors import Conflict, NotFound
from mlcommons_py.store import Store, Written, new_id
from mlcommons_py.store.concealed import conceal
from mlcommons_py.store.record import Record, change, now

TASKS = ".plugins-ml-task"
_AT_ONCE = 1000


class TaskState(StrEnum):
    """Where a task is."""

    CREATED = "CREATED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    COMPLETED_WITH_ERROR = "COMPLETED_WITH_ERROR"
    CANCELLING = "CANCELLING"
    EXPIRED = "EXPIRED"
    UNREACHABLE = "UNREACHABLE"


UNFINISHED = (TaskState.CREATED, TaskState.RUNNING, TaskState.CANCELLING)


class TaskType(StrEnum):
    """What a task does."""

    REGISTER_MODEL = "REGISTER_MODEL"
    DEPLOY_MODEL = "DEPLOY_MODEL"
    BATCH_PREDICTION = "BATCH_PREDICTION"


@dataclass(frozen=True, kw_only=True)
class Task(Record):
    """A task's document (``MLTask.java``).

    Attributes:
        worker_node: ids of the nodes that carry it out.
        create_time, last_update_time: milliseconds since the epoch.
        error: why it failed; of a deployment a JSON object by node id, as text.
        remote_job: of a batch job, what its provider last told of it.
        deploy_model: whether a registration shall go on to deploy its model.
        outcomes: of a task of several nodes that runs: the error of each that told, empty where it went well. This and
            ``deploy_model`` are ours, beside ML Commons' fields.
    """

    model_id: str | None = None
    task_type: str
    function_name: str
    state: str = TaskState.CREATED
    worker_node: Sequence[str] = ()
    create_time: int | None = None
    last_update_time: int | None = None
    error: str | None = None
    is_async: bool = True
    remote_job: Mapping[str, Any] | None = None
    deploy_model: bool | None = None
    outcomes: Mapping[str, str] | None = None


class Tasks:
    """The tasks of a store.

    Before one ends, all that was written for it is settled: who hears of the end finds it.
    """

    def __init__(self, store: Store, node_id: str, ended: Callable[[str, str], None] | None = None) -> None:
        """Keep the tasks of a node; ``ended`` is told the type and the state of each that ends."""
        self._store = store
        self._node_id = node_id
        self._ended = ended
        self._mine: set[str] = set()

    async def create(
        self,
        task_type: TaskType,
        function_name: str,
        model_id: str | None = None,
        *,
        nodes: Sequence[str] | None = None,
        deploy_model: bool | None = None,
        remote_job: Mapping[str, Any] | None = None,
        state: TaskState = TaskState.CREATED,
    ) -> str:
        """Store a new task, of this node or of those given, and return its id."""
        at = now()
        task = Task(
            model_id=model_id,
            task_type=task_type,
            function_name=function_name,
            state=state,
            worker_node=(self._node_id,) if nodes is None else tuple(nodes),
            deploy_model=deploy_model,
            remote_job=remote_job,
            create_time=at,
            last_update_time=at,
        )
        task_id = new_id()
        self._mine.add(task_id)
        try:
            await self._store.put(TASKS, task_id, task.to_json(), create=True)
        except BaseException:
            self._mine.discard(task_id)
            raise
        return task_id

    async def start(self, task_id: str) -> None:
        """Note that a task runs."""
        await self._change(task_id, state=TaskState.RUNNING)

    async def follow(self, task_id: str, job: Mapping[str, Any], state: TaskState | None) -> None:
        """Note what a provider tells of a batch job; None where it says nothing of its state."""
        await self._change(task_id, remote_job=job, state=state)

    async def begun(self, task_id: str, job: Mapping[str, Any]) -> None:
        """Note which batch job a provider began; where the task was given up meanwhile, it was not for its end."""

        def make(task: Task) -> Task | None:
            if task.state in UNFINISHED:
                return replace(task, remote_job=job, last_update_time=now())
            if task.state != TaskState.FAILED or task.remote_job is not None:
                return None
            return replace(task, state=TaskState.CREATED, error=None, remote_job=job, last_update_time=now())

        await self._replace(task_id, make)

    async def attach(self, task_id: str, model_id: str) -> None:
        """Note which model a running task is about."""
        await self._change(task_id, model_id=model_id)

    async def complete(self, task_id: str, model_id: str | None = None) -> None:
        """Note that a task is done."""
        await self._store.settle()
        await self._change(task_id, state=TaskState.COMPLETED, model_id=model_id)

    async def fail(self, task_id: str, error: str, state: TaskState = TaskState.FAILED) -> None:
        """Note that a task failed, and why."""
        await self._store.settle()
        await self._change(task_id, state=state, error=error)

    async def report(self, task_id: str, node_id: str, error: str | None = None) -> None:
        """Note how a task of several nodes ended on one; when all have told, the task ends."""

        def make(task: Task) -> Task | None:
            if task.state not in UNFINISHED:
                return None
            outcomes = {**(task.outcomes or {}), node_id: error or ""}
            errors = {one: text for one, text in outcomes.items() if text}
            told = orjson.dumps(errors).decode() if errors else None
            if set(task.worker_node) - outcomes.keys():
                return replace(task, state=TaskState.RUNNING, outcomes=outcomes, error=told, last_update_time=now())
            state = TaskState.COMPLETED_WITH_ERROR if errors else TaskState.COMPLETED
            if len(errors) == len(outcomes):
                state = TaskState.FAILED
            return replace(task, state=state, outcomes=None, error=told, last_update_time=now())

        await self._store.settle()
        await self._replace(task_id, make)

    async def claim(self, task_id: str, gone: str) -> bool:
        """Make a task of a node that is gone one of this node; return whether this call did it."""

        def make(task: Task) -> Task | None:
            if task.state not in UNFINISHED or list(task.worker_node) != [gone]:
                return None
            return replace(task, worker_node=(self._node_id,), last_update_time=now())

        self._mine.add(task_id)
        claimed = await self._replace(task_id, make)
        if not claimed:
            self._mine.discard(task_id)
        return claimed

    async def _change(self, task_id: str, **changes: Any) -> None:
        """Change a task that is not finished; a final state is final."""
        given = {key: value for key, value in changes.items() if value is not None}

        def make(task: Task) -> Task | None:
            return replace(task, **given, last_update_time=now()) if task.state in UNFINISHED else None

        await self._replace(task_id, make)

    async def _replace(self, task_id: str, make: Callable[[Task], Task | None]) -> bool:
        changed = await change(self._store, TASKS, task_id, Task, make)
        if changed is None or changed[0].state not in UNFINISHED:
            self._mine.discard(task_id)
        if changed is not None and changed[0].state not in UNFINISHED:
            await self._store.settle()
            if self._ended is not None:
                self._ended(changed[0].task_type, changed[0].state)
        return changed is not None

    async def get(self, task_id: str) -> dict[str, Any]:
        """Return a task's document.

        Raises:
            NotFound: there is none of that id.
        """
        document = await self._store.get(TASKS, task_id)
        if document is None:
            raise NotFound("Failed to find task")
        return document.source

    async def delete(self, task_id: str) -> Written:
        """Delete a task that does not run.

        Raises:
            NotFound: there is none of that id.
            Conflict: it runs.
        """
        task = Task.from_json(await self.get(task_id))
        if task.state == TaskState.RUNNING:
            raise Conflict("Task cannot be deleted in running state. Try after some time.")
        self._mine.discard(task_id)
        return await self._store.delete(TASKS, task_id)

    async def task(self, task_id: str) -> Task | None:
        """Return a task, or None where there is none of that id."""
        document = await self._store.get(TASKS, task_id)
        return None if document is None else Task.from_json(document.source)

    async def ahead(self, task_id: str, task_type: TaskType) -> int:
        """Return how many unfinished tasks of a type began before a new one, or are under way at a provider.

        All services count in the order of the index, so that of two that begin at once one is ahead.
        """
        filters = [{"terms": {"state": list(UNFINISHED)}}, {"term": {"task_type": task_type}}]
        body: dict[str, Any] = {"query": {"bool": {"filter": filters}}, "_source": ["remote_job"]}
        body |= {"size": 10_000, "seq_no_primary_term": True}
        hits = {hit["_id"]: hit for hit in (await self._store.search(TASKS, body))["hits"]["hits"]}
        own = hits.pop(task_id, {"_seq_no": math.inf})
        return sum(hit["_seq_no"] < own["_seq_no"] or bool(hit["_source"].get("remote_job")) for hit in hits.values())

    async def search(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a client's search."""
        return await self._store.search(
            TASKS, conceal({**body, "version": True, "seq_no_primary_term": True}, (), ("*",))
        )

    async def models_of(self, task_type: TaskType, model_ids: Sequence[str]) -> set[str]:
        """Return those of the models that there is a task of that type about."""
        found: set[str] = set()
        for start in range(0, len(model_ids), _AT_ONCE):
            some = model_ids[start : start + _AT_ONCE]
            filters = [{"terms": {"model_id": list(some)}}, {"term": {"task_type": task_type}}]
            aggs = {"models": {"terms": {"field": "model_id", "size": _AT_ONCE}}}
            answer = await self._store.search(TASKS, {"query": {"bool": {"filter": filters}}, "size": 0, "aggs": aggs})
            if "aggregations" in answer:
                found.update(str(one["key"]) for one in answer["aggregations"]["models"]["buckets"])
        return found

    async def _found(self, filters: Sequence[Mapping[str, Any]]) -> list[tuple[str, Task]]:
        """Return the tasks that pass all filters, with their ids."""
        body = {"query": {"bool": {"filter": filters}}, "size": 10_000}
        hits = (await self._store.search(TASKS, body))["hits"]["hits"]
        return [(hit["_id"], Task.from_json(hit["_source"])) for hit in hits]

    async def of_type(self, task_type: TaskType) -> list[tuple[str, Task]]:
        """Return the tasks of a type that are not finished, with their ids."""
        filters: list[dict[str, Any]] = [
            {"terms": {"state": list(UNFINISHED)}},
            {"term": {"task_type": task_type}},
        ]
        return await self._found(filters)

    async def unfinished(self, *, everywhere: bool = False) -> list[tuple[str, Task]]:
        """Return the tasks of this node, or of all nodes, that are not finished, with their ids."""
        filters: list[dict[str, Any]] = [{"terms": {"state": list(UNFINISHED)}}]
        if not everywhere:
            filters.append({"term": {"worker_node": self._node_id}})
        return await self._found(filters)

    async def runs(self, task_id: str) -> bool:
        """Return whether a task is there and not finished."""
        task = await self.task(task_id)
        return task is not None and task.state in UNFINISHED

    async def left_over(self) -> list[tuple[str, Task]]:
        """Return the unfinished tasks of this node that an earlier run of it created, with their ids."""
        before = frozenset(self._mine)
        unfinished = await self.unfinished()
        return [(task_id, task) for task_id, task in unfinished if task_id not in before | self._mine]
