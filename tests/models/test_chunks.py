"""Chunks of models: what a service knows of those that it stored itself."""

from pathlib import Path

import pytest

from mlcommons_py.models.chunks import Chunks
from mlcommons_py.models.documents import MODELS, Model, chunk_id
from mlcommons_py.models.kept import KeptChunks
from mlcommons_py.store import Store

MODEL = Model(name="a", total_chunks=3)
MODEL_ID = "m" * 20


async def stored(chunks: Chunks, *numbers: int) -> None:
    """Store chunks, one after the other."""
    for number in numbers:
        before = await chunks.before(MODEL_ID, number)
        await chunks.replace(before, MODEL_ID, MODEL, number, b"%d" % number, None)


@pytest.fixture
def chunks(store: Store, tmp_path: Path) -> Chunks:
    """The chunks of a store, copies of which are kept."""
    return Chunks(store, KeptChunks(tmp_path / "kept"))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
async def test_own_marks(chunks: Chunks, order: tuple[int, ...]) -> None:
    """Who stored all chunks without a break knows their marks as a search finds them, and not before the last."""
    await stored(chunks, *order[:2])
    assert chunks.own_marks(MODEL_ID, MODEL) is None
    await stored(chunks, order[2])

    assert chunks.own_marks(MODEL_ID, MODEL) == await chunks.marks(MODEL_ID)


async def test_own_marks_of_an_index_that_others_write_to(chunks: Chunks, store: Store) -> None:
    """Who stored all chunks does not take them for known if more was written between first and last."""
    await stored(chunks, 0, 1)
    await store.delete(MODELS, chunk_id(MODEL_ID, 0))
    await stored(chunks, 2)

    assert chunks.own_marks(MODEL_ID, MODEL) is None


async def test_own_marks_of_chunks_without_copies(store: Store) -> None:
    """Who keeps no copies knows no marks."""
    chunks = Chunks(store, KeptChunks(None))
    await stored(chunks, 0, 1, 2)

    assert chunks.own_marks(MODEL_ID, MODEL) is None
