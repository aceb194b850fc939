"""Who this process is: an id that stays the same over restarts, kept in the data directory."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from mlcommons_py.errors import Unavailable
from mlcommons_py.held_file import held


@dataclass(frozen=True, slots=True)
class Node:
    """The node that this process is.

    Attributes:
        id: 22 url-safe characters, as OpenSearch's node ids.
        name: what people call it; the machine's name.
        cluster_uuid: id of the cluster of one that the data directory is.
    """

    id: str
    name: str
    cluster_uuid: str


def identify(data: Path, name: str) -> Node:
    """Return the node of a data directory, made up when the directory is new.

    Raises:
        Unavailable: the directory cannot be written.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        return Node(id=_kept(data / "node_id"), name=name, cluster_uuid=_kept(data / "cluster_uuid"))
    except OSError as fault:
        raise Unavailable(f"the data directory {data} cannot be used: {fault}; choose another with --data") from fault


def hold(data: Path) -> IO[bytes]:
    """Take a data directory for this process alone, for as long as the returned file is open.

    Two services of one directory would be one node, each undoing what the other does.

    Raises:
        Unavailable: another process has it.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        return held(data / "node.lock")
    except BlockingIOError as fault:
        raise Unavailable(
            f"the data directory {data} is in use by another service; each needs one of its own, by --data"
        ) from fault
    except OSError as fault:
        raise Unavailable(f"the data directory {data} cannot be used: {fault}; choose another with --data") from fault


def _kept(path: Path) -> str:
    try:
        if kept := path.read_text().strip():
            return kept
    except FileNotFoundError:
        pass
    made = secrets.token_urlsafe(16)
    draft = path.with_suffix(".new")
    draft.write_text(made)
    draft.replace(path)
    return made
