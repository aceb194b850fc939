"""The key of all credentials is changed while they are in use, wherever the change is cut off."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from mlcommons_py.errors import Unavailable
from mlcommons_py.remote.ciphertext import KEY, OWNER, context_of, seal
from mlcommons_py.remote.connectors import Connectors
from mlcommons_py.remote.documents import CONNECTORS, Connector
from mlcommons_py.remote.keys import CONFIG, MASTER_KEY, PREVIOUS, Key
from mlcommons_py.remote.rotation import Rotation
from mlcommons_py.remote.secrets import Secrets
from mlcommons_py.store.embedded import EmbeddedStore
from tests.remote.making import connectors, keyed, keys, openai

MODELS = ".plugins-ml-model"


def rotation(store: EmbeddedStore, given: Sequence[Key] = ()) -> Rotation:
    """Return a rotation by a process that has just started."""
    return Rotation(store, Secrets(keys(store, given)))


async def cluster_key(store: EmbeddedStore) -> Key:
    """Return the cluster's key."""
    document = await store.get(CONFIG, MASTER_KEY)
    assert document is not None
    return Key.parse(document.source["master_key"], "the store")


async def fill(store: EmbeddedStore) -> tuple[list[str], Key]:
    """Make three connectors and a model that has its own; one connector is as ML Commons would have written it."""
    service = connectors(store)
    ids = [(await service.create(keyed(credential={"a": f"a{n}", "b": f"b{n}"})))["connector_id"] for n in range(3)]
    key = await cluster_key(store)
    await store.update(CONNECTORS, ids[2], {"credential": {name: seal(f"{name}2", key, {}) for name in "ab"}})
    own = await service.own.made(keyed(credential={"a": "a3", "b": "b3"}), "m")
    await store.put(MODELS, "m", {"name": "m", "algorithm": "REMOTE", "connector": own, "created_time": 1})
    return ids, key


async def check(store: EmbeddedStore, service: Connectors, ids: list[str]) -> None:
    """Check that a service reads every credential."""
    for n, one in enumerate(ids):
        assert (await service._open(one))[1] == {"a": f"a{n}", "b": f"b{n}"}
    document = await store.get(MODELS, "m")
    assert document is not None
    assert (await service.own.opened(Connector.from_json(document.source["connector"]), "m"))[1] == {
        "a": "a3",
        "b": "b3",
    }


async def named(store: EmbeddedStore) -> set[tuple[str, str]]:
    """Return the keys and owners that all ciphertexts name."""
    found = [hit["_source"]["credential"] for hit in (await store.search(CONNECTORS, {}))["hits"]["hits"]]
    found += [hit["_source"]["connector"]["credential"] for hit in (await store.search(MODELS, {}))["hits"]["hits"]]
    contexts = [context_of(text) for one in found for text in one.values()]
    return {(context.get(KEY, ""), context.get(OWNER, "")) for context in contexts}


async def test_a_new_key(store: EmbeddedStore) -> None:
    """All credentials get ciphertexts of a new key, bound to their owners; the old key is gone, and nothing else."""
    ids, old = await fill(store)
    running = connectors(store)
    await check(store, running, ids)

    done = await rotation(store).run()

    new = await cluster_key(store)
    assert new != old
    assert (done.key, done.changed, done.unreadable) == (new.id, 4, {})
    assert await named(store) == {(new.id, owner) for owner in (*(f"connector/{one}" for one in ids), "model/m")}
    assert await store.get(CONFIG, PREVIOUS) is None
    await check(store, running, ids)
    await check(store, connectors(store), ids)
    model = await store.get(MODELS, "m")
    assert model is not None
    assert model.source["connector"]["actions"][0]["url"] == openai()["actions"][0]["url"]


class Cut(EmbeddedStore):
    """A store whose writes end after so many."""

    left: int

    async def put(self, *arguments: Any, **options: Any) -> Any:
        """Write, or end."""
        self._count()
        return await super().put(*arguments, **options)

    async def delete(self, *arguments: Any, **options: Any) -> Any:
        """Delete, or end."""
        self._count()
        return await super().delete(*arguments, **options)

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Unavailable("the process ends here")


@pytest.mark.parametrize("writes", range(7))
async def test_cut_off_anywhere(store: EmbeddedStore, writes: int) -> None:
    """Whichever write was the last, services old and new read everything and create; another run finishes (test 19)."""
    ids, old = await fill(store)
    running = connectors(store)
    await check(store, running, ids)
    store.__class__ = Cut
    store.left = writes  # type: ignore[attr-defined]
    with pytest.raises(Unavailable, match="the process ends here"):
        await rotation(store).run()
    store.__class__ = EmbeddedStore

    await check(store, running, ids)
    fresh = connectors(store)
    await check(store, fresh, ids)
    made = (await fresh.create(keyed(credential={"a": "new"})))["connector_id"]
    halfway = await cluster_key(store)

    done = await rotation(store).run()

    new = await cluster_key(store)
    assert new != old
    assert writes < 2 or new == halfway
    assert done.unreadable == {}
    assert {key for key, _ in await named(store)} == {new.id}
    assert await store.get(CONFIG, PREVIOUS) is None
    await check(store, connectors(store), ids)
    assert (await connectors(store).recent(made))[1] == {"a": "new"}


async def test_two_at_once(store: EmbeddedStore) -> None:
    """Two rotations that run together, with updates between, agree on one key and lose nothing."""
    ids, old = await fill(store)
    service = connectors(store)

    await asyncio.gather(
        rotation(store).run(),
        *(service.update(one, {"description": "changed"}) for one in ids),
        rotation(store).run(),
        service.update(ids[1], {"credential": {"a": "a1", "b": "b1"}}),
    )
    await rotation(store).run()

    assert {key for key, _ in await named(store)} == {(await cluster_key(store)).id} != {old.id}
    await check(store, service, ids)
    assert {(await service.get(one))["description"] for one in ids} == {"changed"}


async def test_an_update_that_meets_a_rotation(store: EmbeddedStore) -> None:
    """A credential that was encrypted with the old key while a rotation passed is encrypted again with the new one."""
    ids, _ = await fill(store)
    service = connectors(store)

    class Meeting(EmbeddedStore):
        async def put(self, index: str, doc_id: str | None, *arguments: Any, **options: Any) -> Any:
            """Let a whole rotation pass before the connector is written."""
            if index == CONNECTORS:
                store.__class__ = EmbeddedStore
                await rotation(self).run()
            return await EmbeddedStore.put(self, index, doc_id, *arguments, **options)

    store.__class__ = Meeting
    made = (await service.create(keyed(credential={"a": "met"})))["connector_id"]

    new = await cluster_key(store)
    assert {key for key, _ in await named(store)} == {new.id}
    assert (await connectors(store).recent(made))[1] == {"a": "met"}
    await check(store, connectors(store), ids)


async def test_to_the_operator_s_key_and_back(store: EmbeddedStore) -> None:
    """With the operator's keys the first takes over; --to-cluster goes back, also where the cluster has none yet."""
    ids, old = await fill(store)
    mine, newer = Key.random(), Key.random()

    assert (await rotation(store, [mine]).run()).key == mine.id
    await check(store, connectors(store, given=[mine]), ids)
    assert {key for key, _ in await named(store)} == {mine.id}
    assert (await rotation(store, [newer, mine]).run()).changed == 4
    assert (await rotation(store, [newer, mine]).run()).changed == 0
    await store.delete(CONFIG, MASTER_KEY)
    assert (await rotation(store, [newer]).run(to_cluster=True)).changed == 4

    assert {key for key, _ in await named(store)} == {(await cluster_key(store)).id} != {old.id}
    await check(store, connectors(store), ids)


async def test_what_cannot_be_read(store: EmbeddedStore) -> None:
    """What no key opens is named and stays, and so does the old key; the rest is rotated."""
    ids, old = await fill(store)
    lost = {"a": seal("x", Key.random(), {}), "b": "?"}
    await store.update(CONNECTORS, ids[0], {"credential": lost})

    done = await rotation(store).run()

    assert done.changed == 3
    assert done.unreadable.keys() == {f"connector/{ids[0]}"}
    kept = await store.get(CONFIG, PREVIOUS)
    assert kept is not None
    assert kept.source["master_key"] == old.text
    await connectors(store).update(ids[0], {"credential": {"a": "a0", "b": "b0"}})
    again = await rotation(store).run()
    assert (again.key, again.unreadable) == (done.key, {})
    assert await store.get(CONFIG, PREVIOUS) is None
    await check(store, connectors(store), ids)
