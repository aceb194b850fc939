"""The zip that is uploaded."""

import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from mlcommons_py.cli.archive import CHUNK_SIZE, packed
from mlcommons_py.errors import InvalidModel


def _ignore(done: int, whole: int) -> None:
    """Hear of progress."""


def test_the_same_files_give_the_same_bytes(directory: Path) -> None:
    """Packing twice, with other file times between, gives the same hash: an upload can be resumed."""
    with packed(directory, _ignore) as first:
        one = first.sha256
    os.utime(directory / "config.json", (1, 1))
    with packed(directory, _ignore) as second:
        assert second.sha256 == one
        assert hashlib.sha256(second.path.read_bytes()).hexdigest() == one


def test_only_what_is_needed_is_shipped(directory: Path) -> None:
    """Hidden files and weights in other formats stay at home; nothing is deflated."""
    with packed(directory, _ignore) as made, zipfile.ZipFile(made.path) as archive:
        assert archive.namelist() == [
            "1_Pooling/config.json",
            "config.json",
            "model.safetensors",
            "modules.json",
            "tokenizer.json",
        ]
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def test_a_made_file_is_removed(directory: Path) -> None:
    """The temporary zip is gone afterwards, also after a fault."""
    with pytest.raises(KeyboardInterrupt), packed(directory, _ignore) as made:
        raise KeyboardInterrupt
    assert not made.path.exists()


def test_a_zip_is_sent_as_it_is(torch_script: Path) -> None:
    """A zip is neither copied nor removed."""
    with packed(torch_script, _ignore) as made:
        assert (made.path, made.model_format) == (torch_script, "TORCH_SCRIPT")
        assert made.size == torch_script.stat().st_size
    assert torch_script.exists()


def test_chunks_make_up_the_whole(directory: Path) -> None:
    """The pieces of all chunks, in order, are the file; no chunk is longer than 10,000,000 bytes."""
    with packed(directory, _ignore) as made:
        chunks = [b"".join(made.pieces(number)) for number in range(made.total_chunks)]
        assert b"".join(chunks) == made.path.read_bytes()
    assert [len(chunk) for chunk in chunks[:-1]] == [CHUNK_SIZE] * 3
    assert 0 < len(chunks[-1]) <= CHUNK_SIZE


def test_progress_reaches_the_end(directory: Path) -> None:
    """Packing reports bytes that only grow, up to all there are."""
    seen: list[tuple[int, int]] = []
    with packed(directory, lambda done, whole: seen.append((done, whole))):
        pass
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    """A path that is not there, a file of another kind and a zip without weights are each refused by name."""
    note = tmp_path / "note.txt"
    note.write_text("hello")
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.md", "hello")

    for path, text in ((tmp_path / "nowhere", "there is no"), (note, "neither a directory"), (other, "readme.md")):
        with pytest.raises(InvalidModel, match=text), packed(path, _ignore):
            pass
