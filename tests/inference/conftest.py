"""A small converted model."""

import asyncio
import shutil
from pathlib import Path

import pytest

from mlcommons_py.artifacts.cache import ConvertedModels
from mlcommons_py.inference.deployment import Source

TRACED = Path(__file__).parents[1] / "data" / "traced"


@pytest.fixture(scope="session")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a converted BERT of two layers and 32 dimensions."""
    cache = ConvertedModels(tmp_path_factory.mktemp("converted"), 8 << 30, 600)

    async def fetch(path: Path) -> None:
        await asyncio.to_thread(shutil.copy, TRACED / "bert-mean-normalized.zip", path)

    return asyncio.run(cache.directory("0" * 64, "TORCH_SCRIPT", "float32", fetch))


def at(directory: Path) -> Source:
    """Return what tells a deployment that its model is in that directory."""

    async def source(_: bool) -> Path:
        return directory

    return source
