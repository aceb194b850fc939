"""Streamed answers of remote models: pieces of text as the provider sends them, guarded on their way."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from mlcommons_py import exact
from mlcommons_py.errors import BadRequest, IllegalArgument, RemoteFailed
from mlcommons_py.guard.stream import GuardedStream
from mlcommons_py.inference.remote import Call, Caller
from mlcommons_py.inference.remotes import Remotes
from mlcommons_py.models.documents import Model
from mlcommons_py.observe.counters import Counters
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.remote import events
from mlcommons_py.remote.answer import too_long
from mlcommons_py.remote.deltas import Pairs, whole
from mlcommons_py.remote.echoes import Hider
from mlcommons_py.remote.exchange import Incoming, Outgoing
from mlcommons_py.remote.outputs import beginning, hide
from mlcommons_py.remote.provider import Delta, Streaming
from mlcommons_py.remote.spoken import shown

INTERFACE = "_llm_interface"
"""The parameter that says how the provider streams."""


_HEAD = 1 << 15
"""Bytes of an answer that are kept to tell what it is, if it is no stream; no credential is longer."""


class Streamer:
    """Streams the answers of remote models."""

    def __init__(self, caller: Caller, remotes: Remotes, settings: PluginSettings, counters: Counters) -> None:
        self._caller = caller
        self._remotes = remotes
        self._settings = settings
        self._counters = counters

    async def stream(
        self, model_id: str, model: Model, body: Mapping[str, Any], user: str | None = None
    ) -> AsyncGenerator[Delta]:
        """Return the pieces of a model's answer; the last one says that it is.

        What goes wrong before the provider begins to answer is raised by this call, what goes wrong later by the
        iteration. Closing the iterator ends the call.

        Raises:
            BadRequest: streaming is switched off, or the model does not live at a provider.
            MLCommonsError: as :meth:`~mlcommons_py.inference.remote.Caller.predict`.
        """
        if not self._settings["stream_enabled"]:
            raise BadRequest(
                "Streaming is currently disabled. To enable it, update the setting"
                ' "plugins.ml_commons.stream_enabled" to true.'
            )
        if not model.is_remote:
            raise BadRequest("Streaming is only supported for remote models")
        pieces = self._counted(model_id, model, body, user)
        first = await anext(pieces, None)  # by then the provider has accepted the request
        return _with_first(first, pieces)

    async def _counted(
        self, model_id: str, model: Model, body: Mapping[str, Any], user: str | None
    ) -> AsyncGenerator[Delta]:
        with self._counters.counted(model.algorithm, "predict", model_id), self._remotes.timed(model_id):
            given = self._caller.given(body, model.algorithm)
            call = await self._caller.begin(model_id, model, given, user)
            way = self._way(given.parameters or {}, call.connector.parameters or {})
            async with aclosing(self._pieces(call, way)) as pieces:
                try:
                    async for delta in pieces:
                        self._remotes.touch(model_id)
                        yield delta
                except RemoteFailed as fault:
                    raise fault.without(call.prepared[0].hidden.hide) from None

    def _way(self, parameters: Mapping[str, Any], connector: Mapping[str, str]) -> Streaming:
        """Return how a provider streams, as the request's parameters or the connector's say."""
        functions = self._caller.functions
        way = functions.streaming(str(parameters.get(INTERFACE, connector.get(INTERFACE))))
        if way is None:
            raise IllegalArgument(
                f"[parameters.{INTERFACE}] must say how the provider streams;"
                f" it is one of {', '.join(functions.interfaces())}"
            )
        return way

    async def _pieces(self, call: Call, way: Streaming) -> AsyncGenerator[Delta]:
        if len(call.prepared) != 1:
            raise IllegalArgument(f"{len(call.prepared)} requests cannot be streamed at once; send one text")
        prepared = call.prepared[0]
        outgoing = _streamed(call.outgoing(prepared), way)
        guard = GuardedStream(None) if call.guard is None else call.guard.stream()
        hider, pairs = Hider(prepared.hidden), Pairs()
        async with self._caller.transport.stream(outgoing, call.connector.config, model_id=call.model_id) as answer:
            if not 200 <= answer.status < 300:
                body = await answer.read()
                await call.accept(Incoming(answer.status, answer.headers, body, answer.attempts), prepared)
            head, came, length, most = bytearray(), False, 0, self._settings["max_json_size"]

            async def parts() -> AsyncGenerator[bytes]:
                async for part in answer:
                    head.extend(part[: max(0, _HEAD - len(head))])
                    yield part

            async for name, data in events.read(way.framing, parts()):
                came = True
                delta = way.read(name, data)
                if delta is None:
                    continue
                if delta.error is not None:
                    error = whole(delta.error)
                    fault = RemoteFailed(f"Error from remote service: {hide(error, prepared)}", 502)
                    raise await call.shown(fault, [error])
                content = pairs.feed(delta.content, is_last=delta.is_last)
                length += len(content)
                if guard.keeps and 0 <= most < length:
                    raise too_long(most)
                if text := hider.feed(await guard.feed(content)):
                    yield Delta(text)
                if delta.is_last:
                    break
            else:
                if head and not came:
                    began = Incoming(answer.status, answer.headers, bytes(head))
                    said = beginning(began, prepared)
                    fault = RemoteFailed(f"The answer of the remote service is no event stream: {said}", 502)
                    raise await call.shown(fault, shown(began, prepared))
                raise RemoteFailed("Remote service ended its answer before it was complete", 502)
            yield Delta(hider.feed(await guard.end()) + hider.end(), is_last=True)


def _streamed(outgoing: Outgoing, way: Streaming) -> Outgoing:
    """Return a request as one for a streamed answer."""
    try:
        given = exact.loads(outgoing.body.decode(outgoing.charset)) if outgoing.body else {}
    except ValueError as fault:
        raise IllegalArgument("the request cannot be streamed: its body is no JSON") from fault
    if not isinstance(given, dict):
        raise IllegalArgument("the request cannot be streamed: its body is no JSON object")
    body = exact.dumps(way.request(given)).decode().encode(outgoing.charset)
    return replace(outgoing, url=way.url(outgoing.url), headers={**outgoing.headers, **way.headers}, body=body)


async def _with_first(first: Delta | None, rest: AsyncGenerator[Delta]) -> AsyncGenerator[Delta]:
    try:
        if first is not None:
            yield first
        async for delta in rest:
            yield delta
    finally:
        await rest.aclose()
