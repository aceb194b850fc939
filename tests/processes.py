"""Processes that others started."""

from pathlib import Path


def children(parent: int, command: str) -> list[int]:
    """Return the ids of a process's children that live and whose command line has a word in it, in order."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
            line = (stat.parent / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == parent and command.encode() in line and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return sorted(found)
