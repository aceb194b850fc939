"""Handlers of the settings API with a cluster: ``plugins.ml_commons.*`` keys are the service's, the others its own."""

import logging
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from mlcommons_py.cluster_settings import SCOPES, nest, scopes_of
from mlcommons_py.errors import MLCommonsError, ValidationFailed
from mlcommons_py.gateway.passing import Reply
from mlcommons_py.plugin_settings import PREFIX, SETTINGS, flatten
from mlcommons_py.rest.answer import Answer, plain_error
from mlcommons_py.rest.asking import ask, headers_of, passed, read, relayed
from mlcommons_py.rest.body import is_json
from mlcommons_py.rest.request import Request
from mlcommons_py.rest.services import Services

log = logging.getLogger(__name__)

_PATH = "/_cluster/settings"
_NAME = b"ml_commons"
_NOTHING: Mapping[str, object] = {"transient": {"mlcommons_py.no_such_setting.*": None}}
"""A change of nothing: the cluster says by it whether the client may change settings at all."""

Scopes = dict[str, dict[str, Any]]


class _Refused(Exception):
    """The cluster did not do its part; ``reply`` is what the client gets."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


async def get_settings(services: Services, request: Request) -> object:
    """GET /_cluster/settings."""
    reply = await ask(services, request, _PATH, passed(request))
    if reply.status != 200:
        return relayed(reply)
    ours: Scopes = services.cluster_settings.current()
    if request.flag("include_defaults"):
        ours["defaults"] = services.cluster_settings.defaults()
    return Answer(_merged(read(reply), ours, flat=request.flag("flat_settings")), headers=headers_of(reply))


async def put_settings(services: Services, request: Request) -> object:
    """PUT /_cluster/settings: all of it or nothing.

    The service's part is checked first, then the cluster does its own, then the service's is stored. Should that fail,
    the cluster's part is undone, but for what somebody else changed meanwhile. A service that dies in between leaves
    the cluster's part done and its own not; the client, which got no answer, repeats its request.
    """
    if not is_json(request.headers.get("content-type", "")):
        return await _put_yaml(services, request)
    given = scopes_of(await request.json("request body is required"))
    ours: Scopes = {scope: {key: value for key, value in given[scope].items() if _ours(key, value)} for scope in SCOPES}
    theirs = {scope: {key: value for key, value in given[scope].items() if _theirs(key)} for scope in SCOPES}
    if not any(given.values()):
        raise ValidationFailed("no settings to update")
    step = _ClustersPart(services, request, theirs if any(theirs.values()) else _NOTHING)
    try:
        if any(ours.values()):
            changed = await services.cluster_settings.change(ours, beside=step)
        else:
            changed = {scope: {} for scope in SCOPES}
            await step.do()
    except _Refused as refused:
        return relayed(refused.reply)
    assert step.done is not None
    body = _merged(read(step.done), changed, flat=request.flag("flat_settings"))
    return Answer(body, headers=headers_of(step.done))


async def _put_yaml(services: Services, request: Request) -> object:
    """Pass a change in YAML on as it is; it is not read here, so it must not mean the service's keys.

    Without escapes, and aliases, which have the asterisk, too, a key stands there as it is; in CBOR it may come in
    pieces, and is not taken at all.
    """
    if any(sign in request.body for sign in (_NAME, b"*", b"\\")) or not _is_utf8(request.body):
        return plain_error(f"{PREFIX}* keys, wildcards and escapes are taken in JSON only", 406)
    query = passed(request) | {"format": "json"}
    reply = await ask(services, request, _PATH, query, method="PUT", body=request.body)
    return relayed(reply) if reply.status != 200 else Answer(read(reply), headers=headers_of(reply))


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


class _ClustersPart:
    """The cluster's part of a change, and how to take it back."""

    def __init__(self, services: Services, request: Request, body: Mapping[str, Any]) -> None:
        self._services = services
        self._request = request
        self._body = body
        self._before: Scopes = {}
        self.done: Reply | None = None

    async def prepare(self) -> None:
        """Note what the change would take back; a cluster that is down says so at once, which the store does not."""
        now = await ask(self._services, self._request, _PATH, {"flat_settings": "true"})
        if now.status != 200:
            raise _Refused(now)
        before = _flat(now)
        self._before = {scope: _undoing(values, before[scope]) for scope, values in self._body.items()}

    async def do(self) -> None:
        """Have the cluster change its settings."""
        reply = await ask(self._services, self._request, _PATH, passed(self._request), method="PUT", body=self._body)
        if reply.status != 200:
            raise _Refused(reply)
        self.done = reply

    async def undo(self) -> None:
        """Have it take the change back, if it did it; a key that has another value by now was somebody else's since."""
        if self.done is None or self._body is _NOTHING:
            return
        try:
            now = await ask(self._services, self._request, _PATH, {"flat_settings": "true"})
            if now.status == 200:
                made, there = _flat(self.done), _flat(now)
                back = {
                    scope: {
                        key: value for key, value in values.items() if there[scope].get(key) == made[scope].get(key)
                    }
                    for scope, values in self._before.items()
                }
                if not any(back.values()):
                    return
                now = await ask(self._services, self._request, _PATH, {}, method="PUT", body=back)
            if now.status != 200:
                log.error("the cluster's part of a settings change stays: undoing it was refused: %r", now.body[:500])
        except MLCommonsError as fault:
            log.error("the cluster's part of a settings change stays: %s", fault.reason)


def _flat(reply: Reply) -> Scopes:
    """Return the settings that an answer shows, by full key."""
    shown: Any = read(reply)
    return {scope: flatten(shown.get(scope, {})) for scope in SCOPES}


def _undoing(changes: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Return the change that takes changes back."""
    back: dict[str, Any] = {}
    for key in changes:
        if "*" in key:
            back |= {one: value for one, value in before.items() if fnmatchcase(one, key)}
        else:
            back[key] = before.get(key)
    return back


def _ours(key: str, value: object) -> bool:
    """Return whether a key of a change means the service; one with wildcards may mean both."""
    if key.startswith(PREFIX):
        return True
    return value is None and "*" in key and any(fnmatchcase(one, key) for one in SETTINGS)


def _theirs(key: str) -> bool:
    return not key.startswith(PREFIX)


def _merged(theirs: object, ours: Mapping[str, Mapping[str, Any]], *, flat: bool) -> dict[str, Any]:
    """Return the cluster's answer with the service's keys in place of any that the cluster has by the same prefix."""
    assert isinstance(theirs, dict)
    for scope, values in ours.items():
        tree = theirs.setdefault(scope, {})
        if flat:
            kept = {key: value for key, value in tree.items() if not key.startswith(PREFIX)}
            theirs[scope] = dict(sorted({**kept, **values}.items()))
            continue
        plugins = tree.get("plugins", {})
        plugins.pop("ml_commons", None)
        plugins |= nest(values).get("plugins", {})
        if plugins:
            tree["plugins"] = plugins
        else:
            tree.pop("plugins", None)
    return theirs
