"""Asking the cluster in a client's name, for routes that add to its answer."""

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import orjson

from mlcommons_py.errors import Unavailable
from mlcommons_py.gateway.passing import Asker, Gateway, Reply
from mlcommons_py.header_fields import Fields
from mlcommons_py.rest.answer import Answer
from mlcommons_py.rest.request import Request

if TYPE_CHECKING:
    from mlcommons_py.rest.services import Services

_FORMS = frozenset({"pretty", "filter_path", "human", "error_trace", "format"})
_OWN = frozenset({b"content-type", b"content-length", b"content-encoding", b"x-opaque-id"})


def gateway(services: "Services") -> Gateway:
    """Return the way to the cluster, for handlers of routes that are there only with one."""
    assert services.gateway is not None
    return services.gateway


async def ask(
    services: "Services",
    request: Request,
    path: str,
    query: Mapping[str, str],
    *,
    method: str = "GET",
    body: Mapping[str, object] | bytes | None = None,
) -> Reply:
    """Return what the cluster answers to a request that a client's request gives rise to.

    A body of bytes is one that the client sent, and goes with its type.

    Raises:
        Unavailable: the cluster cannot be reached.
        Forbidden: nothing may be passed on to it.
    """
    await gateway(services).permitted()
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()]
    target = quote(path, safe="/:,*~-._") + ("?" + urlencode(query) if query else "")
    asker = Asker(method, request.client, request.scheme)
    if isinstance(body, bytes):
        kind = request.headers.get("content-type", "").encode("latin-1")
        return await gateway(services).ask(asker, target, headers, body, content_type=kind)
    sent = b"" if body is None else orjson.dumps(body)
    return await gateway(services).ask(asker, target, headers, sent)


def passed(request: Request) -> dict[str, str]:
    """Return the query parameters that mean something to the cluster; how the answer is written is done here."""
    return {name: value for name, value in request.query.items() if name not in _FORMS}


def read(reply: Reply) -> object:
    """Return the JSON value of an answer.

    Raises:
        Unavailable: it is none.
    """
    try:
        return orjson.loads(reply.body)
    except orjson.JSONDecodeError as fault:
        raise Unavailable("the cluster's answer is no JSON", 502) from fault


def headers_of(reply: Reply) -> dict[str, str]:
    """Return the header fields of an answer that do not tell of its body."""
    return {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in Fields(reply.headers).end_to_end()
        if name.lower() not in _OWN
    }


def relayed(reply: Reply) -> Answer:
    """Return the cluster's answer as it is."""
    kind = Fields(reply.headers).values(b"content-type")
    media_type = kind[0].decode("latin-1") if kind else "text/plain; charset=UTF-8"
    return Answer(reply.body, reply.status, headers_of(reply), media_type)
