"""A request as it comes in, its body not read yet."""

from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers, QueryParams
from starlette.types import Receive, Scope

from mlcommons_py.gateway.headers import chunked
from mlcommons_py.header_fields import Fields
from mlcommons_py.rest.waiting import client_of

_NO_QUERY: Mapping[str, str] = {}


class Asked:
    """What the door looks at of a request; Starlette's own looks for each thing anew whenever it is asked.

    Attributes:
        path: as it was sent, without the query.
        query: most requests have none.
        params: what the path template names.
        client: who waits for the answer; None where the server does not say.
    """

    __slots__ = ("client", "headers", "method", "params", "path", "query", "receive", "scope")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.receive = receive
        self.method: str = scope["method"]
        self.headers = _Fields(scope["headers"])
        self.path = path_of(scope)
        query: bytes = scope.get("query_string", b"")
        self.query: Mapping[str, str] = QueryParams(query) if query else _NO_QUERY
        self.params: Mapping[str, str] = scope.get("path_params", _NO_QUERY)
        self.client = client_of(scope)

    def check_length(self) -> None:
        """Refuse what a server before this one may take for another request.

        Raises:
            BadRequest: as of :func:`~mlcommons_py.gateway.headers.chunked`.
        """
        if self.headers.repeat or "transfer-encoding" in self.headers:
            chunked(Fields(self.scope["headers"]))

    @property
    def address(self) -> str | None:
        """The client's address; None where it is not known."""
        client: tuple[str, int] | None = self.scope.get("client")
        return client[0] if client else None

    @property
    def scheme(self) -> str:
        """How it came, ``http`` or ``https``."""
        scheme: str = self.scope.get("scheme", "http")
        return scheme

    @property
    def target(self) -> str:
        """Path and query, as they were sent."""
        query: bytes = self.scope.get("query_string", b"")
        return f"{self.path}?{query.decode('latin-1')}" if query else self.path


class _Fields(Headers):
    """Header fields in a table, of each name the first: they are asked for again and again.

    Attributes:
        repeat: whether a name comes more than once.
    """

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        super().__init__(raw=raw)
        self._first = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(raw)}
        self.repeat = len(self._first) < len(raw)

    def __getitem__(self, key: str) -> str:
        return self._first[key.lower()]

    def __contains__(self, key: Any) -> bool:
        return key.lower() in self._first

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a field."""
        return self._first.get(key.lower(), default)


def path_of(scope: Scope) -> str:
    """Return a request's path as it was sent."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return raw.decode("latin-1")
