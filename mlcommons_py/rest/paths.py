"""Finds what a path leads to, among templates such as ``/models/{model_id}``."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import unquote

T = TypeVar("T")

ML = "/_plugins/_ml"
"""Where all paths of the plugin begin."""


@dataclass(slots=True)
class _Node(Generic[T]):
    """A place in the tree.

    Attributes:
        end: the target of the template that ends here, and the names of its variables.
        spelled: what follows, by the segment that is spelled out.
        open: what follows a variable.
    """

    end: tuple[T, tuple[str, ...]] | None = None
    spelled: "dict[str, _Node[T]]" = field(default_factory=dict)
    open: "_Node[T] | None" = None

    def find(self, segments: Sequence[str], values: tuple[str, ...]) -> tuple[T, dict[str, str]] | None:
        """Return the target of the segments that are left, and the values of all variables."""
        if not segments:
            return None if self.end is None else (self.end[0], dict(zip(self.end[1], values, strict=True)))
        first, rest = segments[0], segments[1:]
        if first in self.spelled and (found := self.spelled[first].find(rest, values)) is not None:
            return found
        return self.open.find(rest, (*values, first)) if self.open is not None and first else None


class Paths(Generic[T]):
    """Templates as a tree of their segments (OpenSearch's ``PathTrie``).

    A path is cut at its slashes before it is decoded, so that a segment may have a slash in it. What a template spells
    out goes before what it leaves open: ``/models/_search`` is no model.

    >>> paths = Paths({"/models/{model_id}": 1, "/models/_search": 2})
    >>> paths.find("/models/a%2Fb/"), paths.find("/models/_search"), paths.find("/models")
    ((1, {'model_id': 'a/b'}), (2, {}), None)
    """

    def __init__(self, targets: Mapping[str, T]) -> None:
        self._root: _Node[T] = _Node()
        for template, target in targets.items():
            at, names = self._root, []
            for part in template.strip("/").split("/"):
                if part.startswith("{"):
                    names.append(part.strip("{}"))
                    at.open = at.open or _Node()
                    at = at.open
                else:
                    at = at.spelled.setdefault(part, _Node())
            at.end = (target, tuple(names))

    def find(self, path: str) -> tuple[T, dict[str, str]] | None:
        """Return the target of a path as it was sent, and what is in its template's variables.

        Slashes at the end mean nothing; a variable is never empty.
        """
        segments = path.rstrip("/").removeprefix("/").split("/")
        if "%" in path:
            segments = [unquote(segment) for segment in segments]
        return self._root.find(segments, ())


class OwnPaths(Paths[tuple[T, Collection[str]]]):
    """The templates of the service's own routes, each with what answers it and the methods that it takes."""

    def lack(self, path: str, method: str) -> bool:
        """Return whether a request is the cluster's, if there is one: no route takes it, nor is the path the plugin's.

        HEAD is taken where GET is.
        """
        if is_ours(path):
            return False
        found = self.find(path)
        return found is None or ("GET" if method == "HEAD" else method) not in found[0][1]


def is_ours(path: str) -> bool:
    """Return whether a path belongs to the plugin, whether or not a route is there."""
    if "%" not in path and "//" not in path:
        return path == ML or path.startswith(f"{ML}/")
    return [unquote(part) for part in path.split("/") if part][:2] == ML.split("/")[1:]
