"""Copies of chunks on this node's disk."""

from pathlib import Path

from mlcommons_py.models.kept import KeptChunks

MARK = (1, 7)


async def test_a_copy_counts_only_for_the_document_it_was_made_of(tmp_path: Path) -> None:
    """A chunk that was written again since is not taken from its copy, nor one of another model."""
    kept = KeptChunks(tmp_path / "uploads")
    await kept.keep("m", 0, MARK, b"content")

    assert await kept.read("m", 0, MARK) == b"content"
    assert await kept.read("m", 0, (1, 8)) is None
    assert await kept.read("m", 0, (2, 7)) is None
    assert await kept.read("m", 0, None) is None
    assert await kept.read("m", 1, MARK) is None
    assert await kept.read("other", 0, MARK) is None


async def test_a_chunk_sent_again_replaces_its_copy(tmp_path: Path) -> None:
    """The copy is of the last one, and the file of the one before is gone."""
    kept = KeptChunks(tmp_path / "uploads")
    await kept.keep("m", 0, MARK, b"before")
    await kept.keep("m", 0, (1, 8), b"after")

    assert await kept.read("m", 0, MARK) is None
    assert await kept.read("m", 0, (1, 8)) == b"after"
    assert len(list((tmp_path / "uploads").iterdir())) == 1


async def test_the_disk_is_not_filled(tmp_path: Path) -> None:
    """With more than the limit the copies of the model that came first go; dropping the last leaves nothing."""
    kept = KeptChunks(tmp_path / "uploads", most=10)
    for model_id in ("a", "b"):
        for number in range(2):
            await kept.keep(model_id, number, MARK, b"123")

    assert "a" not in kept
    assert await kept.read("b", 1, MARK) == b"123"
    await kept.drop("b")
    assert list((tmp_path / "uploads").iterdir()) == []


async def test_copies_of_an_earlier_run_are_removed(tmp_path: Path) -> None:
    """What a run that was killed left is gone when the next one keeps its first copy."""
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "17").write_bytes(b"old")

    await KeptChunks(tmp_path / "uploads").keep("m", 0, MARK, b"new")

    assert [path.read_bytes() for path in (tmp_path / "uploads").iterdir()] == [b"new"]


async def test_a_damaged_copy_is_no_copy(tmp_path: Path) -> None:
    """If the file is gone, or there is no place for it, the store is asked as if there had been none."""
    kept = KeptChunks(tmp_path / "uploads")
    await kept.keep("m", 0, MARK, b"content")
    for path in (tmp_path / "uploads").iterdir():
        path.unlink()
    (tmp_path / "file").write_bytes(b"")
    nowhere = KeptChunks(tmp_path / "file" / "uploads")
    await nowhere.keep("m", 0, MARK, b"content")

    assert await kept.read("m", 0, MARK) is None
    assert await nowhere.read("m", 0, MARK) is None
    assert "m" not in nowhere
