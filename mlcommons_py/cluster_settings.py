"""The ``plugins.ml_commons.*`` settings as the settings API changes them, kept in the store."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from mlcommons_py.errors import IllegalArgument, MLCommonsError, ParsingFailed, ValidationFailed, VersionConflict
from mlcommons_py.plugin_settings import SETTINGS, PluginSettings, flatten, parse
from mlcommons_py.store import Document, Store

log = logging.getLogger(__name__)

INDEX = ".plugins-ml-settings"
DOCUMENT = "cluster"
SCOPES = ("persistent", "transient")
_TRIES = 10


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by full key as a tree; no key is the beginning of another.

    >>> nest({"a.b": 1, "a.c.d": 2})
    {'a': {'b': 1, 'c': {'d': 2}}}
    """
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        at = tree
        for part in path:
            at = at.setdefault(part, {})
        at[last] = value
    return tree


def shown(value: Any) -> Any:
    """Return a setting's value as OpenSearch shows it: texts, and lists of texts."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return [shown(one) for one in value]
    return str(value)


def scopes_of(body: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a change's keys in full, by scope.

    Raises:
        ParsingFailed: the body has another key than the two scopes.
    """
    for key, value in body.items():
        if key not in SCOPES:
            raise ParsingFailed(f"[cluster_update_settings_request] unknown field [{key}]")
        if value is not None and not isinstance(value, Mapping):
            raise ParsingFailed(f"[{key}] must be an object")
    return {scope: flatten(body.get(scope) or {}) for scope in SCOPES}


class ClusterSettings:
    """Reads and changes the settings; a change is all or nothing.

    With a ``shared`` store every replica has the same settings, the transient ones too: each reads the stored document
    again and again, and a change is based on the state it replaces.
    """

    def __init__(self, store: Store, settings: PluginSettings, *, shared: bool = False) -> None:
        self._store = store
        self._settings = settings
        self._stored = SCOPES if shared else SCOPES[:1]
        self._changing = asyncio.Lock()
        self._others: dict[str, dict[str, Any]] = {}

    async def load(self) -> None:
        """Put what is stored into force; a key that this version does not know stays stored, and nothing else."""
        async with self._changing:
            await self._read()

    async def _read(self) -> Document | None:
        document = await self._store.get(INDEX, DOCUMENT)
        for scope in self._stored:
            stored = {} if document is None else document.source.get(scope, {})
            setattr(self._settings, scope, {key: value for key, value in stored.items() if key in SETTINGS})
            self._others[scope] = {key: value for key, value in stored.items() if key not in SETTINGS}
        return document

    async def follow(self, seconds: float) -> None:
        """Put into force, every so many seconds, what other replicas changed; never returns."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.load()
            except MLCommonsError as fault:
                log.debug("the settings stay as they are: %s", fault.reason)
            except Exception:
                log.exception("cannot read the settings; they stay as they are")

    def current(self) -> dict[str, dict[str, Any]]:
        """Return both scopes, by full key, in the form they are shown."""
        return {scope: {key: shown(value) for key, value in getattr(self._settings, scope).items()} for scope in SCOPES}

    def defaults(self) -> dict[str, Any]:
        """Return what holds for the keys that neither scope sets, in the form it is shown."""
        return {key: shown(value) for key, value in self._settings.defaults().items()}

    async def change(
        self, body: Mapping[str, Any], *, first: Callable[[], Awaitable[None]] | None = None
    ) -> dict[str, dict[str, Any]]:
        """Change settings and return what was changed, by scope and full key.

        A null resets a key; a key may have wildcards then. ``first`` is called once, when the change was found right
        and nothing was written; what it raises ends the change.

        Raises:
            IllegalArgument: a key is unknown or cannot be changed while the service runs, or a value is wrong.
            ValidationFailed: there is nothing to change.
            ParsingFailed: the body has another key than the two scopes.
            VersionConflict: other replicas changed settings at the same time, again and again.
        """
        given = scopes_of(body)
        if not any(given.values()):
            raise ValidationFailed("no settings to update")
        async with self._changing:
            for left in range(_TRIES, 0, -1):
                document = await self._read()
                changes = {scope: self._checked(scope, values) for scope, values in given.items()}
                after = {scope: _apply(getattr(self._settings, scope), changes[scope]) for scope in SCOPES}
                if first is not None:
                    await first()
                    first = None
                try:
                    if any(changes[scope] for scope in self._stored):
                        await self._write(document, after)
                    break
                except VersionConflict:
                    if left == 1:
                        raise
            self._settings.persistent, self._settings.transient = after["persistent"], after["transient"]
        return {
            scope: {key: shown(value) for key, value in values.items() if value is not None}
            for scope, values in changes.items()
        }

    async def _write(self, based_on: Document | None, after: Mapping[str, Mapping[str, Any]]) -> None:
        source = {scope: {**self._others[scope], **after[scope]} for scope in self._stored}
        await self._store.put(
            INDEX,
            DOCUMENT,
            source,
            create=based_on is None,
            if_seq_no=None if based_on is None else based_on.seq_no,
            if_primary_term=None if based_on is None else based_on.primary_term,
        )

    def _checked(self, scope: str, values: Mapping[str, Any]) -> dict[str, Any]:
        patterns = [key for key, value in values.items() if value is None and "*" in key]
        # A reset goes before a value, wherever it stands.
        changes: dict[str, Any] = {
            key: None
            for key in getattr(self._settings, scope)
            if any(fnmatchcase(key, pattern) for pattern in patterns)
        }
        for key, value in values.items():
            if key in patterns:
                continue
            setting = SETTINGS.get(key)
            if setting is None:
                raise IllegalArgument(f"{scope} setting [{key}], not recognized")
            if not setting.dynamic:
                raise IllegalArgument(f"{scope} setting [{key}], not dynamically updateable")
            changes[key] = None if value is None else parse(key, value)
        return changes


def _apply(before: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**before, **changes}.items() if value is not None}
