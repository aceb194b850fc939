"""How models join groups."""

import asyncio

import pytest

from mlcommons_py.errors import Conflict
from mlcommons_py.models.documents import GROUPS, MODELS
from mlcommons_py.models.groups import Groups
from mlcommons_py.models.names import NAMES
from mlcommons_py.models.registration import Registration
from mlcommons_py.models.registry import Models
from mlcommons_py.store import Store
from tests.store.hooked import Call, HookedStore


def registration(model_id: str) -> Registration:
    """Return what is announced of a model of that id."""
    return Registration.of_meta(
        {
            "name": "tiny",
            "model_id": model_id,
            "model_format": "TORCH_SCRIPT",
            "model_content_hash_value": "0" * 64,
            "model_content_size_in_bytes": 10,
            "total_chunks": 1,
            "model_config": {
                "model_type": "bert",
                "embedding_dimension": 8,
                "framework_type": "sentence_transformers",
            },
        }
    )


async def test_a_group_that_another_model_joined_is_not_taken_back(store: Store) -> None:
    """Where the model that founds a group is not stored the group goes, but not from under a model that joined it."""
    hooked, other = HookedStore(store), Models(store, Groups(store))
    models = Models(hooked, Groups(hooked))

    def takes_back(call: Call) -> bool:
        return call.name in ("bulk", "delete") and call.index in ("", GROUPS) and stored.reached.is_set()

    async with (
        hooked.stopped(lambda call: call.name == "put" and call.index == GROUPS) as stored,
        hooked.stopped(takes_back) as undone,
    ):
        founding = asyncio.create_task(models.create(registration("taken")))
        async with asyncio.timeout(20):
            await stored.reached.wait()
            await store.put(MODELS, "taken", {"name": "of another service"})
            stored.go.set()
            await undone.reached.wait()
            joined = await other.model(await other.create(registration("joined")))
    with pytest.raises(Conflict):
        await founding

    assert joined.model_group_id is not None
    group = await Groups(store).get(joined.model_group_id)
    assert (group["name"], group["latest_version"], joined.model_version) == ("tiny", 2, "2")
    assert await Groups(store).names.holds("tiny", joined.model_group_id)


async def test_a_group_whose_model_is_not_stored(store: Store) -> None:
    """Nothing is left of it, not even its name."""
    hooked = HookedStore(store)
    models = Models(hooked, Groups(hooked))
    async with hooked.stopped(lambda call: call.name == "put" and call.index == GROUPS) as stored:
        founding = asyncio.create_task(models.create(registration("taken")))
        async with asyncio.timeout(20):
            await stored.reached.wait()
            await store.put(MODELS, "taken", {"name": "of another service"})
    with pytest.raises(Conflict):
        await founding

    found = [(await store.search(index, {"size": 0}))["hits"]["total"]["value"] for index in (GROUPS, NAMES)]
    assert found == [0, 0]
