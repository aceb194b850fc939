"""Who waits for the answer of a request."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

EXTENSION = "mlcommons.client"
"""Where a scope's ``extensions`` has, under ``client``, the :class:`Client`.

ASGI has ways for what it does, which cost a task for each request, and two writes for each answer."""

_NOTHING: Mapping[str, Any] = {}
_UNFIT = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def client_of(scope: Scope) -> "Client | None":
    """Return who waits for the answer of a request; None where the server does not say."""
    told = scope.get("extensions", _NOTHING).get(EXTENSION)
    return None if told is None else told["client"]


def waiting_for(cycle: RequestResponseCycle) -> "Client | None":
    """Return who waits for the answer of a request; None where it is answered."""
    return client_of(cycle.scope)  # type: ignore[arg-type]  # uvicorn's type for it is a narrower one


class Client:
    """The client of one request.

    Attributes:
        has_sent: whether its request is here, the body too; nobody need wait for any of it.
        is_gone: whether it hung up.
    """

    __slots__ = ("_cycle", "_flow", "_told", "has_sent", "is_gone")

    def __init__(self, cycle: RequestResponseCycle | None = None, flow: FlowControl | None = None) -> None:
        self.has_sent = False
        self.is_gone = False
        self._cycle = cycle
        self._flow = flow
        self._told: Callable[[], object] | None = None

    def tell(self, told: Callable[[], object] | None) -> None:
        """Say who is to be told when it goes, at once if it has gone already; None for nobody any more."""
        self._told = told
        if told is not None and self.is_gone:
            told()

    def leave(self) -> None:
        """Note that it hung up."""
        self.is_gone = True
        if self._told is not None:
            self._told()

    def take(self, status: int, fields: Sequence[tuple[bytes, bytes]], content: bytes) -> bool:
        """Answer it in one write, and return whether that was done: it has to be waited for where it does not read.

        Args:
            status: the status.
            fields: the header fields, ``content-length`` among them.
            content: the body.
        """
        cycle = self._cycle
        if cycle is None or self._flow is None or self._flow.write_paused or cycle.response_started:
            return False
        if _UNFIT.search(b"".join([value for _, value in fields])):
            return False  # uvicorn says so
        if cycle.disconnected:
            return True
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        head = [STATUS_LINE[status], *[b"%b: %b\r\n" % field for field in (*cycle.default_headers, *fields)]]
        head.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        cycle.transport.writelines((b"".join(head), content))
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
        return True
