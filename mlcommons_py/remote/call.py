"""One call to a provider: its limits, its attempts, and how it is judged when it ended."""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from mlcommons_py.errors import MLCommonsError, RemoteFailed
from mlcommons_py.remote.answer import Answer
from mlcommons_py.remote.breaker import Verdict
from mlcommons_py.remote.documents import ClientConfig
from mlcommons_py.remote.exchange import Incoming, Outgoing
from mlcommons_py.remote.faults import may_pass, remote_failed
from mlcommons_py.remote.places import CONNECTIONS
from mlcommons_py.remote.repeating import is_passing, repeating, retry_after
from mlcommons_py.remote.trust import Target

SECONDS = 30
"""``connection_timeout`` and ``read_timeout`` where the connector has none."""

READS = 10
"""How many times its ``read_timeout`` an answer may take in all, unless it is streamed."""

_THROTTLED = (
    "Error from remote service: The request was denied due to remote server throttling."
    " To change the retry policy and behavior, please update the connector client_config."
)

_Result = TypeVar("_Result", Incoming, Answer)


Observe = Callable[[str, int, float, int], None]
"""Is told of a call that ended: the model, the status (0 where there is no answer), the seconds until the end of its
answer, and how many requests it took."""


class Call:
    """A request to a target, made as often as its connector allows.

    Attributes:
        outgoing: with the URL and the headers that go out.
        place: what it takes for the time of an attempt.
        connecting, reading: seconds that a connection, and the wait for the next bytes, may take.
        attempts: how many there were.
    """

    def __init__(self, target: Target, outgoing: Outgoing, config: ClientConfig, model_id: str) -> None:
        self.target = target
        self.outgoing = outgoing
        self.config = config
        self.place = (model_id, target.endpoint.origin, config.max_connection or CONNECTIONS)
        self.connecting = float(config.connection_timeout or SECONDS)
        self.reading = float(config.read_timeout or SECONDS)
        self.attempts = 0
        self._model_id = model_id
        self._status = 0

    def translate(self, fault: BaseException) -> RemoteFailed:
        """Return the error for a fault of the HTTP client."""
        return remote_failed(fault, self.target.endpoint, self.connecting)

    async def repeated(self, attempt: Callable[[], Awaitable[_Result]], drop: Callable[[_Result], None]) -> _Result:
        """Return the result of the last attempt; ``drop`` lets go of those before it.

        Raises:
            RemoteFailed: the last attempt raised it, or its result says that AWS throttles.
        """
        result: _Result

        async def counted() -> _Result:
            self.attempts += 1
            return await attempt()

        if self.config.max_retry_times:
            result = await repeating(self.config, _is_passing, lambda one: retry_after(one.headers), drop)(counted)
        else:
            result = await counted()
        self._status = result.status
        if _is_throttled(result):
            drop(result)
            remote: dict[str, str | int] = {"status": result.status}
            if isinstance(result, Incoming) and result.request_id is not None:
                remote["request_id"] = result.request_id
            raise RemoteFailed(_THROTTLED, result.status, remote=remote, retry_after=result.headers.get("retry-after"))
        return result

    @contextmanager
    def judged(self, verdict: Verdict, observe: Observe | None) -> Iterator[None]:
        """Write into the verdict how the block ended, and tell of it.

        An answer of status 5xx is the provider's fault, and so is what the network does; a refusal of ours is not.
        """
        began = time.monotonic()
        try:
            yield
        except RemoteFailed as fault:
            fault.remote.setdefault("attempts", self.attempts)
            verdict.fault = fault.reason if may_pass(fault) or self._status >= 500 else ""
            raise
        except (MLCommonsError, OSError):
            raise
        else:
            verdict.fault = f"status {self._status}" if self._status >= 500 else ""
        finally:
            if observe is not None and self.attempts:
                observe(self._model_id, self._status, time.monotonic() - began, self.attempts)


def _is_passing(result: Incoming | Answer) -> bool:
    return is_passing(result.status) or _is_throttled(result)


def _is_throttled(result: Incoming | Answer) -> bool:
    """Return whether AWS says so, with whatever status (``MLSdkAsyncHttpResponseHandler.java``)."""
    return not 200 <= result.status <= 300 and result.headers.get("x-amzn-errortype", "").startswith(
        "ThrottlingException"
    )
