"""The docs say everything that there is."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from mlcommons_py import content
from mlcommons_py.plugin_settings import PREFIX, SETTINGS
from mlcommons_py.remote.provider import Texts
from mlcommons_py.rest.routes import BESIDE, TABLE
from mlcommons_py.settings import Operator
from mlcommons_py.store.aggregations import compile_aggregations
from mlcommons_py.store.query import compile_query

DOCS = Path(__file__).parent.parent / "docs"
API = (DOCS / "api.md").read_text()
CONNECTORS = (DOCS / "connectors.md").read_text()
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
    texts = [file.read_text() for file in package.rglob("*.py") if file.name != "plugin_keys.py"]
    names = [key.removeprefix(PREFIX) for key in SETTINGS]
    read = {name for name in names if any(f'"{name}"' in text for text in texts)}
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


def test_every_function_of_a_provider_is_documented() -> None:
    """The page of providers has a row for each function and stream, names no others, and each place is right."""
    offered = {name for provider in content.providers().values() for name in provider.offers()}
    places = {post.name: post.path for provider in content.providers().values() for post in provider.post_process}
    tables = CONNECTORS.split("## Batch jobs")[0]
    rows = [line for line in tables.splitlines() if line.startswith("| `")]

    assert {name for line in rows for name in re.findall(r"`([^`]+)`", line.split("|")[1])} == offered
    for name, path in places.items():
        assert any(line.startswith(f"| `{name}` | `{path}` |") for line in rows), name


def test_the_example_of_a_provider_is_one() -> None:
    """The file that the page shows can be put into connectors/ as it is."""
    source = CONNECTORS.split("```python\n")[1].split("```")[0]
    space: dict[str, Any] = {}
    exec(source, space)

    provider = space["PROVIDER"]
    assert list(provider.offers()) == [
        "connector.pre_process.example.embedding",
        "connector.post_process.example.embedding",
    ]
    assert provider.pre_process[0].make(Texts(["a"])) == {"sentences": ["a"]}
    assert provider.post_process[0].make([[0.5]])[0]["data"] == [0.5]
