"""A wired service without a socket."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlcommons_py.app import open_store
from mlcommons_py.nodes import PATIENCE
from mlcommons_py.plugin_settings import PREFIX
from mlcommons_py.settings import EMBEDDED, Operator
from mlcommons_py.store import Store
from mlcommons_py.wiring import App, wire
from tests.store.hooked import HookedStore

TRACED = Path(__file__).parents[1] / "data" / "traced"
OPEN = ("allow_registering_model_via_local_file", "allow_registering_model_via_url", "connector.private_ip_enabled")


@dataclass
class House:
    """A service and short ways to use it."""

    app: App
    store: HookedStore
    closed: bool = False
    reconciling: asyncio.Task[None] | None = None

    @property
    def node_id(self) -> str:
        """The id of its node."""
        return self.app.services.node.id

    async def restore(self) -> None:
        """Do all that a start does; where others may use the store, what may be theirs is watched for a while."""
        reconciler = self.app.reconciler
        await reconciler.restore()
        if not self.app.services.nodes.alone:
            for _ in range(PATIENCE + 1):
                await reconciler.step()

    async def rest(self) -> None:
        """Look at nothing any more by itself, and tell nothing."""
        if self.reconciling is not None:
            self.reconciling.cancel()
            await asyncio.wait([self.reconciling])

    async def close(self) -> None:
        """End the service, once."""
        await self.rest()
        if not self.closed:
            self.closed = True
            await self.app.close()

    async def kill(self) -> None:
        """End the service without a last word to anybody."""
        self.store.cut()
        await self.close()

    async def end(self, task_id: str) -> dict[str, Any]:
        """Wait for the end of a task and return it."""
        async with asyncio.timeout(60):
            while (task := await self.app.services.tasks.get(task_id))["state"] in ("CREATED", "RUNNING"):
                await asyncio.sleep(0.01)
        return task

    async def upload(self, archive: bytes, **fields: Any) -> str:
        """Register an archive, in one chunk, and return its model's id."""
        registrar = self.app.services.registrar
        meta = await registrar.register_meta({**description(archive), **fields})
        await registrar.upload_chunk(meta["model_id"], 0, archive)
        return str(meta["model_id"])

    async def proven(self, archive: bytes, **fields: Any) -> str:
        """Upload an archive, wait for the end of its proof, and return the model's id."""
        model_id = await self.upload(archive, **fields)
        about = {"query": {"term": {"model_id": model_id}}}

        async def ended() -> bool:
            hits = (await self.app.services.tasks.search(about))["hits"]["hits"]
            return bool(hits) and hits[0]["_source"]["state"] not in ("CREATED", "RUNNING")

        await self.until(ended)
        return model_id

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(60):
            while not await holds():
                await asyncio.sleep(0.01)

    async def state(self, model_id: str) -> str:
        """Return a model's state."""
        return str((await self.app.services.models.get(model_id))["model_state"])

    async def deploy(self, model_id: str) -> dict[str, Any]:
        """Deploy a model and return the task at its end."""
        return await self.end((await self.app.services.deployer.deploy(model_id, {}))["task_id"])

    async def found(self, index: str) -> int:
        """Return how many documents an index has."""
        answer = await self.app.store.search(index, {"size": 0})
        return int(answer["hits"]["total"]["value"])


def description(archive: bytes) -> dict[str, Any]:
    """Return what a client says of the small archive."""
    return {
        "name": "tiny",
        "model_format": "TORCH_SCRIPT",
        "model_content_hash_value": hashlib.sha256(archive).hexdigest(),
        "model_content_size_in_bytes": len(archive),
        "total_chunks": 1,
        "model_config": {"model_type": "bert", "embedding_dimension": 32, "framework_type": "sentence_transformers"},
    }


@pytest.fixture(scope="session")
def tiny() -> bytes:
    """A small TorchScript archive."""
    return (TRACED / "bert-mean-normalized.zip").read_bytes()


@pytest.fixture
async def build(at: str, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """A maker of services over the same data directory, one at a time."""
    houses: list[House] = []

    async def make(**plugin: Any) -> House:
        given = {PREFIX + name: True for name in OPEN}
        given.update({PREFIX + name.replace("__", "."): value for name, value in plugin.items()})
        operator = Operator(data=tmp_path, store=at, model_root=tmp_path / "models", threads=1, plugin=given)
        store = HookedStore(await open_store(operator))
        house = House(await wire(operator, store, tmp_path, alone=at == EMBEDDED), store)
        houses.append(house)
        return house

    yield make
    for house in houses:
        await house.close()


class Shared:
    """A store that many use and only its owner closes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def close(self) -> None:
        """Do nothing."""


@pytest.fixture
async def join(at: str, store: Store, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """A maker of services that share one store, each reconciling."""
    houses: list[House] = []

    async def make(name: str = "", **plugin: Any) -> House:
        data = tmp_path / (name or f"node-{len(houses)}")
        given = {PREFIX + one: True for one in (*OPEN, "allow_custom_deployment_plan")}
        given.update({PREFIX + one.replace("__", "."): value for one, value in plugin.items()})
        operator = Operator(data=data, store=at, model_root=tmp_path, threads=1, plugin=given, heartbeat_seconds=0.1)
        hooked = HookedStore(Shared(store))
        house = House(await wire(operator, hooked, data, alone=False), hooked)
        houses.append(house)
        house.reconciling = asyncio.create_task(house.app.reconciler.run())

        async def met() -> bool:
            living = [one for one in houses if not one.closed]
            return all(len(one.app.services.nodes.alive()) >= len(living) for one in living)

        await house.until(met)
        return house

    yield make
    for house in houses:
        await house.close()


@pytest.fixture
async def house(build: Callable[..., Any]) -> House:
    """A service that takes models from anywhere."""
    made: House = await build()
    return made
