"""A file that one process holds, and that is free again however that process ends."""

import fcntl
from pathlib import Path
from typing import IO


def held(path: Path) -> IO[bytes]:
    """Return a file, created where there is none, that is this process's alone for as long as it is open.

    Raises:
        BlockingIOError: another process holds it.
        OSError: it cannot be opened.
    """
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file
