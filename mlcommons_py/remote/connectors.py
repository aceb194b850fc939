"""Connectors: creating, reading, changing, deleting and finding them, and what a call needs of one."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from mlcommons_py.errors import (
    BadRequest,
    Conflict,
    IllegalArgument,
    MLCommonsError,
    NotFound,
    StatusError,
    StoreBusy,
    Unavailable,
    VersionConflict,
)
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.remote.definition import Definition, Trusts, check_connector, refuse_empty
from mlcommons_py.remote.documents import CONNECTORS, Connector
from mlcommons_py.remote.functions import Functions
from mlcommons_py.remote.own_connectors import Opened, OwnConnectors
from mlcommons_py.remote.rotation import settle
from mlcommons_py.remote.secrets import Secrets
from mlcommons_py.store import Store, Written, new_id
from mlcommons_py.store.client_search import api_body
from mlcommons_py.store.recent import Recent
from mlcommons_py.store.record import now

DRY_RUN = "dryRunConnector"
"""What ``_create`` answers as the id of a connector that was only to be checked."""

Users = Callable[[str], Awaitable[list[tuple[str, bool]]]]
"""Returns the ids of the models that use a connector, each with whether it is deployed."""

_SEARCHED = ("name", "description", "version", "protocol", "access", "provisioned_by")


class Connectors:
    """The connectors of a store.

    Attributes:
        own: those that models bring with them.

    Args:
        trust: knows which URLs may be called.
        users: returns the models that use a connector.
        functions: the pre- and post-process functions that there are.
        changed_for: is told of each model whose connector was changed.
    """

    def __init__(
        self,
        store: Store,
        secrets: Secrets,
        settings: PluginSettings,
        trust: Trusts,
        users: Users,
        functions: Functions,
        changed_for: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._secrets = secrets
        self._settings = settings
        self._check = partial(check_connector, trust, functions)
        self._users = users
        self._changed_for = changed_for
        self._recent = Recent(self._open)
        self.own = OwnConnectors(store, secrets, self._check)

    async def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Store a connector; return the answer with its id. With ``dry_run`` it is only checked.

        Raises:
            IllegalArgument: the body is wrong.
            BadRequest: remote models are switched off.
            Conflict: ``connector_id`` is taken.
            CredentialUnreadable: the master key is lost.
        """
        self._settings.check_remote_models()
        definition = Definition.read(body)
        definition.check_complete()
        at = now()
        merged = {**definition.onto(), "credential": definition.credential, "created_time": at, "last_updated_time": at}
        connector = Connector.from_json(merged)
        await asyncio.to_thread(self._check, connector, definition.credential)
        if definition.dry_run:
            return {"connector_id": DRY_RUN}
        connector_id = definition.connector_id or new_id()
        assert definition.credential is not None
        try:
            await self._put(connector_id, connector, definition.credential, create=True)
        except VersionConflict as fault:
            raise Conflict(f"connector id '{connector_id}' already exists") from fault
        self._recent.changed(connector_id)
        return {"connector_id": connector_id}

    async def get(self, connector_id: str) -> dict[str, Any]:
        """Return a connector's document as the API shows it: without its credential.

        Raises:
            NotFound: there is none of that id.
        """
        return shown((await self._document(connector_id))[0].to_json())

    async def update(self, connector_id: str, body: Mapping[str, Any]) -> Written:
        """Change a connector: ``parameters`` are merged key by key, all else that is given is replaced.

        Raises:
            NotFound: there is none of that id.
            BadRequest: a model that is deployed uses it, or remote models are switched off.
            IllegalArgument: the body is wrong, or what would become of the connector is.
        """
        self._settings.check_remote_models()
        definition = Definition.read(body)
        _refuse_for_update(connector_id, definition)
        users = await self._refuse_used(connector_id, deployed=True)
        while True:
            stored, seq_no, term = await self._document(connector_id)
            changed = await asyncio.to_thread(self._changed, stored, definition)
            try:
                written = await self._put(
                    connector_id, changed, definition.credential, if_seq_no=seq_no, if_primary_term=term
                )
            except VersionConflict:
                continue
            self._recent.changed(connector_id)
            for model_id in users:
                self._changed_for(model_id)
            return written

    def _changed(self, stored: Connector, definition: Definition) -> Connector:
        """Return what becomes of a connector; a credential that is given is not encrypted yet."""
        merged = {**definition.onto(stored), "last_updated_time": now()}
        if definition.credential:
            merged["credential"] = definition.credential
        changed = Connector.from_json(merged)
        self._check(changed, definition.credential)
        return changed

    async def delete(self, connector_id: str) -> Written:
        """Delete a connector that no model uses; an unknown one is ``not_found``.

        Raises:
            Conflict: a model uses it.
        """
        await self._refuse_used(connector_id, deployed=False)
        written = await self._store.delete(CONNECTORS, connector_id)
        self._recent.gone(connector_id)
        return written

    async def search(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a client's search; credentials can neither be seen in it nor found out by it."""
        shaped = api_body(body, hidden=(), concealed=["credential"], searched=_SEARCHED)
        return await self._store.search(CONNECTORS, shaped)

    async def count(self) -> int:
        """Return how many connectors there are."""
        return int((await self._store.search(CONNECTORS, {"size": 0}))["hits"]["total"]["value"])

    async def recent(self, connector_id: str) -> Opened:
        """Return a connector, and its credential decrypted, as they were at most a second ago.

        While the store does not answer they are as last known.

        Raises:
            NotFound: there is none of that id.
            CredentialUnreadable: its credential cannot be decrypted.
        """
        return await self._recent.get(connector_id)

    async def _open(self, connector_id: str) -> Opened:
        connector, _, _ = await self._document(connector_id)
        return connector, await self._secrets.decrypt(connector.credential or {}, f"connector/{connector_id}")

    async def _document(self, connector_id: str) -> tuple[Connector, int, int]:
        document = await self._store.get(CONNECTORS, connector_id)
        if document is None:
            raise NotFound(f"Failed to find connector with the provided connector id: {connector_id}")
        return Connector.from_json(document.source), document.seq_no, document.primary_term

    async def _refuse_used(self, connector_id: str, *, deployed: bool) -> list[str]:
        """Refuse to change a connector that deployed models use, or to delete one that any do; return its models."""
        all_users = await self._users(connector_id)
        users = [model_id for model_id, is_deployed in all_users if is_deployed or not deployed]
        if not users:
            return [model_id for model_id, _ in all_users]
        still = f"{len(users)} models are still using this connector, please"
        if deployed:
            raise BadRequest(f"{still} undeploy the models first: [{', '.join(users)}]")
        raise Conflict(f"{still} delete or update the models first: [{', '.join(users)}]")

    async def _put(
        self,
        connector_id: str,
        connector: Connector,
        credential: Mapping[str, str] | None,
        *,
        create: bool = False,
        if_seq_no: int | None = None,
        if_primary_term: int | None = None,
    ) -> Written:
        """Store a connector, with a new credential encrypted if there is one."""
        if credential:
            sealed = await self._secrets.encrypt(credential, f"connector/{connector_id}")
            connector = replace(connector, credential=sealed)
        try:
            written = await self._store.put(
                CONNECTORS,
                connector_id,
                connector.to_json(),
                create=create,
                if_seq_no=if_seq_no,
                if_primary_term=if_primary_term,
            )
        except StoreBusy:  # so may this be
            raise StoreBusy(f"connector {connector_id} could not be stored: the cluster has too much to do") from None
        except (VersionConflict, Unavailable):
            raise
        except MLCommonsError as fault:  # the cluster quotes in its words what it was sent
            raise StatusError(
                f"connector {connector_id} could not be stored: the store refused its document [{fault.type}]",
                fault.status,
            ) from None
        if credential:
            await settle(self._store, self._secrets, "connector", connector_id)
        return written


def _refuse_for_update(connector_id: str, definition: Definition) -> None:
    """Refuse what an update could only ignore."""
    if definition.dry_run:
        raise IllegalArgument("[dry_run] is for _create only; an update is carried out")
    if definition.connector_id not in (None, connector_id):
        raise IllegalArgument(f"[connector_id] is another than that of the path, [{connector_id}]; leave it out")
    refuse_empty(definition, "credential")


def shown(source: Mapping[str, Any]) -> dict[str, Any]:
    """Return a connector's document, or that of a model's own connector, without its credential."""
    return {key: value for key, value in source.items() if key != "credential"}
