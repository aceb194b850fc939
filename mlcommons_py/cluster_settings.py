"""The ``plugins.ml_commons.*`` settings as the settings API changes them, kept in the store."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, Protocol

from mlcommons_py.errors import ParsingFailed, SettingRefused, ValidationFailed, VersionConflict
from mlcommons_py.plugin_settings import SETTINGS, PluginSettings, flatten, parse
from mlcommons_py.store import Document, Store
from mlcommons_py.store.record import Record

INDEX = ".plugins-ml-settings"
DOCUMENT = "cluster"
SCOPES = ("persistent", "transient")


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


@dataclass(frozen=True, kw_only=True)
class Stored(Record):
    """The document of the settings: values by full key, also of keys that this version does not know.

    ``transient`` is there where several services share the store: for each of them to know it.
    """

    persistent: Mapping[str, Any] = field(default_factory=dict)
    transient: Mapping[str, Any] | None = None


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


class Beside(Protocol):
    """What somebody else does of the same change; no other change of this process comes in between."""

    async def prepare(self) -> None:
        """Note what the change would take back; what is raised ends the change."""

    async def do(self) -> None:
        """Do it: the service's part was found right, and nothing of it was written. What is raised ends the change."""

    async def undo(self) -> None:
        """Take back what was done: the service's part could not be written."""


class ClusterSettings:
    """Reads and changes the settings; a change is all or nothing."""

    def __init__(self, store: Store, settings: PluginSettings, *, shared: bool = False) -> None:
        """Keep the settings of a store; ``shared`` says that other services use it too."""
        self._store = store
        self._settings = settings
        self._shared = shared
        self._changing = asyncio.Lock()
        # What was read does not come into force after what was written since. Nobody holds this one for longer than
        # the store takes: a change may wait for a cluster that does not answer.
        self._taking = asyncio.Lock()

    async def load(self) -> None:
        """Put what is stored into force."""
        async with self._taking:
            document = await self._store.get(INDEX, DOCUMENT)
            self._take(Stored() if document is None else Stored.from_json(document.source))

    def _take(self, stored: Stored) -> None:
        self._settings.persistent = _known(stored.persistent)
        if self._shared:
            self._settings.transient = _known(stored.transient or {})

    def current(self) -> dict[str, dict[str, Any]]:
        """Return both scopes, by full key, in the form they are shown."""
        return {scope: {key: shown(value) for key, value in getattr(self._settings, scope).items()} for scope in SCOPES}

    def defaults(self) -> dict[str, Any]:
        """Return what holds for the keys that neither scope sets, in the form it is shown."""
        return {key: shown(value) for key, value in self._settings.defaults().items()}

    async def change(self, body: Mapping[str, Any], *, beside: Beside | None = None) -> dict[str, dict[str, Any]]:
        """Change settings and return what was changed, by scope and full key.

        A null resets a key; a key may have wildcards then. ``beside`` does its part first, and takes it back where
        this one fails.

        Raises:
            SettingRefused: a key is unknown, or cannot be changed while the service runs.
            IllegalArgument: a value is wrong.
            ValidationFailed: there is nothing to change.
            ParsingFailed: the body has another key than the two scopes.
        """
        given = scopes_of(body)
        if not any(given.values()):
            raise ValidationFailed("no settings to update")
        async with self._changing:
            if beside is not None:
                await beside.prepare()
            try:
                changes = await self._change(given, beside)
            except BaseException:
                if beside is not None:
                    await beside.undo()
                raise
        return {
            scope: {key: shown(value) for key, value in values.items() if value is not None}
            for scope, values in changes.items()
        }

    async def _change(self, given: Mapping[str, Mapping[str, Any]], beside: Beside | None) -> dict[str, dict[str, Any]]:
        """Change what is stored now, whoever changed it before, and put it into force."""
        while True:
            document = await self._store.get(INDEX, DOCUMENT)
            before = Stored() if document is None else Stored.from_json(document.source)
            scopes = {
                "persistent": before.persistent,
                "transient": before.transient or {} if self._shared else self._settings.transient,
            }
            changes = {scope: _checked(scope, values, scopes[scope]) for scope, values in given.items()}
            after = {scope: _apply(scopes[scope], changes[scope]) for scope in SCOPES}
            stored = replace(
                before, persistent=after["persistent"], transient=after["transient"] if self._shared else None
            )
            if beside is not None:
                await beside.do()
                beside = None
            async with self._taking:
                try:
                    await self._put(stored, document)
                except VersionConflict:
                    continue
                self._settings.persistent = _known(after["persistent"])
                self._settings.transient = _known(after["transient"])
            return changes

    async def _put(self, stored: Stored, instead_of: Document | None) -> None:
        """Store the settings in place of a document; raises :class:`VersionConflict` where it is another by now."""
        if instead_of is None:
            await self._store.put(INDEX, DOCUMENT, stored.to_json(), create=True)
            return
        at, term = instead_of.seq_no, instead_of.primary_term
        await self._store.put(INDEX, DOCUMENT, stored.to_json(), if_seq_no=at, if_primary_term=term)


def _checked(scope: str, values: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes that a client asks for; the value of a key that is reset is None."""
    patterns = [key for key, value in values.items() if value is None and "*" in key]
    # A reset goes before a value, wherever it stands.
    changes: dict[str, Any] = {
        key: None for key in _known(before) if any(fnmatchcase(key, pattern) for pattern in patterns)
    }
    for key, value in values.items():
        if key in patterns:
            continue
        setting = SETTINGS.get(key)
        if setting is None:
            raise SettingRefused(f"{scope} setting [{key}], not recognized")
        if not setting.dynamic:
            raise SettingRefused(f"{scope} setting [{key}], not dynamically updateable")
        changes[key] = None if value is None else parse(key, value)
    return changes


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key in SETTINGS}


def _apply(before: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**before, **changes}.items() if value is not None}
