"""A data directory that one server after another runs on."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """A directory that the server's user can enter."""
    with tempfile.TemporaryDirectory(prefix="opensearch-") as one:
        yield Path(one)


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """What a service is started with beside its store: it notices within seconds which nodes are gone."""
    config = tmp_path_factory.mktemp("config") / "config.toml"
    config.write_text("heartbeat_seconds = 0.4\n")
    return ("--config", str(config))
