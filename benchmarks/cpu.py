"""What a benchmark asks the system about CPU time."""

import time
from pathlib import Path


def used(pid: int | None) -> float:
    """Return the milliseconds of CPU time that a process and its children have had; None is this one, without any."""
    if pid is None:
        return 1e3 * time.process_time()
    threads = list(Path(f"/proc/{pid}/task").glob("*"))
    own = sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e6
    children = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    return own + sum(used(child) for child in children)
