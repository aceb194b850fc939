"""A service to talk to, files to register, and the program to do it with."""

import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.fake import Fake, serving

ROOT = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def fake() -> Iterator[Fake]:
    """A service of the test's own."""
    with serving(Fake()) as one:
        yield one


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that looks like a saved model, of three chunks and a bit."""
    made = tmp_path_factory.mktemp("models") / "tiny"
    (made / "1_Pooling").mkdir(parents=True)
    (made / ".cache").mkdir()
    for name in ("config.json", "tokenizer.json", "modules.json", "1_Pooling/config.json", ".cache/left-out.json"):
        (made / name).write_text("{}")
    (made / "model.safetensors").write_bytes(random.Random(0).randbytes(30_000_500))
    (made / "pytorch_model.bin").write_bytes(b"not shipped")
    return made


@pytest.fixture
def torch_script(tmp_path: Path) -> Path:
    """An archive that looks like one of TorchScript."""
    path = tmp_path / "traced.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("traced.pt", b"weights")
        archive.writestr("tokenizer.json", b"{}")
    return path


def environment(url: str | None = None) -> dict[str, str]:
    """Return the environment to start the program in."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("MLCOMMONS_")}
    return {**inherited, "PYTHONPATH": str(ROOT), **({} if url is None else {"MLCOMMONS_URL": url})}


@pytest.fixture
def mlcommons(fake: Fake, tmp_path: Path) -> Run:
    """The program, with the service's address in its environment and nobody at the keyboard."""

    def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "mlcommons_py", *arguments],
            cwd=tmp_path,
            env=environment(fake.url),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
