"""Uploads: when the last chunk makes a model registered."""

import hashlib
from pathlib import Path
from typing import Any

from mlcommons_py.models.documents import MODELS
from mlcommons_py.models.groups import Groups
from mlcommons_py.models.kept import KeptChunks
from mlcommons_py.models.registration import Registration
from mlcommons_py.models.registry import Models
from mlcommons_py.models.uploads import Uploads
from mlcommons_py.store import Document, Store, Written
from mlcommons_py.store.patience import awaited, is_awaited
from tests.store.hooked import Call, HookedStore

CHUNKS = (b"one", b"two", b"three")


async def begun(models: Models) -> str:
    """Return the id of a model whose chunks are :data:`CHUNKS`."""
    content = b"".join(CHUNKS)
    said = {
        "name": "tiny",
        "model_format": "TORCH_SCRIPT",
        "model_content_hash_value": hashlib.sha256(content).hexdigest(),
        "model_content_size_in_bytes": len(content),
        "total_chunks": len(CHUNKS),
        "model_config": {"model_type": "bert", "embedding_dimension": 8, "framework_type": "sentence_transformers"},
    }
    return await models.create(Registration.of_meta(said))


async def test_upload_without_a_break_searches_for_nothing(store: Store, tmp_path: Path) -> None:
    """A service that stored all chunks itself, one after the other, registers the model without a search for them."""
    hooked = HookedStore(store)
    models = Models(hooked, Groups(hooked), KeptChunks(tmp_path / "kept"))
    uploads, model_id = Uploads(models), await begun(models)
    calls: list[str] = []

    def noted(call: Call) -> bool:
        calls.append(f"{call.name} {call.index}")
        return False

    async with hooked.stopped(noted):
        outcomes = [await uploads.upload(model_id, number, chunk) for number, chunk in enumerate(CHUNKS)]

    assert [one is not None for one in outcomes] == [False, False, True]
    assert calls.count(f"put {MODELS}") == len(CHUNKS) + 1
    assert f"search {MODELS}" not in calls
    assert (await models.model(model_id)).model_state == "REGISTERED"


async def test_upload_beside_another_counts_what_is_there(store: Store, tmp_path: Path) -> None:
    """Chunks of two models that come in by turns make both of them registered, whichever was written last."""
    models = Models(store, Groups(store), KeptChunks(tmp_path / "kept"))
    uploads, ids = Uploads(models), [await begun(models) for _ in range(2)]

    for number, chunk in enumerate(CHUNKS):
        outcomes = [await uploads.upload(model_id, number, chunk) for model_id in ids]
        assert [one is not None for one in outcomes] == [number == len(CHUNKS) - 1] * 2

    assert [(await models.model(model_id)).model_state for model_id in ids] == ["REGISTERED"] * 2


class Late(HookedStore):
    """A store as it is with OpenSearch's security plugin: reads by id know what was stored at once, or searched."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._unseen = set[tuple[str, str]]()

    async def get(self, index: str, doc_id: str) -> Document | None:
        """As the other store does, as far as it may know."""
        return None if (index, doc_id) in self._unseen else await super().get(index, doc_id)

    async def put(
        self, index: str, doc_id: str | None, source: Any, *, at_once: bool = True, **options: Any
    ) -> Written:
        """As the other store does."""
        written = await super().put(index, doc_id, source, **options)
        self._unseen = {one for one in self._unseen if at_once is False or one[0] != index}
        if not at_once:
            self._unseen.add((index, written.id))
        return written

    async def search(self, index: str, body: Any, *, latest: bool = True) -> dict[str, Any]:
        """As the other store does."""
        self._unseen = {one for one in self._unseen if one[0] != index}
        return await super().search(index, body, latest=latest)


async def test_upload_through_two_services_by_turns(store: Store, tmp_path: Path) -> None:
    """Chunks that go to two services by turns register the model, though a read by id may not know the last one."""
    late = Late(store)
    models = [Models(late, Groups(late), KeptChunks(tmp_path / name)) for name in ("one", "two")]
    uploads, model_id = [Uploads(one) for one in models], await begun(models[0])

    outcomes = [await uploads[number % 2].upload(model_id, number, chunk) for number, chunk in enumerate(CHUNKS)]

    assert [one is not None for one in outcomes] == [False, False, True]
    assert (await models[0].model(model_id)).model_state == "REGISTERED"


async def test_the_store_is_patient_for_chunks(store: Store, tmp_path: Path) -> None:
    """Though a client waits for it, a chunk is written as patiently as what a service does by itself."""
    hooked = HookedStore(store)
    models = Models(hooked, Groups(hooked), KeptChunks(tmp_path / "kept"))
    uploads, model_id = Uploads(models), await begun(models)
    waits: list[bool] = []

    def noted(call: Call) -> bool:
        if "chunk_number" in call.source:
            waits.append(is_awaited())
        return False

    async with hooked.stopped(noted):
        with awaited():
            await uploads.upload(model_id, 0, CHUNKS[0])

    assert waits == [False]
