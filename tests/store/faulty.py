"""A proxy before the real OpenSearch that loses, refuses and invents answers as a test tells it."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import aiohttp
import orjson
from aiohttp import web

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Heard:
    """A request that came, and how long the answer to it was."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    answered: int


@dataclass(frozen=True, slots=True)
class Lose:
    """Pass the request on, and break off instead of answering."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Break off before the request is passed on."""


@dataclass(frozen=True, slots=True)
class Say:
    """Answer this, and pass nothing on."""

    status: int
    body: Json | str
    kind: str = "application/json"


Act = Lose | Drop | Say


def error(kind: str, reason: str, status: int) -> Say:
    """Return an error as OpenSearch says it."""
    cause = {"type": kind, "reason": reason}
    return Say(status, {"error": {"root_cause": [cause], **cause}, "status": status})


@dataclass(slots=True)
class Faults:
    """What the proxy does next, request by request of those that ``when`` picks; after that it passes them on.

    Attributes:
        always: what it does with every request picked, once ``acts`` is empty.
    """

    when: Callable[[str, str], bool] = lambda method, path: True  # noqa: ARG005
    acts: list[Act] = field(default_factory=list)
    always: Act | None = None
    heard: list[Heard] = field(default_factory=list)
    url: str = ""

    def next(self, method: str, path: str) -> Act | None:
        """Return what to do with a request; None is to pass it on."""
        if not self.when(method, path):
            return None
        return self.acts.pop(0) if self.acts else self.always


@asynccontextmanager
async def proxied(target: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Faults]:
    """Run a proxy on a free port; ``url`` of its faults says where."""
    faults = Faults()
    async with aiohttp.ClientSession() as session:

        async def handle(request: web.Request) -> web.StreamResponse:
            body = await request.read()
            act = faults.next(request.method, request.path)
            answer: web.StreamResponse = web.Response()
            length = 0
            if isinstance(act, Say):
                text = act.body if isinstance(act.body, str) else orjson.dumps(act.body).decode()
                answer, length = web.Response(status=act.status, text=text, content_type=act.kind), len(text)
            elif not isinstance(act, Drop):
                headers = {"content-type": "application/json"}
                there = target + request.raw_path
                async with session.request(request.method, there, data=BytesIO(body), headers=headers) as got:
                    content = await got.read()
                    answer = web.Response(status=got.status, body=content, content_type=got.content_type)
                    length = len(content)
            heard = Heard(request.method, request.raw_path, dict(request.headers), body, length)
            faults.heard.append(heard)
            if isinstance(act, Lose | Drop) and request.transport is not None:
                request.transport.abort()
            return answer

        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{tail:.*}", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        host, port = runner.addresses[0][:2]
        faults.url = f"{'https' if tls else 'http'}://{host}:{port}"
        yield faults
        await runner.cleanup()
