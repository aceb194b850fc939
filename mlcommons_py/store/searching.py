"""What is done to a search, and to its answer, beside what the cluster does."""

from collections.abc import Mapping
from typing import Any

from mlcommons_py.errors import IllegalArgument, MLCommonsError, ResourceNotFound
from mlcommons_py.store import CONTENT
from mlcommons_py.store.percolate import percolates
from mlcommons_py.store.search import Search
from mlcommons_py.store.source_filter import source_filter

MAX_CONTENT_SHOWN = 100_000_000
"""Most bytes of binary content, before base64, that the hits of one search show."""


def without_content(body: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return the search that leaves content out, and whether it was asked for by its name."""
    keeps = source_filter(body.get("_source", True))
    if keeps is None:
        return dict(body), False
    shown = {"includes": list(keeps.includes), "excludes": [*keeps.excludes, CONTENT]}
    return {**body, "_source": shown}, keeps.names(CONTENT)


def check_shown(size: int) -> None:
    """Refuse hits that show too much content.

    Raises:
        IllegalArgument: ``size`` is more bytes than :data:`MAX_CONTENT_SHOWN`.
    """
    if size > MAX_CONTENT_SHOWN:
        raise IllegalArgument(
            f"the hits have more than {MAX_CONTENT_SHOWN} bytes of [{CONTENT}]; ask for fewer by [size]"
        )


def refuse_missing(index: str, body: Mapping[str, Any]) -> None:
    """Refuse to look for stored queries in an index that is missing: who keeps some has to know that they are gone.

    Raises:
        ResourceNotFound: the search does.
    """
    if percolates(body.get("query")):
        raise ResourceNotFound(f"no such index [{index}]")


def found_nothing(index: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a search finds in an index that is missing: the answer of an empty one.

    Raises:
        ResourceNotFound: as :func:`refuse_missing`.
    """
    refuse_missing(index, body)
    try:
        return Search(body).run((), lambda _: None)
    except MLCommonsError:  # a clause that only the cluster knows
        return Search({}).run((), lambda _: None)
