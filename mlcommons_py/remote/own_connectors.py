"""Connectors within models: those that a model brings with it, and that nobody else uses."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote.definition import Definition, refuse_empty
from mlcommons_py.remote.documents import ActionType, Connector
from mlcommons_py.remote.rotation import settle
from mlcommons_py.remote.secrets import Secrets
from mlcommons_py.store import Store

Opened = tuple[Connector, dict[str, str]]
"""A connector and its credential, decrypted."""

Check = Callable[[Connector, Mapping[str, str] | None], None]
"""Refuses a connector that could not be called, of it and of its credential, if that is new, before it is encrypted."""


class OwnConnectors:
    """The connectors of the models of a store."""

    def __init__(self, store: Store, secrets: Secrets, check: Check) -> None:
        self._store = store
        self._secrets = secrets
        self._check = check

    async def made(self, body: Mapping[str, Any], model_id: str) -> dict[str, Any]:
        """Return the connector of a new model as it is stored there, its credential encrypted.

        Once the model is stored, :meth:`settle` is to be called.

        Raises:
            IllegalArgument: it is wrong.
        """
        return await asyncio.to_thread(await self.change(body, model_id), None)

    async def change(
        self, body: Mapping[str, Any], model_id: str
    ) -> Callable[[Mapping[str, Any] | None], dict[str, Any]]:
        """Return the function from a model's connector, as it is stored or None, to what an update makes of it.

        Once the model is stored, :meth:`settle` is to be called. What the function looks at may take long the first
        time; afterwards it is known.

        Raises:
            IllegalArgument: the update is wrong; the function raises it where the result would be.
        """
        definition = _read(body)
        credential = definition.credential
        sealed = None if not credential else await self._secrets.encrypt(credential, f"model/{model_id}")

        def change(stored: Mapping[str, Any] | None) -> dict[str, Any]:
            if stored is not None:
                refuse_empty(definition, "connector.credential")
            merged = definition.onto(None if stored is None else Connector.from_json(stored))
            connector = Connector.from_json(merged if sealed is None else {**merged, "credential": sealed})
            self._check(connector, credential)
            if connector.action(ActionType.PREDICT) is None:
                raise IllegalArgument(
                    "Connector endpoint is required when creating a remote model without connector id!"
                )
            return connector.to_json()

        return change

    async def settle(self, model_id: str) -> None:
        """See to it that the credential of a model that was just stored can be read after a rotation of the key."""
        await settle(self._store, self._secrets, "model", model_id)

    async def opened(self, connector: Connector, model_id: str | None = None) -> Opened:
        """Return a model's connector with its credential decrypted.

        Raises:
            CredentialUnreadable: it cannot be decrypted, or is that of another model.
        """
        owner = None if model_id is None else f"model/{model_id}"
        return connector, await self._secrets.decrypt(connector.credential or {}, owner)


def _read(body: Mapping[str, Any]) -> Definition:
    definition = Definition.read(body, within="connector")
    for field in ("connector_id", "dry_run"):
        if body.get(field) is not None:
            raise IllegalArgument(f"[connector.{field}] cannot be given: the connector is a part of its model")
    return definition
