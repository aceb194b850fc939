"""Copies of chunks on this node's disk."""

import hashlib
import random
from pathlib import Path

from mlcommons_py.models.kept import Beginning, KeptChunks

MARK = (1, 7)


async def keep(kept: KeptChunks, model_id: str, number: int, content: bytes) -> Beginning | None:
    """Keep a chunk that is then stored under the mark of these tests."""
    beginning = await kept.keep(model_id, number, content)
    kept.mark(model_id, number, MARK)
    return beginning


async def test_a_copy_counts_only_for_the_document_it_was_made_of(tmp_path: Path) -> None:
    """A chunk that was written again since is not taken from its copy, nor one of another model."""
    kept = KeptChunks(tmp_path / "uploads")
    await keep(kept, "m", 0, b"content")

    assert await kept.read("m", 0, MARK) == b"content"
    assert await kept.read("m", 0, (1, 8)) is None
    assert await kept.read("m", 0, (2, 7)) is None
    assert await kept.read("m", 0, None) is None
    assert await kept.read("m", 1, MARK) is None
    assert await kept.read("other", 0, MARK) is None


async def test_a_chunk_counts_only_when_it_is_stored(tmp_path: Path) -> None:
    """A copy that nobody marked is none, and one that is sent again is none until it is stored again."""
    kept = KeptChunks(tmp_path / "uploads")
    await kept.keep("m", 0, b"content")
    assert await kept.read("m", 0, None) is None
    assert kept.whole("m", {0: MARK}) is None

    kept.mark("m", 0, MARK)
    assert await kept.read("m", 0, MARK) == b"content"
    await kept.keep("m", 0, b"content")
    assert await kept.read("m", 0, MARK) is None


async def test_another_chunk_of_that_number_begins_anew(tmp_path: Path) -> None:
    """What was written is never changed: other content goes into another file, and the one before is gone."""
    kept = KeptChunks(tmp_path / "uploads")
    before = await keep(kept, "m", 0, b"before")
    await keep(kept, "m", 1, b"and")
    assert before is not None
    with before.path.open("rb") as file:
        after = await kept.keep("m", 0, b"afters")
        assert file.read() == b"beforeand"
    kept.mark("m", 0, (1, 8))

    assert after is not None
    assert (after.size, after.digest) == (6, hashlib.sha256(b"afters").hexdigest())
    assert await kept.read("m", 0, MARK) is None
    assert await kept.read("m", 0, (1, 8)) == b"afters"
    assert await kept.read("m", 1, MARK) is None
    assert list((tmp_path / "uploads").iterdir()) == [after.path]


async def test_chunks_of_any_order_become_the_archive(tmp_path: Path) -> None:
    """Whatever the order, what came without a gap from the first chunk on is hashed, and lies in one file."""
    content = random.Random(3).randbytes(95)
    chunks = [content[at : at + 10] for at in range(0, 95, 10)]
    for seed in range(20):
        kept = KeptChunks(tmp_path / f"{seed}")
        order = [*random.Random(seed).sample(range(9), 9), 9]
        for place, number in enumerate(order, 1):
            beginning = await keep(kept, "m", number, chunks[number])
            assert beginning is not None
            count = next(one for one in range(11) if one not in order[:place])
            size = min(95, 10 * count)
            assert (beginning.chunks, beginning.size) == (count, size)
            assert beginning.digest == hashlib.sha256(content[:size]).hexdigest()
            assert beginning.path.read_bytes()[:size] == content[:size]
            assert await kept.read("m", number, MARK) == chunks[number]
        assert kept.whole("m", dict.fromkeys(range(10), MARK)) == beginning
        assert kept.whole("m", {**dict.fromkeys(range(10), MARK), 4: (1, 8)}) is None
        assert kept.whole("m", dict.fromkeys(range(9), MARK)) is None
        assert kept.whole("other", {}) is None


async def test_chunks_of_any_length_are_kept(tmp_path: Path) -> None:
    """Chunks whose places cannot be known stand in nobody's way: each is read back as it came."""
    for seed in range(60):
        chance = random.Random(seed)
        chunks = [chance.randbytes(chance.randint(1, 12)) for _ in range(8)]
        kept = KeptChunks(tmp_path / f"{seed}")
        for number in chance.sample(range(8), 8):
            await keep(kept, "m", number, chunks[number])

        assert [await kept.read("m", number, MARK) for number in range(8)] == chunks
        whole = kept.whole("m", dict.fromkeys(range(8), MARK))
        assert whole is None or whole.digest == hashlib.sha256(b"".join(chunks)).hexdigest()


async def test_the_disk_is_not_filled(tmp_path: Path) -> None:
    """With more than the limit the copies of the model that came first go; dropping the last leaves nothing."""
    kept = KeptChunks(tmp_path / "uploads", most=10)
    for model_id in ("a", "b"):
        for number in range(2):
            await keep(kept, model_id, number, b"123")

    assert "a" not in kept
    assert await kept.read("b", 1, MARK) == b"123"
    await kept.drop("b")
    assert list((tmp_path / "uploads").iterdir()) == []


async def test_copies_of_an_earlier_run_are_removed(tmp_path: Path) -> None:
    """What a run that was killed left is gone when the next one keeps its first copy."""
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "17").write_bytes(b"old")

    await keep(KeptChunks(tmp_path / "uploads"), "m", 0, b"new")

    assert [path.read_bytes() for path in (tmp_path / "uploads").iterdir()] == [b"new"]


async def test_a_damaged_copy_is_no_copy(tmp_path: Path) -> None:
    """If the file is gone, or there is no place for it, the store is asked as if there had been none."""
    kept = KeptChunks(tmp_path / "uploads")
    await keep(kept, "m", 0, b"content")
    for path in (tmp_path / "uploads").iterdir():
        path.unlink()
    (tmp_path / "file").write_bytes(b"")
    nowhere = KeptChunks(tmp_path / "file" / "uploads")
    assert await keep(nowhere, "m", 0, b"content") is None

    assert await kept.read("m", 0, MARK) is None
    assert await nowhere.read("m", 0, MARK) is None
    assert "m" not in nowhere
