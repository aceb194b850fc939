"""One call to a provider: its limits, its attempts, and how it is judged when it ended."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from mlcommons_py.errors import RemoteFailed
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
        status: of the last answer; 0 where there was none.
    """

    def __init__(self, target: Target, outgoing: Outgoing, config: ClientConfig, model_id: str) -> None:
        self.target = target
        self.outgoing = outgoing
        self.config = config
        self.place = (model_id, target.endpoint.origin, config.max_connection or CONNECTIONS)
        self.connecting = float(config.connection_timeout or SECONDS)
        self.reading = float(config.read_timeout or SECONDS)
        self.attempts = 0
        self.status = 0

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
        self.status = result.status
        if _is_throttled(result):
            drop(result)
            remote: dict[str, str | int] = {"status": result.status}
            if isinstance(result, Incoming) and result.request_id is not None:
                remote["request_id"] = result.request_id
            raise RemoteFailed(_THROTTLED, result.status, remote=remote, retry_after=result.headers.get("retry-after"))
        return result

    def judged(self, verdict: Verdict, observe: Observe | None) -> "Judged":
        """Return the block that carries the call out; how it ends is written into the verdict, and told of."""
        return Judged(self, verdict, observe)

    def judge(self, fault: BaseException | None) -> str | None:
        """Return what went wrong with the provider, as :class:`~mlcommons_py.remote.breaker.Verdict` has it.

        An answer of status 5xx is the provider's fault, and so is what the network does; a refusal of ours is not.
        """
        if isinstance(fault, RemoteFailed):
            fault.remote.setdefault("attempts", self.attempts)
            if self.status < 500:
                return fault.reason if may_pass(fault) else ""
        elif fault is not None:
            return None
        return f"status {self.status}" if self.status >= 500 else ""


class Judged:
    """The block of a call."""

    __slots__ = ("_began", "_call", "_observe", "_verdict")

    def __init__(self, call: Call, verdict: Verdict, observe: Observe | None) -> None:
        self._call = call
        self._verdict = verdict
        self._observe = observe
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, _kind: type[BaseException] | None, fault: BaseException | None, _trace: object) -> None:
        call = self._call
        self._verdict.fault = call.judge(fault)
        if self._observe is not None and call.attempts:
            self._observe(call.place[0], call.status, time.monotonic() - self._began, call.attempts)


def _is_passing(result: Incoming | Answer) -> bool:
    return is_passing(result.status) or _is_throttled(result)


def _is_throttled(result: Incoming | Answer) -> bool:
    """Return whether AWS says so, with whatever status (``MLSdkAsyncHttpResponseHandler.java``)."""
    return not 200 <= result.status <= 300 and result.headers.get("x-amzn-errortype", "").startswith(
        "ThrottlingException"
    )
