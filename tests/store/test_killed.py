"""A process that is killed at any write leaves a readable store with everything that it was told is done."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from mlcommons_py.store.embedded import EmbeddedStore
from tests.store.writer import INDEX, State, state

TASKS = 4
WRITER = Path(__file__).with_name("writer.py")
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def start(path: Path, steps: list[int], fuse: int = 0) -> subprocess.Popen[str]:
    """Start a process that goes on writing from these steps; with a fuse it kills itself."""
    command = [sys.executable, str(WRITER), str(path), str(fuse), *map(str, steps)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)


def outlive(process: subprocess.Popen[str]) -> list[tuple[int, int]]:
    """Wait for a process that is or will be killed; return the steps that it had said are done."""
    with process:
        assert process.stdout is not None
        # The kill may have cut the last line short.
        lines = [line.split() for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    assert process.returncode == -signal.SIGKILL
    return [(int(task), int(step)) for task, step in lines]


async def found(store: EmbeddedStore, task: int) -> State:
    """Return what the documents of a task are."""
    first, second = await store.get(INDEX, f"first-{task}"), await store.get(INDEX, f"second-{task}")
    content = await store.content(INDEX, f"first-{task}")
    return None if first is None else first.source["step"], content, None if second is None else second.source["step"]


async def test_killed_at_any_write(tmp_path: Path) -> None:
    """After each kill the file is sound, acknowledged writes are there, the others there whole or not at all."""
    path = tmp_path / "store.db"
    chance = random.Random(3)
    steps = [0] * TASKS
    for number in range(24):
        # Some kills come from outside, at any moment; the others within a statement.
        fuse = chance.randrange(1, 4000) if number % 6 else 0
        process = start(path, steps, fuse)
        done = list(steps)
        if not fuse:
            assert process.stdout is not None
            for _ in range(chance.randrange(1, 40)):
                task, step = map(int, process.stdout.readline().split())
                done[task] = step + 1
            process.kill()
        for task, step in outlive(process):
            done[task] = step + 1
        store = await EmbeddedStore.open(path)
        for task in range(TASKS):
            now = await found(store, task)
            assert now in (state(task, done[task] - 1), state(task, done[task])), (task, done[task])
            steps[task] = done[task] if now == state(task, done[task] - 1) else done[task] + 1
        hits = (await store.search(INDEX, {"size": 100}))["hits"]["hits"]
        assert len({hit["_id"] for hit in hits}) == len(hits)
        await store.close()
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            (all_contents,) = connection.execute("SELECT count(*) FROM contents").fetchone()
            (owned,) = connection.execute(
                "SELECT count(*) FROM contents NATURAL JOIN documents WHERE idx = ?", (INDEX,)
            ).fetchone()
        assert all_contents == owned, "content without its document"
    assert min(steps) > 8, "the writers got nowhere"


async def test_killed_while_opening(tmp_path: Path) -> None:
    """A process that is killed while it makes the file leaves one that can be opened."""
    for number in range(3):
        path = tmp_path / f"{number}" / "store.db"
        process = start(path, [0])
        deadline = time.monotonic() + 10
        while not path.exists():
            assert time.monotonic() < deadline, "the file was never made"
        process.kill()
        outlive(process)
        store = await EmbeddedStore.open(path)
        assert (await store.put(INDEX, "a", {})).result == "created"
        await store.close()


def test_memory(tmp_path: Path) -> None:
    """Writing chunks of 10 MB and reading them back takes memory for a few of them, however many there are."""
    code = """
import asyncio, pathlib, resource, sys
from mlcommons_py import malloc
from mlcommons_py.store.embedded import EmbeddedStore
async def main():
    store = await EmbeddedStore.open(pathlib.Path(sys.argv[1]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(20):
        await store.put("i", f"{number}", {"n": number}, content=number.to_bytes(1, "big") * 10_000_000)
    for number in range(20):
        assert (await store.content("i", f"{number}"))[0] == number
    await store.close()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
malloc.tune(mapped_from=1 << 20)
asyncio.run(main())
"""
    command = [sys.executable, "-c", code, str(tmp_path / "store.db")]
    grown = int(subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=True).stdout)
    assert grown < 50_000, f"{grown} kB"
