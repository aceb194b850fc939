"""What is to be set in a blueprint so that it calls the fakes."""

import base64

from mlcommons_py.cli.recipe import Recipe
from tests.connectors.amazon import ACCESS_KEY, REGION, SECRET_KEY, TOKEN
from tests.connectors.fakes import KEY

_VALUES = {
    "key": KEY,
    "access_key": ACCESS_KEY,
    "secret_key": SECRET_KEY,
    "session_token": TOKEN,
    "region": REGION,
    "resource": "mine",
    "deployment": "mine",
    "endpoint_name": "mine",
    "project": "mine",
    "folder": "mine",
    "model_id": "theirs",
}


def given(recipe: Recipe, url: str) -> dict[str, str]:
    """Return values for the keys of a blueprint; ``url`` is where the fakes are."""
    provider = "yandex" if recipe.name.startswith("yandex") else recipe.provider
    values = {**_VALUES, "endpoint": f"{url}/{provider}", "control_endpoint": f"{url}/{provider}"}
    if recipe.provider == "default":
        values["key"] = base64.b64encode(b"user:word").decode()
    return {key.name: values[key.name] for key in recipe.keys if key.name in values}
