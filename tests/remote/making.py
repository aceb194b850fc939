"""Connectors and what they are made with, for tests."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mlcommons_py import content
from mlcommons_py.errors import IllegalArgument
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.remote.connectors import Connectors
from mlcommons_py.remote.documents import CONNECTORS
from mlcommons_py.remote.functions import Functions
from mlcommons_py.remote.keys import Holder, Key, Keys
from mlcommons_py.remote.secrets import Secrets
from mlcommons_py.store import Store

FUNCTIONS = Functions(content.providers())
HOLDERS = (
    Holder(CONNECTORS, ("credential",), "connector"),
    Holder(".plugins-ml-model", ("connector", "credential"), "model"),
)


@dataclass
class Only:
    """Trusts URLs of one beginning."""

    beginning: str = "https://api.openai.com/"
    asked: list[str] = field(default_factory=list)

    def check(self, url: str, /) -> None:
        """Refuse any other URL."""
        self.asked.append(url)
        if not url.startswith(self.beginning):
            raise IllegalArgument("Connector URL is not matching the trusted connector endpoint regex")


@dataclass
class Users:
    """Models that use every connector, each with whether it is deployed."""

    models: list[tuple[str, bool]] = field(default_factory=list)

    async def __call__(self, connector_id: str, /) -> list[tuple[str, bool]]:
        """Return them."""
        assert connector_id
        return self.models


def keys(store: Store, given: Sequence[Key] = (), ttl: float = 300.0) -> Keys:
    """Return the keys over a store."""
    return Keys(store, given, HOLDERS, lambda: ttl)


def connectors(store: Store, users: Users | None = None, trust: Only | None = None, **options: Any) -> Connectors:
    """Return the connectors of a store, as a service that has just started has them."""
    return Connectors(
        store,
        Secrets(keys(store, **options)),
        PluginSettings(),
        trust or Only(),
        users or Users(),
        FUNCTIONS,
    )


def openai(**changes: Any) -> dict[str, Any]:
    """Return the body of a connector to OpenAI."""
    action = {
        "action_type": "predict",
        "method": "POST",
        "url": "https://${parameters.endpoint}/v1/chat/completions",
        "headers": {"Authorization": "Bearer ${credential.openAI_key}"},
        "request_body": '{"model":"${parameters.model}","messages":${parameters.messages}}',
    }
    return {
        "name": "OpenAI chat",
        "description": "talks",
        "version": 1,
        "protocol": "http",
        "parameters": {"endpoint": "api.openai.com", "model": "gpt-4o", "temperature": 0.5, "stop": ["x"]},
        "credential": {"openAI_key": "the-canary-in-the-coal-mine"},
        "actions": [action],
        **changes,
    }


def keyed(**changes: Any) -> dict[str, Any]:
    """Return the body of a connector to OpenAI that takes any credential."""
    body = openai(**changes)
    return {**body, "actions": [{**one, "headers": {}} for one in body["actions"]]}
