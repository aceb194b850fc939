"""Calls to providers: connections that are kept, limits of time and number, and repetitions.

What goes out is the connector's request, with ``Host`` and ``Content-Length``, and no other header. Redirects are
answers like any other, proxies of the environment are not used, cookies are not kept. The client is aiohttp, loaded
with the first call.
"""

import asyncio
import importlib
import io
import re
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.plugin_settings import PluginSettings
from mlcommons_py.remote.answer import Answer
from mlcommons_py.remote.breaker import Breaker
from mlcommons_py.remote.call import READS, Call, Observe
from mlcommons_py.remote.documents import ClientConfig
from mlcommons_py.remote.exchange import Headers, Incoming, Outgoing
from mlcommons_py.remote.faults import Broken
from mlcommons_py.remote.identity import Identity
from mlcommons_py.remote.places import Places
from mlcommons_py.remote.resolver import Lookup, Resolver, SystemLookup
from mlcommons_py.remote.trust import Reach, Trust

if TYPE_CHECKING:
    import aiohttp
    import yarl

_KEPT_SECONDS = {"http": 4.0, "https": 30.0}
"""How long a connection waits for the next request. Servers without TLS, mostly one's own, often hang up after five
seconds, and a request that meets that is lost; to connect to them anew costs next to nothing."""

_OURS = frozenset(
    "connection content-length expect host keep-alive proxy-connection te trailer transfer-encoding upgrade".split()
)
"""Headers that say how the request travels; a connector's are left out."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_MOST_IDENTITIES = 256
"""Certificates of connectors that are kept ready; connections with one are shared by nobody who has another."""

_AS_IT_IS = 1 << 20
"""Bytes up to which the client takes a body in one piece; a longer one would hold up the loop."""

_BY_ITSELF = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
"""What the client would add."""


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
        self._system = SystemLookup()
        self._lookup = self._system if lookup is None else lookup
        self.breaker = Breaker() if breaker is None else breaker
        self._places = Places() if places is None else places
        self._reads = reads
        self._kept = kept
        self._observe = observe
        self._sessions: dict[tuple[str, Reach], aiohttp.ClientSession] = {}
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

        async def attempt() -> Incoming:
            answer = await self._connect(call, self._reads * call.reading)
            try:
                body = await answer.read()
            finally:
                answer.close()
            return Incoming(answer.status, answer.headers, body, call.attempts, call.target.endpoint.origin)

        with self.breaker.call(model_id, call.target.endpoint.origin) as verdict, call.judged(verdict, self._observe):
            return await call.repeated(attempt, _keep)

    @asynccontextmanager
    async def stream(
        self, outgoing: Outgoing, config: ClientConfig, *, model_id: str, private: bool | None = None
    ) -> AsyncIterator[Answer]:
        """Send a request and give its answer from the moment its head came; iterating over it yields the body.

        It is sent again, if at all, before anything of an answer was given out. Raises what :meth:`send` raises,
        iterating as well.
        """
        call = self._call(outgoing, config, model_id, private)

        async def attempt() -> Answer:
            # The whole has no end that could be foreseen; its head has.
            try:
                async with asyncio.timeout(self._reads * call.reading):
                    return await self._connect(call, None)
            except TimeoutError as fault:
                raise call.translate(fault) from fault

        with self.breaker.call(model_id, call.target.endpoint.origin) as verdict, call.judged(verdict, self._observe):
            answer = await call.repeated(attempt, lambda answer: answer.close())
            answer.attempts = call.attempts
            try:
                yield answer
            finally:
                answer.close()

    async def close(self) -> None:
        """Hang up on every provider."""
        while self._sessions:
            await self._sessions.popitem()[1].close()
        self._system.close()

    def _call(self, outgoing: Outgoing, config: ClientConfig, model_id: str, private: bool | None) -> Call:
        target = self._trust.check(outgoing.url, private=private)
        return Call(target, outgoing.to(target.endpoint.url, _checked(outgoing.headers)), config, model_id)

    async def _connect(self, call: Call, total: float | None) -> Answer:
        """Make one attempt of a call; return its answer when its head came."""
        await _load("aiohttp")
        if call.outgoing.sign is not None:
            await _load("botocore.auth")
        import aiohttp

        endpoint = call.target.endpoint
        session = self._session(endpoint.scheme, call.target.reach)
        verification = await self._verification(call) if endpoint.scheme == "https" else True
        await self._places.enter(call.place)
        try:
            signed = call.outgoing if call.outgoing.sign is None else call.outgoing.sign(call.outgoing)
            wire = await session.request(
                signed.method,
                _url(endpoint.url),
                data=_body(signed.body),
                headers=signed.headers,
                allow_redirects=False,
                ssl=verification,
                timeout=_limits(total, call.connecting, call.reading),
                # The client never repeats a POST by itself.
                middlewares=() if signed.method == "POST" else None,
            )
        except BaseException as fault:
            self._places.leave(call.place)
            if isinstance(fault, (aiohttp.ClientError, OSError, Broken)):
                failed = call.translate(fault)
                raise failed from failed.__cause__
            raise
        return Answer(wire, call.translate, lambda: self._places.leave(call.place), self._settings["max_json_size"])

    def _session(self, scheme: str, reach: Reach) -> "aiohttp.ClientSession":
        """Return the connections for a scheme and a reach: who may not go to private addresses shares none that do."""
        session = self._sessions.get((scheme, reach))
        if session is None:
            session = self._sessions[scheme, reach] = self._opened(scheme, reach)
        return session

    def _opened(self, scheme: str, reach: Reach) -> "aiohttp.ClientSession":
        import aiohttp

        connector = aiohttp.TCPConnector(
            limit=0,
            keepalive_timeout=_KEPT_SECONDS[scheme] if self._kept is None else self._kept,
            resolver=cast("Any", Resolver(self._lookup, lambda host, found: self._trust.admit(host, found, reach))),
            use_dns_cache=False,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_BY_ITSELF,
            auto_decompress=False,
            trust_env=False,
            middlewares=[_once],
        )

    async def _verification(self, call: Call) -> ssl.SSLContext | bool:
        identity = call.outgoing.identity
        if call.config.skip_ssl_verification and identity is None:
            return False
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


@lru_cache(maxsize=64)
def _limits(total: float | None, connecting: float, reading: float) -> "aiohttp.ClientTimeout":
    import aiohttp

    return aiohttp.ClientTimeout(total=total, connect=connecting, sock_read=reading)


@lru_cache(maxsize=1024)
def _url(text: str) -> "yarl.URL":
    """Return a URL for the client, which takes it as it is and remembers what it found in it."""
    import yarl

    return yarl.URL(text, encoded=True)


async def _load(module: str) -> None:
    """Import a module of which loading takes so long that the loop would stand still."""
    if module not in sys.modules:
        await asyncio.to_thread(importlib.import_module, module)


async def _once(
    request: "aiohttp.ClientRequest", send: Callable[["aiohttp.ClientRequest"], Awaitable["aiohttp.ClientResponse"]]
) -> "aiohttp.ClientResponse":
    """Keep the client from sending a request again by itself, which it does where a kept connection was closed."""
    import aiohttp

    try:
        return await send(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as fault:
        raise Broken from fault


def _keep(_incoming: Incoming) -> None:
    """Let go of nothing: the answer was read."""


def _body(body: bytes) -> bytes | io.BytesIO | None:
    if len(body) > _AS_IT_IS:
        return io.BytesIO(body)
    return body or None


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
