"""What a benchmark asks the system about CPU time."""

import os
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


def spent(pid: int) -> float:
    """Return the seconds of CPU time that a process has had, and its children, those that ended among them."""
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
    children = [
        int(child)
        for thread in Path(f"/proc/{pid}/task").glob("*")
        for child in (thread / "children").read_text().split()
    ]
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK") + sum(map(spent, children))
