"""The docs say everything that there is."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from mlcommons_py.plugin_settings import SETTINGS
from mlcommons_py.rest.routes import BESIDE, TABLE
from mlcommons_py.settings import Operator
from mlcommons_py.store.aggregations import compile_aggregations
from mlcommons_py.store.query import compile_query

DOCS = Path(__file__).parent.parent / "docs"
API = (DOCS / "api.md").read_text()
SETTINGS_PAGE = (DOCS / "settings.md").read_text()


def documented() -> set[tuple[str, str]]:
    """Return the routes that the page names, as pairs of method and path."""
    named = re.findall(r"`((?:GET|POST|PUT|DELETE)(?:, POST)?) (/[^`]*)`", API)
    return {(method, path) for methods, path in named for method in methods.split(", ")}


def test_every_route_is_documented() -> None:
    """The page of routes names exactly the routes of the tables."""
    served = {(method, route.path) for route in TABLE + BESIDE for method in route.methods.split(",")}

    assert documented() == served


@pytest.mark.parametrize("key", sorted(SETTINGS))
def test_every_plugin_setting_is_documented(key: str) -> None:
    """The page of settings has a row for each key."""
    assert f"| `{key}` |" in SETTINGS_PAGE


def test_settings_with_an_effect_are_those_that_are_read() -> None:
    """The page says of a key that it has an effect exactly if the package reads it."""
    package = DOCS.parent / "mlcommons_py"
    read = {
        name
        for file in package.rglob("*.py")
        for name in re.findall(r'(?:settings|self)\["([a-z_.]+)"\]', file.read_text())
    }
    marked = set(re.findall(r"\| `plugins\.ml_commons\.([\w.]+)` \|.*\| yes \|$", SETTINGS_PAGE, re.MULTILINE))

    assert marked == read


@pytest.mark.parametrize("name", [one.name for one in fields(Operator) if one.name != "plugin"])
def test_every_operator_setting_is_documented(name: str) -> None:
    """The page of settings has a row for each field, with its environment variable."""
    assert f"| `{name}` | `MLCOMMONS_{name.upper()}` |" in SETTINGS_PAGE


def test_documented_queries_are_understood() -> None:
    """Every query and aggregation that the page names is one that the embedded store takes or refuses by its form."""
    section = API.split("## Query DSL")[1]
    queries = re.findall(r"`(\w+)`", section.split("`from`")[0])
    assert len(queries) == 18
    for name in queries:
        with pytest.raises(Exception, match=r"^(?!.*(unknown query|not supported by)).*$"):
            compile_query({name: {"nonsense": {"nonsense": {}}}})
    for name in ("terms", "value_count", "cardinality", "min", "max", "avg", "sum"):
        assert compile_aggregations({"a": {name: {"field": "x"}}})
