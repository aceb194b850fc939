"""Files that one process holds."""

from pathlib import Path

import pytest

from mlcommons_py.held_file import held


def test_one_at_a_time(tmp_path: Path) -> None:
    """Who comes second is refused until the first has closed the file."""
    first = held(tmp_path / "lock")
    with pytest.raises(BlockingIOError):
        held(tmp_path / "lock")
    first.close()

    held(tmp_path / "lock").close()
