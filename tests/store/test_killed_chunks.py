"""A process that is killed among writes of large chunks leaves each chunk whole or not at all."""

import hashlib
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

from mlcommons_py.store.embedded import EmbeddedStore

INDEX = ".plugins-ml-model"
MB = 1_000_000
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
WRITER = """
import asyncio, hashlib, os, pathlib, sys
from mlcommons_py.store.embedded import EmbeddedStore
async def main(path, number):
    store = await EmbeddedStore.open(path)
    while True:
        content = os.urandom(1_000_000 * (1 + number * 3 % 10))  # the larger do not fit into the cache
        source = {"sha": hashlib.sha256(content).hexdigest(), "size": len(content)}
        await store.put(".plugins-ml-model", f"m_{number}", source, content=content)
        print(number, source["sha"], flush=True)
        if number > 3:
            await store.delete(".plugins-ml-model", f"m_{number - 3}")
            print(number - 3, "deleted", flush=True)
        number += 1
asyncio.run(main(pathlib.Path(sys.argv[1]), int(sys.argv[2])))
"""


def write_until_killed(path: Path, first: int, seconds: float) -> dict[int, str]:
    """Write chunks from a number on, kill the writer some time after it began; return what it said is done."""
    command = [sys.executable, "-c", WRITER, str(path), str(first)]
    said: dict[int, str] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        killer = threading.Timer(seconds, process.kill)
        for line in process.stdout:
            if not said:
                killer.start()
            if line.endswith("\n"):
                number, what = line.split()
                said[int(number)] = what
        killer.join()
    assert said, "the writer got nowhere"
    return said


async def test_killed_among_chunks(tmp_path: Path) -> None:
    """Chunks that were acknowledged are there byte for byte, deleted ones are gone, the last is whole or missing."""
    path, chance, number = tmp_path / "store.db", random.Random(7), 0
    expected: dict[int, str] = {}
    for _ in range(5):
        expected |= write_until_killed(path, number, chance.random() / 2)
        last = max(expected)
        store = await EmbeddedStore.open(path)
        hits = (await store.search(INDEX, {"size": 100}))["hits"]["hits"]
        there = {int(hit["_id"].removeprefix("m_")): hit["_source"] for hit in hits}
        for one, source in there.items():
            content = await store.content(INDEX, f"m_{one}")
            assert content is not None
            assert (hashlib.sha256(content).hexdigest(), len(content)) == (source["sha"], source["size"])
            assert expected.get(one, source["sha"]) == source["sha"], "deleted, or another's content"
        # The next write and the next deletion may have been done without being acknowledged.
        may_be_gone = last - 3
        assert {one for one, what in expected.items() if what != "deleted"} - set(there) <= {may_be_gone}
        assert set(there) - set(expected) <= {last + 1}
        expected |= {one: source["sha"] for one, source in there.items()}
        if may_be_gone not in there and may_be_gone in expected:
            expected[may_be_gone] = "deleted"
        number = max(expected) + 1
        await store.close()
    assert path.stat().st_size < 100 * MB
