"""Calls to providers: connections that are kept, limits of time and number, and repetitions.

What goes out is the connector's request, with ``Host`` and ``Content-Length``, and no other header. Redirects are
answers like any other, proxies of the environment are not used, cookies are not kept.
"""

import asyncio
import importlib
import re
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial
from pathlib import Path

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.remote.answer import Answer
from mlcommons_py.remote.breaker import Breaker
from mlcommons_py.remote.call import READS, Call, Observe
from mlcommons_py.remote.connections import Connections, Line
from mlcommons_py.remote.documents import ClientConfig
from mlcommons_py.remote.endpoint import Endpoint
from mlcommons_py.remote.exchange import FixedHeaders, Headers, Incoming, Outgoing
from mlcommons_py.remote.identity import Identity
from mlcommons_py.remote.places import Places
from mlcommons_py.remote.resolver import Lookup, SystemLookup
from mlcommons_py.remote.trust import Trust

_OURS = frozenset(
    "connection content-length expect host keep-alive proxy-connection te trailer transfer-encoding upgrade".split()
)
"""Headers that say how the request travels; a connector's are left out."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_MOST_IDENTITIES = 256
"""Certificates of connectors that are kept ready; connections with one are shared by nobody who has another."""


class Transport:
    """Sends requests to providers."""

    def __init__(
        self,
        trust: Trust,
        settings: PluginSettings,
        *,
        authorities: Path | None = None,
        lookup: Lookup | None = None,
        breaker: Breaker | None = None,
        places: Places | None = None,
        reads: int = READS,
        kept: float | None = None,
        observe: Observe | None = None,
    ) -> None:
        """Connect to nothing yet.

        Args:
            trust: decides what may be called.
            settings: ``max_json_size`` bounds answers.
            authorities: a file, in PEM, of those that certificates may be from, beside the system's.
            lookup: finds the addresses of a host; None for the system.
            breaker: says which models' calls are refused.
            places: bounds the requests under way.
            reads: how many times its ``read_timeout`` an answer may take in all; where it is streamed, its head.
            kept: seconds that a connection waits for the next request; None for what suits the scheme.
            observe: is told of every call that ended.
        """
        self._trust = trust
        self._settings = settings
        self._authorities = authorities
        self.breaker = Breaker() if breaker is None else breaker
        self._places = Places() if places is None else places
        self._reads = reads
        self._observe = observe
        self._connections = Connections(SystemLookup() if lookup is None else lookup, trust, kept)
        self._tls: dict[Identity | None, asyncio.Future[ssl.SSLContext]] = {}

    async def send(
        self, outgoing: Outgoing, config: ClientConfig, *, model_id: str, private: bool | None = None
    ) -> Incoming:
        """Send a request and return its answer, whatever its status.

        Args:
            outgoing: the request; its URL is checked here.
            config: limits and repetitions.
            model_id: whose call it is.
            private: whether addresses that are not public may be called; None as the settings say.

        Raises:
            IllegalArgument: its URL, an address behind it or a header may not be used.
            Unavailable: the provider failed too often in a row.
            Rejected: too many requests of the model are under way.
            RemoteFailed: the provider cannot be reached, its answer cannot be used, or AWS throttles.
        """
        call = self._call(outgoing, config, model_id, private)
        with self.breaker.call(model_id, call.target.endpoint.origin) as verdict, call.judged(verdict, self._observe):
            return await call.repeated(partial(self._exchange, call), _keep)

    @asynccontextmanager
    async def stream(
        self, outgoing: Outgoing, config: ClientConfig, *, model_id: str, private: bool | None = None
    ) -> AsyncIterator[Answer]:
        """Send a request and give its answer from the moment its head came; iterating over it yields the body.

        It is sent again, if at all, before anything of an answer was given out. Raises what :meth:`send` raises,
        iterating as well.
        """
        call = self._call(outgoing, config, model_id, private)

        with self.breaker.call(model_id, call.target.endpoint.origin) as verdict, call.judged(verdict, self._observe):
            answer = await call.repeated(partial(self._begin, call), lambda answer: answer.close())
            answer.let_flow()  # the whole has no end that could be foreseen; its head had
            answer.attempts = call.attempts
            try:
                yield answer
            finally:
                answer.close()

    async def close(self) -> None:
        """Hang up on every provider."""
        self._connections.close()

    def _call(self, outgoing: Outgoing, config: ClientConfig, model_id: str, private: bool | None) -> Call:
        target = self._trust.check(outgoing.url, private=private)
        if outgoing.sign is not None:  # what is signed is the URL as it is called
            outgoing = outgoing.to(target.endpoint.url, _checked(outgoing.headers))
        return Call(target, outgoing, _lines(outgoing.headers), config, model_id)

    async def _exchange(self, call: Call) -> Incoming:
        """Make one attempt of a call; return its answer."""
        answer = await self._begin(call)
        try:
            body = await answer.read()
        finally:
            answer.close()
        return Incoming(answer.status, answer.headers, body, call.attempts, call.target.endpoint.origin)

    async def _begin(self, call: Call) -> Answer:
        """Make one attempt of a call; return its answer when its head came."""
        call.attempts += 1
        target, endpoint, outgoing = call.target, call.target.endpoint, call.outgoing
        if outgoing.sign is not None:
            await _load("botocore.auth")
        tls = await self._verification(call) if endpoint.scheme == "https" else None
        if not self._places.entered(call.place):
            await self._places.enter(call.place)
        try:
            until = asyncio.get_running_loop().time() + self._reads * call.reading
            line = self._connections.kept(target, tls)
            if line is None:
                line = await self._connections.connect(target, tls, call.connecting)
        except BaseException:
            self._places.leave(call.place)
            raise
        ended = partial(self._ended, call, line)
        answer = Answer(line, endpoint, call.reading, until, self._settings["max_json_size"], ended)
        try:
            lines = call.lines
            if outgoing.sign is not None:
                outgoing = outgoing.sign(outgoing)
                lines = _lines(outgoing.headers)
            await answer.ask(outgoing.method, _head(endpoint, outgoing, lines), outgoing.body)
            await answer.begun()
        except BaseException:
            answer.close()
            raise
        return answer

    def _ended(self, call: Call, line: Line, reusable: bool) -> None:
        self._connections.give_back(line, call.target.endpoint.scheme, reusable=reusable)
        self._places.leave(call.place)

    async def _verification(self, call: Call) -> ssl.SSLContext:
        identity = call.outgoing.identity
        if call.config.skip_ssl_verification and identity is None:
            return _believing_anybody()
        tls = self._tls.get(identity)
        if tls is None or (tls.done() and tls.exception() is not None):
            if len(self._tls) >= _MOST_IDENTITIES:
                del self._tls[next(iter(self._tls))]
            # Reading the system's authorities takes tens of milliseconds.
            make = self._context if identity is None else partial(identity.context, self._authorities)
            tls = self._tls[identity] = asyncio.ensure_future(asyncio.to_thread(make))
        return await asyncio.shield(tls)

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self._authorities is not None:
            context.load_verify_locations(self._authorities)
        return context


async def _load(module: str) -> None:
    """Import a module of which loading takes so long that the loop would stand still."""
    if module not in sys.modules:
        await asyncio.to_thread(importlib.import_module, module)


@cache
def _believing_anybody() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _keep(_incoming: Incoming) -> None:
    """Let go of nothing: the answer was read."""


def _head(endpoint: Endpoint, outgoing: Outgoing, lines: str) -> bytes:
    """Return the head of a request as it goes out."""
    method, body = outgoing.method, outgoing.body
    length = f"Content-Length: {len(body)}\r\n" if body or method != "GET" else ""
    return f"{method} {endpoint.target} HTTP/1.1\r\nHost: {endpoint.authority}\r\n{lines}{length}\r\n".encode()


def _lines(headers: Headers) -> str:
    """Return header fields as they go out.

    Raises:
        IllegalArgument: one of them is malformed.
    """
    if isinstance(headers, FixedHeaders) and headers.written is not None:
        return headers.written
    lines = "".join([f"{name}: {value}\r\n" for name, value in _checked(headers).items()])
    if isinstance(headers, FixedHeaders):
        headers.written = lines
    return lines


def _checked(headers: Headers) -> Headers:
    """Return the headers that go out.

    Raises:
        IllegalArgument: one of them is malformed.
    """
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise IllegalArgument(f"Header name [{name!r}] has a character that HTTP does not allow")
        if _NOT_IN_VALUE.search(value):
            raise IllegalArgument(f"Header '{name}' has a control character in its value")
    return {name: value for name, value in headers.items() if name.lower() not in _OURS}
