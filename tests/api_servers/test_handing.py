"""Requests that an API server hands over, byte by byte."""

import os
import socket
from pathlib import Path

import pytest
from starlette.types import Message, Scope

from mlcommons_py.api_servers.handing import Received, address, handed
from mlcommons_py.api_servers.hatch import hatch_in
from mlcommons_py.header_fields import Fields
from tests.api_servers.conftest import Rig
from tests.api_servers.several import Direct, api_servers, connected, until
from tests.remote.fake import SILENT

ML = "/_plugins/_ml"
_BEFORE_IT_IS_GIVEN_UP = 20.0
"""Seconds: a call that its provider does not answer ends after 30 by itself."""


async def _received(headers: list[tuple[bytes, bytes]]) -> Scope:
    """Return a request's scope as the core's own door sees it."""
    seen: list[Scope] = []

    async def door(scope: Scope, _receive: object, _send: object) -> None:
        seen.append(scope)

    async def nothing() -> Message:
        raise AssertionError

    async def nobody(_message: Message) -> None:
        raise AssertionError

    lower = [(name.lower(), value) for name, value in headers]
    scope = {"headers": lower, "scheme": "http"}
    await Received(door)(scope, nothing, nobody)
    return seen[0]


async def test_the_client_is_who_the_api_server_says() -> None:
    """Client and scheme are those of the connection, whatever the client's header says of them, and leave no trace."""
    sent = [(b"Host", b"me"), (b"X-MLCommons-Client", b"6.6.6.6"), (b"x-mlcommons-scheme", b"ftp"), (b"A", b"1")]

    over = list(handed(Fields(sent), "10.0.0.7", "https", b"ignored", in_chunks=False))
    scope = await _received(over)

    assert [value for name, value in over if name.lower() == b"x-mlcommons-client"] == [b"10.0.0.7"]

    assert (scope["client"], scope["scheme"]) == (("10.0.0.7", 0), "https")
    assert scope["headers"] == [(b"host", b"me"), (b"a", b"1")]


def test_what_means_one_connection_stays_behind() -> None:
    """Every field goes over but those of the client's own connection; how the body is framed is said anew."""
    sent = [
        (b"Host", b"me"),
        (b"Connection", b"close, X-Mine"),
        (b"X-Mine", b"1"),
        (b"Keep-Alive", b"5"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Proxy-Authorization", b"Basic x"),
    ]

    assert handed(Fields(sent), "c", "http", b"", in_chunks=True) == [
        (b"Host", b"me"),
        (b"X-Mine", b"1"),
        (b"Proxy-Authorization", b"Basic x"),
        (b"x-mlcommons-client", b"c"),
        (b"x-mlcommons-scheme", b"http"),
        (b"transfer-encoding", b"chunked"),
    ]


def test_a_deep_data_directory(tmp_path: Path) -> None:
    """The socket can be had in a directory whose path is longer than a socket's may be; one left there is no harm."""
    data = tmp_path.joinpath(*["a" * 60] * 3)
    data.mkdir(parents=True)
    for _ in range(2):
        directory, listening = hatch_in(data)
        path = address(directory)
        with listening, socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
        os.close(int(path.split("/")[4]))
    assert len(str(directory)) > 180


@pytest.mark.parametrize("length", [0, 1_000_000])
def test_bodies_that_are_announced_only(rig: Rig, length: int) -> None:
    """Who waits for 100 Continue is told to go on by the core, through the API server."""
    (pid, *_) = api_servers(rig.service)
    body = b" " * length + b'{"name": "a group"}'
    with connected(rig.service, pid) as direct:
        direct.made.putrequest("POST", f"{ML}/model_groups/_register")
        direct.made.putheader("Content-Type", "application/json")
        direct.made.putheader("Content-Length", str(len(body)))
        direct.made.putheader("Expect", "100-continue")
        direct.made.endheaders()
        assert _line(direct) == b"HTTP/1.1 100 Continue\r\n"
        direct.made.send(body)
        assert direct.answer()[0] in (200, 400)  # the second group has the name of the first


def _line(direct: Direct) -> bytes:
    """Return the first line that comes, with the empty one behind it."""
    came = b""
    while not came.endswith(b"\r\n\r\n"):
        came += direct.made.sock.recv(1)
    return came.removesuffix(b"\r\n")


def test_who_goes_away_ends_the_call(rig: Rig) -> None:
    """A client that hangs up on a request that was handed over ends it at the core, and at the provider."""
    rig.provider.fake.on("/silent", SILENT)
    model_id = rig.model(rig.connector("/silent"), rate_limiter={"limit": "9", "unit": "DAYS"})
    (pid, *_) = api_servers(rig.service)
    before = rig.provider.fake.dropped
    with connected(rig.service, pid) as direct:
        asked = len(rig.provider.fake.requests)
        direct.made.request("POST", f"{ML}/models/{model_id}/_predict", b'{"parameters": {"messages": []}}',
                            {"content-type": "application/json"})  # fmt: skip
        until(lambda: len(rig.provider.fake.requests) > asked, "the call")

    until(lambda: rig.provider.fake.dropped > before, "the end of the call", _BEFORE_IT_IS_GIVEN_UP)


def test_a_refusal_does_not_wait_for_the_body(rig: Rig) -> None:
    """The body of a request that the core refuses at once is not waited for: its answer comes through."""
    (pid, *_) = api_servers(rig.service)
    with connected(rig.service, pid) as direct:
        direct.made.putrequest("POST", f"{ML}/models/_register")
        direct.made.putheader("Content-Type", "application/json")
        direct.made.putheader("Content-Length", str(1 << 30))
        direct.made.endheaders()
        direct.made.send(b"{")
        assert direct.answer()[0] == 413
