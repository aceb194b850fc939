"""Models of chosen ids, and ids that are used again."""

import asyncio
from typing import Any

import pytest

from mlcommons_py.errors import Conflict, IllegalArgument, NotFound
from mlcommons_py.models.documents import GROUPS, MODELS
from tests.lifecycle.conftest import House, description
from tests.store.hooked import Call


async def test_no_model_has_the_id_of_a_chunk(house: House, tiny: bytes) -> None:
    """An id that a chunk of another model might have is refused; one that is stored all the same is not overwritten."""
    services = house.app.services
    with pytest.raises(IllegalArgument, match="must not end in an underscore and digits"):
        await services.registrar.register_meta({**description(tiny), "model_id": "bert_0"})
    await house.store.put(MODELS, "bert_0", {"name": "an old one", "model_state": "REGISTERED"})
    meta = await services.registrar.register_meta({**description(tiny), "model_id": "bert"})

    with pytest.raises(Conflict, match="is the id of another document"):
        await services.registrar.upload_chunk(meta["model_id"], 0, tiny)

    assert (await services.models.get("bert_0"))["name"] == "an old one"


async def test_deletion_leaves_the_next_model_of_the_id_alone(house: House, tiny: bytes) -> None:
    """A model registered under the id of one that is just being deleted keeps its chunks."""
    services = house.app.services
    said = {**description(tiny), "model_id": "mine"}
    await house.upload(tiny, model_id="mine")

    async def again() -> None:
        await services.registrar.register_meta(said)
        await services.registrar.upload_chunk("mine", 0, tiny)

    async with house.store.stopped(lambda call: call.name == "delete" and call.doc_id == "mine", after=True) as stop:
        deleting = asyncio.create_task(services.registrar.delete("mine"))
        await stop.reached.wait()
        registering = asyncio.create_task(again())
        await asyncio.wait([registering], timeout=0.5)
    await asyncio.gather(deleting, registering)

    assert await house.state("mine") == "REGISTERED"
    await services.models.chunks.verify("mine", await services.models.model("mine"))


async def test_leftover_chunks_do_not_count(house: House, tiny: bytes) -> None:
    """Chunks that a deletion left when it was cut off are none of the next model's of that id."""
    services = house.app.services
    said = {**description(tiny), "model_id": "mine", "total_chunks": 2}
    await services.registrar.register_meta(said)
    model = await services.models.model("mine")
    await services.models.chunks.put("mine", model, 1, b"old")
    await house.store.delete(MODELS, "mine")

    await services.registrar.register_meta(said)

    assert await services.models.chunks.missing("mine", model) == [0, 1]


async def test_group_deleted_under_a_registration(house: House, tiny: bytes) -> None:
    """A model never stands in a group that is gone: one of registration and deletion of the group is refused."""
    services = house.app.services
    group_id = await services.groups.register({"name": "g"})
    said = {**description(tiny), "model_group_id": group_id}

    async def register() -> Any:
        return await services.registrar.register_meta(said)

    async with house.store.stopped(lambda call: call.name == "put" and call.index == MODELS) as stop:
        registering = asyncio.create_task(register())
        await stop.reached.wait()
        await services.groups.delete(group_id)
    with pytest.raises(NotFound, match="group"):
        await registering
    assert await house.found(MODELS) == 0

    group_id = said["model_group_id"] = await services.groups.register({"name": "g"})

    def deletes(call: Call) -> bool:
        return call.name == "delete" and call.index == GROUPS

    async with house.store.stopped(deletes) as stop:
        deleting = asyncio.create_task(services.groups.delete(group_id))
        await stop.reached.wait()
        await register()
    with pytest.raises(Conflict, match="associated model versions"):
        await deleting
    assert await services.groups.exists(group_id)


async def test_update_of_a_group_that_was_deleted(house: House) -> None:
    """A change of a group that is deleted meanwhile is not called done."""
    groups = house.app.services.groups
    group_id = await groups.register({"name": "g"})
    async with house.store.stopped(lambda call: call.name == "get" and call.doc_id == group_id, after=True) as stop:
        updating = asyncio.create_task(groups.update(group_id, {"description": "new"}))
        await stop.reached.wait()
        await groups.delete(group_id)
    with pytest.raises(NotFound):
        await updating
