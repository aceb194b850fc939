"""Handing requests over to the core: over a Unix socket, as they came, with the client's address and scheme beside."""

import os
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from mlcommons_py.gateway.passing import Gateway
from mlcommons_py.gateway.pool import Pool
from mlcommons_py.header_fields import Fields, Headers

SOCKET = "core.sock"
"""The socket's name in its directory."""

_CLIENT, _SCHEME = b"x-mlcommons-client", b"x-mlcommons-scheme"
_TOLD = frozenset({_CLIENT, _SCHEME})
_OF_THE_CONNECTION = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
_AT_ONCE = 1 << 20
"""Requests that may be under way at the core: it is the core that refuses what is too much."""


def address(directory: Path) -> str:
    """Return a short path of the socket in a directory that this process keeps open.

    A socket's path has 107 bytes at most, and a data directory may be deep.
    """
    return f"/proc/self/fd/{os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)}/{SOCKET}"


def handing(path: str) -> Gateway:
    """Return the way to the core that listens under a path."""
    return Gateway(Pool([f"unix:{path}"], None, _AT_ONCE), handed)


def handed(fields: Fields, client: str, scheme: str, authority: bytes, *, in_chunks: bool) -> Headers:
    """Return a request's fields as the core gets them: all that the client sent, and who it is."""
    del authority
    dropped = _OF_THE_CONNECTION | _TOLD
    sent = [pair for name, pair in zip(fields.names, fields.pairs, strict=True) if name not in dropped]
    sent += [(_CLIENT, client.encode()), (_SCHEME, scheme.encode())]
    if in_chunks:
        sent.append((b"transfer-encoding", b"chunked"))
    return sent


class Received:
    """An ASGI application before the core's own: requests that were handed over look as if they had come directly."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        told = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _TOLD}
        scope["headers"] = [field for field in scope["headers"] if field[0] not in _TOLD]
        scope["client"] = (told[_CLIENT], 0)
        scope["scheme"] = told[_SCHEME]
        await self._app(scope, receive, send)
