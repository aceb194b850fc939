"""Conversions in a child process: limits, crashes, and who dies with whom."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mlcommons_py.artifacts.manifest import Manifest
from mlcommons_py.artifacts.sandbox import convert
from mlcommons_py.errors import InvalidModel, Unavailable
from tests.artifacts.conftest import MakeZip, SaveModel

MEMORY = 4 << 30


def children_of(pid: int) -> list[int]:
    """Return the children of a process that convert, and that it has not yet waited for."""
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (thread / "children").read_text().split()]
    return [child for child in found if b"mlcommons_py.artifacts.child" in command_of(child)]


def command_of(pid: int) -> bytes:
    """Return how a process was started; empty for a zombie."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def is_empty(directory: Path) -> bool:
    """Return whether nothing is in a directory."""
    return not list(directory.iterdir())


def environment_of(pid: int) -> bytes:
    """Return the environment that a process was started with."""
    return Path(f"/proc/{pid}/environ").read_bytes()


def is_running(pid: int) -> bool:
    """Return whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for a condition, and fail where it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)


async def stopped_child(directory: Path) -> int:
    """Return the child of this process that is converting into a directory, stopped."""
    await asyncio.to_thread(wait_until, directory.exists)
    (child,) = children_of(os.getpid())
    os.kill(child, signal.SIGSTOP)
    return child


async def test_converts(traced: Path, tmp_path: Path) -> None:
    """The manifest comes back and lies in the directory, and the archive is left alone."""
    archive = traced / "bert-mean-normalized.zip"
    manifest = await convert(archive, "TORCH_SCRIPT", tmp_path / "out", memory_bytes=MEMORY, cpu_seconds=60)
    assert manifest == Manifest.read(tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {*manifest.files, "mlcommons.json"}


async def test_refusal(traced: Path, tmp_path: Path) -> None:
    """The child's error comes back as it was, and nothing is left."""
    with pytest.raises(InvalidModel, match="around a BertForQuestionAnswering"):
        await convert(traced / "qa-bert.zip", "TORCH_SCRIPT", tmp_path / "o", memory_bytes=MEMORY, cpu_seconds=60)
    assert is_empty(tmp_path)


@pytest.mark.parametrize("mebibytes", [48, 128, 256])
async def test_memory_limit(minilm_zip: Path, tmp_path: Path, mebibytes: int) -> None:
    """A conversion that needs more memory than it may have says so, wherever it ran out."""
    with pytest.raises(InvalidModel, match=f"more than the limit of {mebibytes} MiB .* raise conversion_memory_bytes"):
        await convert(minilm_zip, "SAFETENSORS", tmp_path / "o", memory_bytes=mebibytes << 20, cpu_seconds=60)
    assert is_empty(tmp_path)


async def test_file_limit(minilm_zip: Path, tmp_path: Path) -> None:
    """A conversion that writes a longer file than it may says so."""
    with pytest.raises(InvalidModel, match="longer than the limit of 1048576 bytes"):
        await convert(
            minilm_zip, "SAFETENSORS", tmp_path / "o", memory_bytes=MEMORY, cpu_seconds=60, file_bytes=1 << 20
        )
    assert is_empty(tmp_path)


async def test_cpu_limit(save_model: SaveModel, make_zip: MakeZip, tmp_path: Path) -> None:
    """A tokenizer whose regular expression never ends is ended by the limit on CPU time."""
    model = save_model()
    tokenizer = json.loads(model.files["tokenizer.json"])
    endless = {
        "type": "Split",
        "pattern": {"Regex": r"[a-z ]{0,60}[a-z ]{0,60}[a-z ]{0,60}(?![a-z ])(?!\z)"},
        "behavior": "Isolated",
        "invert": False,
    }
    tokenizer["pre_tokenizer"] = endless
    model.files["tokenizer.json"] = json.dumps(tokenizer).encode()
    archive = make_zip(model.zipped_files())
    with pytest.raises(InvalidModel, match="more than the limit of 1 s of CPU time; raise conversion_seconds"):
        # A second of CPU may take minutes where many want the processor.
        await convert(archive, "SAFETENSORS", tmp_path / "o", memory_bytes=MEMORY, cpu_seconds=1, patience=240)
    assert not (tmp_path / "o").exists()


async def test_time_limit(minilm_zip: Path, tmp_path: Path) -> None:
    """A conversion that is not done in time is ended, and nothing of it is left."""
    with pytest.raises(InvalidModel, match="converting the model took more than 0 s"):
        await convert(minilm_zip, "SAFETENSORS", tmp_path / "o", memory_bytes=MEMORY, cpu_seconds=60, patience=0)
    assert is_empty(tmp_path)


async def test_killed_child(minilm_zip: Path, tmp_path: Path) -> None:
    """A child that is killed from outside is an error that may pass, and nothing is left."""
    directory = tmp_path / "out"
    work = asyncio.create_task(convert(minilm_zip, "SAFETENSORS", directory, memory_bytes=MEMORY, cpu_seconds=60))
    os.kill(await stopped_child(directory), signal.SIGKILL)
    with pytest.raises(Unavailable, match="killed by SIGKILL"):
        await work
    assert is_empty(tmp_path)


async def test_crashed_child(minilm_zip: Path, tmp_path: Path) -> None:
    """A child that crashes on the model is the model's fault."""
    directory = tmp_path / "out"
    work = asyncio.create_task(convert(minilm_zip, "SAFETENSORS", directory, memory_bytes=MEMORY, cpu_seconds=60))
    child = await stopped_child(directory)
    os.kill(child, signal.SIGSEGV)
    os.kill(child, signal.SIGCONT)
    with pytest.raises(InvalidModel, match="crashed with SIGSEGV"):
        await work


async def test_cancelled(minilm_zip: Path, tmp_path: Path) -> None:
    """Cancelling a conversion ends its child and removes what there is of it."""
    directory = tmp_path / "out"
    work = asyncio.create_task(convert(minilm_zip, "SAFETENSORS", directory, memory_bytes=MEMORY, cpu_seconds=60))
    child = await stopped_child(directory)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert not is_running(child)
    assert is_empty(tmp_path)


PARENT = """
import asyncio, sys
from pathlib import Path
from mlcommons_py.artifacts.sandbox import convert
asyncio.run(convert(Path(sys.argv[1]), "SAFETENSORS", Path(sys.argv[2]), memory_bytes=4 << 30, cpu_seconds=60))
"""


def test_killed_parent(minilm_zip: Path, tmp_path: Path) -> None:
    """A child whose parent is killed ends too, even where it is stopped."""
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", PARENT, str(minilm_zip), str(tmp_path / "out")]
    with subprocess.Popen(command, env={"PYTHONPATH": root}) as parent:
        wait_until((tmp_path / "out").exists)
        (child,) = children_of(parent.pid)
        os.kill(child, signal.SIGSTOP)
        assert is_running(child)
        parent.kill()
        parent.wait()
    wait_until(lambda: not is_running(child))


def test_no_heavy_imports() -> None:
    """The service's own process loads neither numpy nor an engine to convert models."""
    code = "import sys, mlcommons_py.artifacts.cache; print({'numpy', 'ctranslate2', 'tokenizers'} & set(sys.modules))"
    root = str(Path(__file__).parents[2])
    answer = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": root}, capture_output=True, check=True)
    assert answer.stdout == b"set()\n"


async def test_nothing_inherited(
    save_model: SaveModel, make_zip: MakeZip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child's environment holds nothing of the parent's."""
    monkeypatch.setenv("MLCOMMONS_SECRET", "canary")
    directory = tmp_path / "out"
    archive = make_zip(save_model().zipped_files())
    work = asyncio.create_task(convert(archive, "SAFETENSORS", directory, memory_bytes=MEMORY, cpu_seconds=60))
    child = await stopped_child(directory)
    environment = environment_of(child)
    os.kill(child, signal.SIGCONT)
    await work
    assert b"HF_HUB_OFFLINE=1" in environment
    assert b"canary" not in environment


@pytest.mark.parametrize("name", ["bert-mean-normalized", "mpnet-mean-normalized"])
async def test_damaged_models(name: str, traced: Path, tmp_path: Path) -> None:
    """Models with flipped bits convert or are refused; the child always comes to an end, and so says what it was."""
    with zipfile.ZipFile(traced / f"{name}.zip") as source:
        files = {entry: source.read(entry) for entry in source.namelist()}
    chance = random.Random(name)
    for attempt in range(8):
        damaged = {entry: bytearray(content) for entry, content in files.items()}
        for _ in range(6):
            content = damaged[f"{name}.pt"]
            content[chance.randrange(len(content) // 2, len(content))] ^= 1 << chance.randrange(8)
            content = damaged["tokenizer.json"]
            content[chance.randrange(len(content))] ^= attempt % 2
        archive = tmp_path / "damaged.zip"
        with zipfile.ZipFile(archive, "w") as target:
            for entry, content in damaged.items():
                target.writestr(entry, bytes(content))
        try:
            await convert(archive, "TORCH_SCRIPT", tmp_path / f"{attempt}", memory_bytes=MEMORY, cpu_seconds=20)
        except InvalidModel:
            assert not (tmp_path / f"{attempt}").exists()
