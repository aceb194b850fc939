"""Every blueprint is of the form that the docs describe, and hangs together."""

import re
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from mlcommons_py import content
from mlcommons_py.cli.recipe import Recipe
from mlcommons_py.errors import IllegalArgument, ResourceNotFound

NAMES = content.names("blueprints")
PARTS = {"title", "description", "provider", "documentation", "keys", "settings", "connector", "model", "predict"}
MARK = re.compile(r"\{\{(\w+)\}\}")


def strings(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value."""
    if isinstance(value, str):
        yield value
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(one)


def test_there_are_many() -> None:
    """At least thirty are shipped, and at least one for every provider."""
    assert len(NAMES) >= 30
    assert {Recipe.load(name).provider for name in NAMES} == set(content.providers())


@pytest.mark.parametrize("name", NAMES)
def test_form(name: str) -> None:
    """It has the documented parts, every key is described and used, and every mark is a key."""
    document = content.read("blueprints", name)
    recipe = Recipe.load(name)

    assert document.keys() == PARTS
    assert document["documentation"].startswith("https://")
    assert document["connector"].keys() >= {"name", "description", "version", "protocol", "credential", "actions"}
    assert document["model"]["function_name"] == "remote"
    assert "body" in document["predict"]
    keys = {key.name for key in recipe.keys}
    marks = {mark for text in strings(document) for mark in MARK.findall(text)}
    assert marks == keys
    assert all(key.description.endswith(".") for key in recipe.keys)


@pytest.mark.parametrize("name", NAMES)
def test_secrets_stay_in_the_credential(name: str) -> None:
    """The credential is made of secret keys, no secret is anywhere else, and none has a default to guess."""
    document = content.read("blueprints", name)
    secrets = {key.name for key in Recipe.load(name).keys if key.secret}
    held = {mark for text in strings(document["connector"]["credential"]) for mark in MARK.findall(text)}
    rest = {**document, "connector": {**document["connector"], "credential": {}}}

    assert held == secrets
    assert not secrets & {mark for text in strings(rest) for mark in MARK.findall(text)}
    assert all(key.default in (None, "", "none") for key in Recipe.load(name).keys if key.secret)


@pytest.mark.parametrize("name", NAMES)
def test_functions_are_there(name: str) -> None:
    """Its actions name functions that some provider offers, and templates that no value can break out of."""
    offered = {function for provider in content.providers().values() for function in provider.offers()}
    document = content.read("blueprints", name)

    for action in document["connector"]["actions"]:
        assert {action[key] for key in ("pre_process_function", "post_process_function") if key in action} <= offered
        assert not MARK.search(action.get("request_body", ""))
    interface = document["connector"].get("parameters", {}).get("_llm_interface")
    assert interface is None or interface in offered


@pytest.mark.parametrize("name", NAMES)
def test_its_urls_are_trusted_by_its_settings(name: str) -> None:
    """The regular expressions that it adds match its own URLs in full, and nothing beside them."""
    recipe = Recipe.load(name)
    given = {key.name: "https://a.b:1/c" if key.name == "endpoint" else "x" for key in recipe.missing({})}
    filled = recipe.filled(recipe.values(given))
    patterns = filled.settings["plugins.ml_commons.trusted_connector_endpoints_regex"]

    for url in filled.urls():
        assert any(re.fullmatch(pattern, url) for pattern in patterns), url
        evil = re.sub(r"^(https?://[^/]+)", r"\1.evil.example", url)
        assert not any(re.fullmatch(pattern, evil) for pattern in patterns)
        assert not any(re.fullmatch(pattern, url.replace(".", "x", 1)) for pattern in patterns if "." in url)


def test_values_are_put_into_the_tree() -> None:
    """A value with quotes, braces and placeholders is exactly that value in the request."""
    recipe = Recipe.load("openai-embedding")
    key = 'a"b\\ {{model}} ${parameters.x}\n🚀'

    filled = recipe.filled(recipe.values({"key": key}))

    assert filled.connector["credential"] == {"key": key}
    assert orjson.loads(orjson.dumps(filled.connector))["credential"]["key"] == key


def test_an_empty_value_is_left_out() -> None:
    """A session token that there is none of is not sent as an empty text."""
    recipe = Recipe.load("bedrock-rerank")

    filled = recipe.filled(recipe.values({"access_key": "a", "secret_key": "b"}))

    assert filled.connector["credential"] == {"access_key": "a", "secret_key": "b"}
    assert filled.connector["actions"][0]["url"] == "https://bedrock-agent-runtime.us-east-1.amazonaws.com/rerank"


def test_unknown_and_missing_keys_are_told() -> None:
    """A wrong key and a missing one are refused with what there is to set; an unknown blueprint likewise."""
    recipe = Recipe.load("openai-chat")

    with pytest.raises(IllegalArgument, match="has no key regon; its keys are: key, model, endpoint"):
        recipe.values({"regon": "x", "key": "a"})
    with pytest.raises(IllegalArgument, match=r"openai-chat needs:\n  key  OpenAI's API key"):
        recipe.values({})
    with pytest.raises(ResourceNotFound, match="openai-embedding"):
        Recipe.load("open-ai")
