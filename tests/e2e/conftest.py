"""A running program for the tests that share one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.service import Service, running


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A program of the test's own."""
    with running(tmp_path / "data") as one:
        yield one


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A program that the tests of a module share."""
    with running(tmp_path_factory.mktemp("shared") / "data") as one:
        yield one


@pytest.fixture(scope="module")
def minilm(shared: Service, minilm_zip: Path) -> str:
    """The id of all-MiniLM-L6-v2, deployed in the shared program."""
    return shared.deployed(minilm_zip.read_bytes(), name="all-MiniLM-L6-v2")


@pytest.fixture(scope="session")
def tiny() -> bytes:
    """A small TorchScript archive: a BERT of two layers, 32 dimensions, mean pooling, normalised."""
    return (Path(__file__).parents[1] / "data" / "traced" / "bert-mean-normalized.zip").read_bytes()
