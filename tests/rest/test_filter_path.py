"""``filter_path`` as OpenSearch's clients use it."""

from typing import Any

import pytest

from mlcommons_py.rest.filter_path import FilterPath

pytestmark = pytest.mark.only("embedded", reason="the door in front of handlers that no store is behind")

HITS = {"hits": {"total": {"value": 2}, "hits": [{"_id": "a", "_source": {"n": 1}}, {"_id": "b", "_source": {}}]}}


@pytest.mark.parametrize(
    ("paths", "kept"),
    [
        ("hits.total.value", {"hits": {"total": {"value": 2}}}),
        ("hits.hits._id", {"hits": {"hits": [{"_id": "a"}, {"_id": "b"}]}}),
        ("hits.hits._source.n", {"hits": {"hits": [{"_source": {"n": 1}}]}}),
        ("*.total", {"hits": {"total": {"value": 2}}}),
        ("h*.t*.v*", {"hits": {"total": {"value": 2}}}),
        ("**.value", {"hits": {"total": {"value": 2}}}),
        ("**.n , hits.total", {"hits": {"total": {"value": 2}, "hits": [{"_source": {"n": 1}}]}}),
        ("**", HITS),
        ("hits", HITS),
        ("nothing", {}),
        ("hits.hits._id,-hits.hits._id", {}),
        ("-hits.hits", {"hits": {"total": {"value": 2}}}),
        ("-**._source", {"hits": {"total": {"value": 2}, "hits": [{"_id": "a"}, {"_id": "b"}]}}),
        ("hits.*,-hits.hits", {"hits": {"total": {"value": 2}}}),
        ("", HITS),
        (",", HITS),
    ],
)
def test_filter(paths: str, kept: dict[str, Any]) -> None:
    """Includes, excludes and both wildcards pick what OpenSearch picks."""
    assert FilterPath(paths).of(HITS) == kept


def test_a_scalar_has_no_parts() -> None:
    """A path that goes on below a value finds nothing."""
    assert FilterPath("a.b").of({"a": 1}) == {}


def test_a_list_at_the_top() -> None:
    """The elements of a list are filtered each by itself."""
    assert FilterPath("a").of([{"a": 1, "b": 2}, {"b": 3}]) == [{"a": 1}]
