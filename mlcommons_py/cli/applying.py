"""``mlcommons blueprint apply``: from a blueprint to a model that answers."""

import ipaddress
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson
import typer

from mlcommons_py.cli import registering, show
from mlcommons_py.cli.client import ML, Client
from mlcommons_py.cli.recipe import Recipe
from mlcommons_py.errors import BadRequest, IllegalArgument, MLCommonsError
from mlcommons_py.plugin_settings import PREFIX

TRUSTED = f"{PREFIX}trusted_connector_endpoints_regex"
PRIVATE = f"{PREFIX}connector.private_ip_enabled"
_SETTINGS = "/_cluster/settings"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user wants of a blueprint.

    Attributes:
        name: of the model, in place of the blueprint's.
        change_settings: True to change what must be changed, False to refuse, None to ask.
        predict: whether to try the model.
    """

    name: str | None = None
    change_settings: bool | None = None
    predict: bool = True


def apply(client: Client, recipe: Recipe, wish: Wish) -> dict[str, Any]:
    """Carry out a filled blueprint; return the ids of what was made, the model's state and the answer to the trial.

    Raises:
        IllegalArgument: what was set makes no URL; nothing was changed.
        BadRequest: cluster settings forbid it, and may not be changed.
        MLCommonsError: the service refused something, or the provider did. What was made until then stays, and a note
            says what that is.
    """
    _check_urls(recipe)
    _allow(client, recipe, wish)
    made: dict[str, Any] = {}
    try:
        made["connector_id"] = client.call("POST", f"{ML}/connectors/_create", recipe.connector)["connector_id"]
        body = {**recipe.model, "connector_id": made["connector_id"]}
        if wish.name is not None:
            body["name"] = wish.name
        made["model_id"] = client.call("POST", f"{ML}/models/_register", body)["model_id"]
        made["model_state"] = registering.deploy(client, made["model_id"], wait=True)["model_state"]
        if wish.predict:
            made["prediction"] = client.call("POST", _path(recipe, made["model_id"]), recipe.predict["body"])
    except (MLCommonsError, KeyboardInterrupt):
        _tell(client, made)
        raise
    return made


def _path(recipe: Recipe, model_id: str) -> str:
    algorithm = recipe.predict.get("path")
    return f"{ML}/_predict/{algorithm}/{model_id}" if algorithm else f"{ML}/models/{model_id}/_predict"


def _tell(client: Client, made: Mapping[str, Any]) -> None:
    """Say what stays although the rest failed, and how to take it away."""
    if "model_id" in made:
        show.note(f"model {made['model_id']} exists; end it with: mlcommons delete --undeploy {made['model_id']}")
    if "connector_id" in made:
        path = f"{client.url}{ML}/connectors/{made['connector_id']}"
        show.note(f"connector {made['connector_id']} exists; end it with: curl -X DELETE {path}")


def _check_urls(recipe: Recipe) -> None:
    for url in recipe.urls():
        try:
            parts = urlsplit(url)
            right = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            right = False
        if not right:
            raise IllegalArgument(
                f"[{url.partition('?')[0][:200]}] is no URL to call, it must be like https://host/path; nothing was"
                " changed. It comes of what was set, such as endpoint, which needs http:// or https:// in front"
            )


def _allow(client: Client, recipe: Recipe, wish: Wish) -> None:
    """Have the cluster settings allow what the blueprint does."""
    scopes = client.call("GET", f"{_SETTINGS}?include_defaults=true&flat_settings=true")
    now = {**scopes.get("defaults", {}), **scopes.get("persistent", {}), **scopes.get("transient", {})}
    changes = _changes(recipe, now)
    if not changes:
        return
    body = {"persistent": changes}
    text = orjson.dumps(body).decode()
    allowed = wish.change_settings
    if allowed is None and sys.stdin.isatty() and sys.stderr.isatty():
        question = f"The cluster settings do not allow this yet. {_told(changes, now)}?"
        allowed = typer.confirm(question, default=False, err=True)
    if not allowed:
        raise BadRequest(
            "the cluster settings do not allow this yet; nothing was made. Say --change-settings, or change them with\n"
            f"  curl -X PUT {client.url}{_SETTINGS} -H 'content-type: application/json' -d '{text}'"
        )
    client.call("PUT", _SETTINGS, body)
    show.note(f"cluster settings: {_told(changes, now)}; this stays, whatever comes after")


def _told(changes: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return what changes, for people: of a list, what is added to it."""
    told = []
    for key, value in changes.items():
        if isinstance(value, list):
            before = now.get(key)
            added = [one for one in value if not isinstance(before, list) or one not in before]
            told.append(f"add {', '.join(map(str, added))} to {key}")
        else:
            told.append(f"set {key} to {orjson.dumps(value).decode()}")
    return ", ".join(told)


def _changes(recipe: Recipe, now: Mapping[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    urls = recipe.urls()
    for key, wanted in recipe.settings.items():
        current = now.get(key)
        if isinstance(wanted, list):
            current = current if isinstance(current, list) else []
            if key == TRUSTED and all(any(_matches(one, url) for one in current) for url in urls):
                continue
            if missing := [one for one in wanted if one not in current]:
                changes[key] = [*current, *missing]
        elif str(current).lower() != str(wanted).lower():
            changes[key] = wanted
    if any(_is_private(url) for url in urls) and str(now.get(PRIVATE)).lower() != "true":
        changes[PRIVATE] = True
    return changes


def _matches(pattern: str, url: str) -> bool:
    try:
        return re.fullmatch(pattern, url) is not None
    except re.error:
        return False


def _is_private(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def report(recipe: Recipe, made: Mapping[str, Any]) -> None:
    """Print what was made, for people."""
    show.say(f"connector {made['connector_id']}")
    show.say(f"model {made['model_id']} is {made['model_state']}")
    if "prediction" not in made:
        return
    show.say(f"it answers {orjson.dumps(recipe.predict['body']).decode()} with")
    for entry in made["prediction"]["inference_results"]:
        for tensor in entry["output"]:
            _print(tensor)


def _print(tensor: Mapping[str, Any]) -> None:
    data = tensor.get("data")
    if data is None:
        show.say(f"  {orjson.dumps(tensor.get('dataAsMap', tensor)).decode()}")
    elif len(data) == 1:
        show.say(f"  {tensor['name']} {data[0]}")
    else:
        first = ", ".join(f"{value:+.4f}" for value in data[:6])
        show.say(f"  {tensor['name']}, {tensor['data_type']}, {len(data)} dimensions: [{first}, …]")
