"""One request to the cluster, and as many tries as it takes.

A request that nobody answers is tried again. One that a client waits for bridges a moment: once nobody has answered for
longer, each is tried at every address once, until one is answered.
"""

import asyncio
import logging
import math
import time
from base64 import b64encode
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import aiohttp
import orjson
from opensearchpy import AIOHttpConnection, AsyncOpenSearch
from opensearchpy.exceptions import ConnectionError as NotConnected
from opensearchpy.exceptions import ConnectionTimeout, SerializationError, TransportError
from opensearchpy.serializer import JSONSerializer
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from mlcommons_py.errors import IllegalArgument, Unavailable
from mlcommons_py.store.filled import Filled, FilledPayload
from mlcommons_py.store.link import Link
from mlcommons_py.store.patience import is_awaited
from mlcommons_py.store.refusals import Refusal, read_refusal

log = logging.getLogger(__name__)

MAX_ANSWER = 128_000_000
"""Most bytes of one answer; a chunk of 10 MB comes as 13.4 MB of base64."""

PATIENCE = 10.0
"""Seconds within which a request is tried again."""

BRIDGED = 1.5
"""Seconds for which a request that a client waits for is tried again while nobody answers any."""

_TIMEOUT = 30.0
_CONNECTIONS = 20
_LARGE = 1 << 20


_pauses = wait_random_exponential(multiplier=0.1, max=2)
_short_pauses = wait_random_exponential(multiplier=0.1, max=0.25)


class Lost(Exception):
    """The cluster did not answer; ``sent`` tells whether it may have done what was asked for."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


class _Busy(Exception):
    """The cluster refused for now."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Answer:
    """What the cluster said in the end.

    Attributes:
        refused: why it did not do it; None if it did.
        repeated: an earlier try got no answer, so that this one may tell of that one's effect.
    """

    body: Any
    refused: Refusal | None = None
    repeated: bool = False


def path(*parts: str, **query: str | int | bool | None) -> str:
    """Return a path of a request, its parts and its query escaped; what is None or False is left out.

    >>> path(".plugins-ml-model", "_doc", "a/b", refresh=True, if_seq_no=3, op_type=None)
    '/.plugins-ml-model/_doc/a%2Fb?refresh=true&if_seq_no=3'
    """
    chosen = {key: "true" if one is True else one for key, one in query.items() if one is not None and one is not False}
    joined = "/" + "/".join(quote(part, safe="") for part in parts)
    return f"{joined}?{urlencode(chosen)}" if chosen else joined


class Cluster:
    """A cluster that may be down, busy or slow."""

    def __init__(self, link: Link, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._answered = -math.inf
        self._lost_since = math.inf
        self._where = ", ".join(link.urls)
        self._link = link
        self._token = link.token
        self._client = AsyncOpenSearch(
            hosts=[_host(url, link) for url in link.urls],
            connection_class=_Connection,
            serializer=_Serializer(),
            timeout=_TIMEOUT,
            pool_maxsize=_CONNECTIONS,
            # Tried again here, where it is known what that may do; these say which nodes are left alone for a while.
            max_retries=0,
            retry_on_timeout=True,
            dead_timeout=5,
        )

    @property
    def is_told_who_asks(self) -> bool:
        """Whether the service shows the cluster who it is: a name, a token, or what TLS may have for it."""
        return bool(self._link.user or self._link.token or self._link.tls)

    async def ask(
        self, method: str, target: str, body: bytes | Filled | None = None, *, within: float = _TIMEOUT
    ) -> Answer:
        """Send a request until it is answered, and return the answer, which may be a refusal.

        The caller sees to it that a second sending does no harm.

        Raises:
            Unavailable: nobody answered.
            IllegalArgument: the answer is longer than :data:`MAX_ANSWER`.
        """
        repeated = False
        again = AsyncRetrying(
            retry=retry_if_exception_type((Lost, _Busy)),
            wait=_short_pauses if is_awaited() else _pauses,
            stop=self._is_enough,
            reraise=True,
        )
        try:
            async for attempt in again:
                with attempt:
                    try:
                        return Answer(await self._known(method, target, body, within), repeated=repeated)
                    except Refusal as refusal:
                        if refusal.passes:
                            # A proxy that gives up does not know what became of the request.
                            repeated = repeated or refusal.status in (502, 503, 504)
                            raise _Busy(refusal) from refusal
                        return Answer(None, refusal, repeated)
                    except Lost as lost:
                        repeated = repeated or lost.sent
                        raise
        except _Busy as busy:
            return Answer(None, busy.refusal, repeated)
        except Lost as lost:
            raise Unavailable(f"the cluster at {self._where} {lost.reason}") from lost
        raise AssertionError("unreachable")

    def _is_enough(self, tried: RetryCallState) -> bool:
        """Return whether a request was tried for as long as it may be, or would have been after the next pause."""
        fault = tried.outcome.exception() if tried.outcome is not None else None
        was_tried = tried.attempt_number >= len(self._link.urls)
        lost_for = time.monotonic() + tried.upcoming_sleep - self._lost_since
        if isinstance(fault, Lost) and is_awaited() and was_tried and lost_for >= BRIDGED:
            self._lost_since = -math.inf  # who asks next need not find it out anew
            return True
        return (tried.seconds_since_start or 0.0) + tried.upcoming_sleep >= self._patience

    async def _known(self, method: str, target: str, body: bytes | Filled | None, within: float) -> Any:
        """Send a request, once more if the token was refused and its file has another by now: tokens expire."""
        shown = self._token
        try:
            return await self._send(method, target, body, within)
        except Refusal as refusal:
            if refusal.status != 401 or self._link.token_file is None:
                raise
            try:
                self._token = await asyncio.to_thread(self._link.newer_token)
            except IllegalArgument as fault:
                log.debug("the cluster refused the service's token, and there is no newer one: %s", fault.reason)
            if self._token == shown:
                raise
        return await self._send(method, target, body, within)

    async def _send(self, method: str, target: str, body: bytes | Filled | None, within: float) -> Any:
        """Send a request, and note since when nobody has answered any; a cluster that hangs is known by the first."""
        began = time.monotonic()
        if self._lost_since == -math.inf and is_awaited():
            within = min(within, BRIDGED)
        try:
            answer = await self._sent(method, target, body, within)
        except Lost:
            self._lost_since = min(self._lost_since, max(began, self._answered))
            raise
        except Refusal:
            self._note_answer()
            raise
        self._note_answer()
        return answer

    def _note_answer(self) -> None:
        self._answered, self._lost_since = time.monotonic(), math.inf

    async def _sent(self, method: str, target: str, body: bytes | Filled | None, within: float) -> Any:
        shown = self._shown()
        headers = {"authorization": shown} if shown else None
        perform = self._client.transport.perform_request
        try:
            return await perform(method, target, body=body, timeout=within, headers=headers)
        except ConnectionTimeout as fault:
            raise Lost(f"did not answer within {within:.0f} s", sent=True) from fault
        except NotConnected as fault:
            if isinstance(fault.info, _TooLong):
                raise IllegalArgument(str(fault.info)) from fault
            raise _lost(fault) from fault
        except TransportError as fault:
            raise read_refusal(fault) from fault
        except SerializationError as fault:
            raise Unavailable(f"what is at {self._where} does not answer as OpenSearch does") from fault

    def _shown(self) -> str:
        """Return what the cluster knows the service by; OpenSearch reads names and passwords as UTF-8."""
        if self._token:
            return f"Bearer {self._token}"
        if self._link.user:
            return "Basic " + b64encode(f"{self._link.user}:{self._link.password}".encode()).decode()
        return ""

    async def close(self) -> None:
        """Let go of the connections."""
        # The client's own close() forgets those that failed last.
        for connection in getattr(self._client.transport, "seed_connections", []):
            await connection.close()


def _lost(fault: NotConnected) -> Lost:
    if isinstance(fault.info, aiohttp.ClientConnectorCertificateError):
        return Lost(f"is not to be trusted: {fault.error}; name its authority by store_ca", sent=False)
    sent = not isinstance(fault.info, aiohttp.ClientConnectorError)
    return Lost(f"{'broke off' if sent else 'cannot be reached'}: {fault.error}", sent=sent)


def _host(url: str, link: Link) -> Mapping[str, Any]:
    parts = urlsplit(url)
    host = {"host": parts.hostname, "port": parts.port or (443 if parts.scheme == "https" else 80)}
    return {**host, "use_ssl": True, "ssl_context": link.tls} if parts.scheme == "https" else host


class _Serializer(JSONSerializer):
    """orjson takes bytes as they come; bodies are made by who asks."""

    def dumps(self, data: Any) -> Any:
        return data

    def loads(self, s: str | bytes) -> Any:
        try:
            return orjson.loads(s)
        except orjson.JSONDecodeError as fault:
            raise SerializationError("no JSON", fault) from fault


class _TooLong(Exception):
    """An answer does not fit into what a request may take of memory."""


class _Response(aiohttp.ClientResponse):
    """An answer of bounded length, left as bytes."""

    async def text(self, encoding: str | None = None, errors: str = "strict") -> Any:  # noqa: ARG002
        parts, length = [], 0
        async for part in self.content.iter_any():
            length += len(part)
            if length > MAX_ANSWER:
                self.close()
                raise _TooLong(
                    f"the cluster's answer is longer than {MAX_ANSWER} bytes; ask for fewer hits by [size], or for"
                    " fewer fields by [_source]"
                )
            parts.append(part)
        return b"".join(parts)


class _Connection(AIOHttpConnection):
    """opensearch-py's connection without what it logs: its records have documents in them, and a 404 is no news."""

    async def perform_request(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        timeout: float | None = None,  # noqa: ASYNC109 - it is opensearch-py's
        ignore: Collection[int] = (),
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Send a request, a long body piece by piece."""
        sent = body
        if isinstance(body, Filled):
            sent = FilledPayload(body)
        elif body is not None and len(body) > _LARGE:
            sent = BytesIO(body)
        return await super().perform_request(method, url, params, sent, timeout, ignore, headers)

    async def _create_aiohttp_session(self) -> None:
        self.session = aiohttp.ClientSession(
            headers=self.headers,
            skip_auto_headers=("accept", "accept-encoding"),
            cookie_jar=aiohttp.DummyCookieJar(),
            response_class=_Response,
            connector=aiohttp.TCPConnector(limit=self._limit or _CONNECTIONS, ssl=self._ssl_context or True),
        )

    def _raise_warnings(self, warning_headers: Any) -> None:
        for one in warning_headers:
            log.debug("the cluster warns: %s", one)

    def log_request_success(self, *_: Any, **__: Any) -> None:
        """Do nothing."""

    def log_request_fail(self, *_: Any, **__: Any) -> None:
        """Do nothing: who asked hears of it."""
