"""The embedded store keeps the contract, and what is true of its file."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mlcommons_py.errors import IllegalArgument, ParsingFailed, Unavailable
from mlcommons_py.store import CONTENT, Delete, Store
from mlcommons_py.store.embedded import EmbeddedStore
from tests.store.contract import INDEX, StoreContract
from tests.store.search_contract import SearchContract

MB = 1_000_000


@pytest.fixture
def store(embedded: EmbeddedStore) -> Store:
    """The store under test."""
    return embedded


class TestContract(StoreContract):
    """Reads and writes."""


class TestSearches(SearchContract):
    """Searches."""


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition, ten seconds at most."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.01)


async def test_reopened(tmp_path: Path) -> None:
    """What was stored is there after closing and opening again, and numbers go on where they were."""
    path = tmp_path / "deep" / "down" / "store.db"
    store = await EmbeddedStore.open(path)
    before = await store.put(INDEX, "a", {"x": 1}, content=b"c")
    await store.close()
    store = await EmbeddedStore.open(path)
    document = await store.get(INDEX, "a")
    assert document is not None
    assert (document.source, document.seq_no, document.version) == ({"x": 1}, before.seq_no, 1)
    assert await store.content(INDEX, "a") == b"c"
    assert (await store.put(INDEX, "b", {})).seq_no == before.seq_no + 1
    await store.close()


async def test_closed(tmp_path: Path) -> None:
    """A store that is closed says so, and may be closed again."""
    store = await EmbeddedStore.open(tmp_path / "store.db")
    await store.close()
    await store.close()
    with pytest.raises(Unavailable, match=r"store\.db is closed"):
        await store.get(INDEX, "a")
    with pytest.raises(Unavailable, match=r"store\.db is closed"):
        await store.delete(INDEX, "a")


async def test_second_process(embedded: EmbeddedStore, tmp_path: Path) -> None:
    """A second process cannot open the file, is told its path, and harms nothing."""
    code = (
        "import asyncio, pathlib, sys; from mlcommons_py.store.embedded import EmbeddedStore;"
        "asyncio.run(EmbeddedStore.open(pathlib.Path(sys.argv[1])))"
    )
    path = str(tmp_path / "store.db")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code, path], capture_output=True, text=True, env=environment, check=False
    )
    assert ended.returncode == 1
    assert f"Unavailable: the store {path} is in use by another process" in ended.stderr
    assert (await embedded.put(INDEX, "a", {})).result == "created"


async def test_second_opening_in_process(embedded: EmbeddedStore, tmp_path: Path) -> None:
    """The same process cannot open the file twice either, and can again once it is closed."""
    with pytest.raises(Unavailable, match="in use"):
        await EmbeddedStore.open(tmp_path / "store.db")
    await embedded.close()
    await (await EmbeddedStore.open(tmp_path / "store.db")).close()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.write_bytes(b"no database " * 1000), "file is not a database"),
        (lambda path: _sqlite(path, "CREATE TABLE theirs (x)"), "SQLite file of another program"),
        (lambda path: _sqlite(path, "CREATE TABLE theirs (x); PRAGMA user_version = 1"), "another program"),
        (lambda path: path.mkdir(), "unable to open database file"),
    ],
    ids=["no database", "another program's", "another program's of our version", "a directory"],
)
async def test_wrong_file(tmp_path: Path, make: Callable[[Path], object], says: str) -> None:
    """A file that is not this service's is refused with its path and the reason, and stays as it was."""
    path = tmp_path / "store.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    for _ in range(2):  # the refusal lets go of the file
        with pytest.raises(Unavailable, match=says) as caught:
            await EmbeddedStore.open(path)
        assert f"the store {path} cannot be opened" in caught.value.reason
    assert (path.read_bytes() if path.is_file() else None) == before


async def test_newer_schema(tmp_path: Path) -> None:
    """A file that a newer version wrote is refused with both versions named."""
    path = tmp_path / "store.db"
    await (await EmbeddedStore.open(path)).close()
    _sqlite(path, "PRAGMA user_version = 7")
    with pytest.raises(Unavailable, match="schema version 7, and this version of the service knows up to 1"):
        await EmbeddedStore.open(path)


def _sqlite(path: Path, script: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()


async def test_content_is_raw_on_disk(embedded: EmbeddedStore, tmp_path: Path) -> None:
    """Content takes its own size on disk, not base64's four thirds."""
    content = os.urandom(9 * MB)
    await embedded.put(INDEX, "a", {}, content=content)
    await embedded.close()
    assert (tmp_path / "store.db").stat().st_size < 1.1 * len(content)


async def test_space_comes_back(embedded: EmbeddedStore, tmp_path: Path) -> None:
    """Deleting a model's chunks gives their space back to the file system, without a restart."""
    path = tmp_path / "store.db"
    for number in range(5):
        await embedded.put(INDEX, f"a_{number}", {}, content=os.urandom(4 * MB))
    assert path.stat().st_size > 15 * MB
    await embedded.bulk([Delete(INDEX, f"a_{number}") for number in range(5)])

    def small() -> bool:
        return path.stat().st_size < MB

    for _ in range(3):  # a checkpoint, which shortens the file, comes with further writes
        await embedded.put(INDEX, "b", {}, content=os.urandom(4 * MB))
        await embedded.delete(INDEX, "b")
    await embedded.close()
    await until(small)


async def test_full_disk(embedded: EmbeddedStore) -> None:
    """A write that the disk has no room for fails by itself: what was there is there, and smaller writes go on."""
    await embedded.put(INDEX, "a", {"x": 1})
    embedded._database._writer.execute("PRAGMA max_page_count = 200")
    with pytest.raises(Unavailable, match="full"):
        await embedded.put(INDEX, "a", {"x": 2}, content=bytes(4 * MB))
    document = await embedded.get(INDEX, "a")
    assert document is not None
    assert document.source == {"x": 1}
    assert (await embedded.put(INDEX, "a", {"x": 3})).result == "updated"


async def test_cancelled_write(embedded: EmbeddedStore) -> None:
    """A write whose caller gives up happens whole or not at all, and the store goes on."""
    writes = [asyncio.create_task(embedded.put(INDEX, f"{n}", {"n": n}, content=bytes([n]))) for n in range(40)]
    await asyncio.wait(writes[:5])
    for write in writes:
        write.cancel()
    await asyncio.wait(writes)
    await embedded.put(INDEX, "last", {})
    for number in range(40):
        document = await embedded.get(INDEX, f"{number}")
        assert await embedded.content(INDEX, f"{number}") == (None if document is None else bytes([number]))


async def test_failed_search_leaves_no_old_view(embedded: EmbeddedStore) -> None:
    """A search that fails half-way, its error kept, does not make later reads see an old state."""
    for number in range(3):
        await embedded.put(INDEX, f"{number}", {"n": number})
    kept = []
    for _ in range(8):  # more than there are readers
        with pytest.raises(ParsingFailed) as caught:
            await embedded.search(INDEX, {"query": {"range": {"n": {"gte": "x"}}}})
        kept.append(caught)
    await embedded.put(INDEX, "new", {"n": 9})
    for _ in range(8):
        assert (await embedded.search(INDEX, {"size": 0}))["hits"]["total"]["value"] == 4


async def test_searches_beside_writes(embedded: EmbeddedStore) -> None:
    """Searches go on while chunks are written, and each sees every write that was over before it began."""
    done = 0

    async def write() -> None:
        nonlocal done
        for number in range(30):
            await embedded.put(INDEX, f"a_{number}", {"n": number}, content=bytes(MB // 2))
            done = number + 1

    async def search() -> None:
        while done < 30:
            before = done
            assert (await embedded.search(INDEX, {"size": 0}))["hits"]["total"]["value"] >= before

    await asyncio.gather(write(), search(), search())


async def test_shown_content_is_bounded(embedded: EmbeddedStore) -> None:
    """A search whose hits would show more content than memory should hold is refused with the way out."""
    for number in range(3):
        await embedded.put(INDEX, f"a_{number}", {}, content=bytes(40 * MB))
    with pytest.raises(IllegalArgument, match=r"ask for fewer by \[size\]"):
        await embedded.search(INDEX, {"_source": CONTENT})
    (hit,) = (await embedded.search(INDEX, {"_source": CONTENT, "size": 1}))["hits"]["hits"]
    assert len(hit["_source"][CONTENT]) > 40 * MB
