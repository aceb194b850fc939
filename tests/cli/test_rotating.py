"""The operator rotates the key of credentials from the command line."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from mlcommons_py.app import open_store
from mlcommons_py.remote.keys import Key
from mlcommons_py.settings import EMBEDDED, Operator
from tests.cli.conftest import environment
from tests.remote.making import connectors, openai

SECRET = "the-canary-in-the-coal-mine"


def rotate(at: str, data: Path, *flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command on a store."""
    return subprocess.run(
        [sys.executable, "-m", "mlcommons_py", "rotate-key", "--store", at, "--data", str(data), *flags],
        env={**environment(), **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def make(at: str, data: Path) -> str:
    """Make a connector in a store."""
    store = await open_store(Operator(data=data, store=at))
    made = (await connectors(store).create(openai()))["connector_id"]
    await store.close()
    return str(made)


async def secret(at: str, data: Path, connector_id: str, *keys: Key) -> str:
    """Return what a service reads with some keys."""
    store = await open_store(Operator(data=data, store=at))
    try:
        return (await connectors(store, given=keys).recent(connector_id))[1]["openAI_key"]
    finally:
        await store.close()


def test_rotate_key(at: str, tmp_path: Path) -> None:
    """Credentials get a new key of the cluster, then the operator's, and go back; nothing of them is printed."""
    made, mine = asyncio.run(make(at, tmp_path)), Key.random()

    runs = [
        rotate(at, tmp_path),
        rotate(at, tmp_path, "--json", MLCOMMONS_MASTER_KEY=mine.text),
        rotate(at, tmp_path, "--to-cluster", MLCOMMONS_MASTER_KEY=mine.text),
    ]

    assert [one.returncode for one in runs] == [0, 0, 0], runs
    assert "1 documents have new ciphertexts" in runs[0].stdout
    assert json.loads(runs[1].stdout) == {"key": mine.id, "changed": 1, "unreadable": {}}
    assert asyncio.run(secret(at, tmp_path, made)) == SECRET
    for one in runs:
        assert SECRET not in one.stdout + one.stderr
        assert mine.text not in one.stdout + one.stderr


def test_where_no_store_is(tmp_path: Path) -> None:
    """A directory without a store is an error, and nothing is made in it, nor is it."""
    done = rotate(EMBEDDED, tmp_path / "typo")

    assert (done.returncode, done.stdout) == (1, "")
    assert f"there is no store at {tmp_path}/typo/" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_read_is_said(at: str, tmp_path: Path) -> None:
    """Credentials that no key opens are named, with the cure, and the status says that something is left."""
    made, mine = asyncio.run(make(at, tmp_path)), Key.random()
    assert rotate(at, tmp_path, MLCOMMONS_MASTER_KEY=mine.text).returncode == 0

    done = rotate(at, tmp_path)

    assert done.returncode == 1
    said = " ".join(done.stdout.split())
    assert f"connector/{made} could not be read" in said
    assert f"was encrypted with master key [{mine.id}]" in said
    wrong = rotate(at, tmp_path, MLCOMMONS_MASTER_KEY="nonsense")
    assert (wrong.returncode, "[master_key] has no key" in wrong.stderr) == (2, True)
