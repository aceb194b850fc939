"""Connectors together with the models that use them."""

from collections.abc import Callable

from mlcommons_py.models.documents import MODELS
from mlcommons_py.models.registry import Models
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.remote.connectors import Connectors
from mlcommons_py.remote.definition import Trusts
from mlcommons_py.remote.documents import CONNECTORS
from mlcommons_py.remote.functions import Functions
from mlcommons_py.remote.keys import Holder, Keys, keys_of
from mlcommons_py.remote.secrets import Secrets
from mlcommons_py.settings import Operator
from mlcommons_py.store import Store

HOLDERS = (
    Holder(CONNECTORS, ("credential",), "connector"),
    Holder(MODELS, ("connector", "credential"), "model"),
)
"""Where encrypted credentials are: in connectors, and in models that bring their own."""


def secrets_of(operator: Operator, store: Store, settings: PluginSettings) -> Secrets:
    """Return what encrypts and decrypts credentials.

    Raises:
        IllegalArgument: a key that the operator gives is none.
    """
    return Secrets(Keys(store, keys_of(operator), HOLDERS, lambda: 60.0 * settings["master_key_cache_ttl_minutes"]))


def connectors_of(
    secrets: Secrets,
    store: Store,
    settings: PluginSettings,
    models: Models,
    trust: Trusts,
    functions: Functions,
    changed_for: Callable[[str], None],
) -> Connectors:
    """Return the connectors of a store; ``changed_for`` is told of each model whose connector was changed."""

    async def users(connector_id: str) -> list[tuple[str, bool]]:
        # A match, since the field is a text in indices that ML Commons made; of several words it finds others too.
        found = await models.matching({"match": {"connector_id": connector_id}})
        return [(model_id, model.state.is_deployed) for model_id, model in found if model.connector_id == connector_id]

    return Connectors(store, secrets, settings, trust, users, functions, changed_for)
