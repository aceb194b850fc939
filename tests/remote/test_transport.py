"""Calls to providers: what goes out, where it goes, and what is left open."""

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlcommons_py.errors import IllegalArgument, Rejected, RemoteFailed
from mlcommons_py.remote.documents import ClientConfig
from mlcommons_py.remote.places import Places
from mlcommons_py.remote.transport import Transport
from mlcommons_py.remote.trust import Trust
from tests.remote.conftest import asking, settings_of
from tests.remote.fake import ANY, RESET, SILENT, Answer, Fake

ONCE = ClientConfig()


async def test_nothing_goes_out_but_the_request(fake: Fake, transport: Transport) -> None:
    """The provider sees the connector's headers as they are spelled, Host and Content-Length, and no other."""
    fake.on(ANY, Answer(200, {"ok": True}))
    request = asking(f"{fake.url}/v1/x?k=a%20b&m=1:0", "ж".encode(), headers={"x-ApI-key": "k", "AUTHORIZATION": "B ж"})

    incoming = await transport.send(request, ONCE, model_id="m")

    assert (incoming.status, incoming.body, incoming.attempts) == (200, b'{"ok": true}', 1)
    assert incoming.headers == {"content-type": "application/json", "content-length": "12"}
    assert fake.requests[0].head.decode() == (
        f"POST /v1/x?k=a%20b&m=1:0 HTTP/1.1\r\nHost: 127.0.0.1:{fake.port}\r\nx-ApI-key: k\r\nAUTHORIZATION: B ж\r\n"
        "Content-Length: 2\r\n\r\n"
    )
    assert fake.requests[0].body == "ж".encode()


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "POST"])
async def test_every_method_goes_out(fake: Fake, transport: Transport, method: str) -> None:
    """With a body or without one."""
    fake.on(ANY, Answer(200, {}))

    await transport.send(asking(f"{fake.url}/", b"", method=method, headers={}), ONCE, model_id="m")
    await transport.send(asking(f"{fake.url}/", b"[]", method=method), ONCE, model_id="m")

    assert [(one.method, one.body) for one in fake.requests] == [(method, b""), (method, b"[]")]


async def test_headers_of_the_way_are_not_the_connectors(fake: Fake, transport: Transport) -> None:
    """A connector cannot say where the body ends or which host is meant."""
    fake.on(ANY, Answer(200, {}))
    wrong = {"Content-Length": "9999", "transfer-encoding": "chunked", "Host": "evil.example", "Connection": "close"}

    await transport.send(asking(f"{fake.url}/", b"[]", headers=wrong), ONCE, model_id="m")

    assert dict(fake.requests[0].headers) == {"Host": f"127.0.0.1:{fake.port}", "Content-Length": "2"}


@pytest.mark.parametrize(
    "headers", [{"X": "a\r\nY: b"}, {"X": "a\nb"}, {"X": "\x00"}, {"X Y": "a"}, {"X:": "a"}, {"": "a"}]
)
async def test_a_malformed_header_is_refused(fake: Fake, transport: Transport, headers: dict[str, str]) -> None:
    """No header can begin another one, or the body."""
    with pytest.raises(IllegalArgument, match="Header"):
        await transport.send(asking(f"{fake.url}/", headers=headers), ONCE, model_id="m")

    assert fake.connections == 0


def test_who_calls_nobody_loads_nothing() -> None:
    """The HTTP client and its company are loaded with the first call, not with the service."""
    code = "import sys; from mlcommons_py.remote import events, signing, transport; print(*sorted(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)

    assert "mlcommons_py.remote.transport" in done.stdout
    assert not {"aiohttp", "yarl", "idna", "botocore", "boto3", "re2", "tenacity"} & set(done.stdout.split())


async def test_a_long_body_arrives(fake: Fake, transport: Transport) -> None:
    """Megabytes go out and come back as they are."""
    fake.on(ANY, lambda asked: Answer(200, asked.body))
    body = bytes(range(256)) * (20 << 10)

    incoming = await transport.send(asking(f"{fake.url}/", body), ONCE, model_id="m")

    assert incoming.body == body
    assert fake.requests[0].header("Content-Length") == str(len(body))


async def test_a_connection_serves_one_request_after_another(fake: Fake, transport: Transport) -> None:
    """All calls of an origin share its connections, whichever model they are of."""
    fake.on(ANY, Answer(200, {}))

    for number in range(20):
        await transport.send(asking(f"{fake.url}/{number}"), ONCE, model_id=f"m{number}")

    assert fake.connections == 1


@pytest.mark.parametrize("target", ["http://169.254.169.254/", "file:///etc/passwd", "gopher://127.0.0.1:1/", "/there"])
async def test_a_redirect_is_an_answer(fake: Fake, transport: Transport, target: str) -> None:
    """Nobody is sent anywhere by a provider."""
    for status in (301, 302, 303, 307, 308):
        fake.on("/", Answer(status, headers={"Location": target}))

        incoming = await transport.send(asking(f"{fake.url}/"), ONCE, model_id="m")

        assert (incoming.status, incoming.headers["location"]) == (status, target)
    assert {one.path for one in fake.requests} == {"/"}


async def test_cookies_are_not_kept(fake: Fake, transport: Transport) -> None:
    """What one call was given to remember, the next one does not tell."""
    fake.on("/", Answer(200, {}, headers={"Set-Cookie": "a=b; Path=/"}))

    for _ in range(2):
        await transport.send(asking(f"{fake.url}/"), ONCE, model_id="m")

    assert [one.header("Cookie") for one in fake.requests] == [None, None]


async def test_proxies_of_the_environment_are_not_used(
    fake: Fake, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials go to the provider, whatever ``HTTP_PROXY`` says."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    fake.on("/", Answer(200, {}))

    assert (await transport.send(asking(f"{fake.url}/"), ONCE, model_id="m")).status == 200


async def test_nobody_listens(fake: Fake, transport: Transport) -> None:
    """A refused connection is told in Java's words."""
    await fake.stop()

    with pytest.raises(RemoteFailed) as failed:
        await transport.send(asking(f"{fake.url}/"), ONCE, model_id="m")

    assert failed.value.reason == f"Error communicating with remote model: Connection refused: /127.0.0.1:{fake.port}"
    assert failed.value.status == 500
    await fake.start()


async def test_a_cancelled_caller_cancels_the_call(fake: Fake, transport: Transport) -> None:
    """Whoever goes away takes the connection to the provider along, and gives the place back."""
    fake.on("/", SILENT).on("/after", Answer(200, {}))
    call = asyncio.ensure_future(transport.send(asking(f"{fake.url}/"), ONCE, model_id="m"))
    await fake.asked(1)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await fake.idle()

    assert fake.dropped == 1
    one_place = ClientConfig(max_connection=1)
    assert (await transport.send(asking(f"{fake.url}/after"), one_place, model_id="m")).status == 200


async def test_a_model_has_so_many_connections(fake: Fake, transport: Transport) -> None:
    """``max_connection`` bounds what a model has under way at an origin; the others wait, other models do not."""
    fake.on("/", Answer(200, {}, delay=0.05))
    config = ClientConfig(max_connection=3)

    await asyncio.gather(*(transport.send(asking(f"{fake.url}/"), config, model_id="a") for _ in range(12)))
    narrow = fake.connections
    await asyncio.gather(*(transport.send(asking(f"{fake.url}/"), config, model_id=f"b{n}") for n in range(12)))

    assert (narrow, fake.connections) == (3, 12)


async def test_waiting_for_a_connection_ends(fake: Fake) -> None:
    """Who gets no connection in time is refused with 429; who gave up waiting does not hold a place."""
    fake.on("/", SILENT)
    settings = settings_of()
    places = Places(wait_seconds=0.05)
    transport = Transport(Trust(settings), settings, places=places)
    config = ClientConfig(max_connection=1)
    first = asyncio.ensure_future(transport.send(asking(f"{fake.url}/"), config, model_id="m"))
    await fake.asked(1)

    with pytest.raises(Rejected, match="1 requests of model m are under way") as refused:
        await transport.send(asking(f"{fake.url}/"), config, model_id="m")
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first

    assert refused.value.status == 429
    assert len(places) == 0
    await transport.close()


async def test_every_call_that_ended_is_told_of(fake: Fake) -> None:
    """Whoever counts calls gets model, status and number of requests, of failures too, and none of refusals."""
    told: list[tuple[str, int, int]] = []

    def observe(model_id: str, status: int, seconds: float, requests: int) -> None:
        assert 0 < seconds < 20
        told.append((model_id, status, requests))

    fake.on("/", Answer(503), Answer(200, {}), RESET)
    settings = settings_of(connector__private_ip_enabled=False)
    transport = Transport(Trust(settings, "127.0.0.1"), settings, observe=observe)
    config = ClientConfig(max_retry_times=1, retry_backoff_millis=1)

    await transport.send(asking(f"{fake.url}/"), config, model_id="m")
    with pytest.raises(RemoteFailed):
        await transport.send(asking(f"{fake.url}/"), config, model_id="m")
    with pytest.raises(IllegalArgument):
        await transport.send(asking("http://127.0.0.2/"), config, model_id="m")
    await transport.close()

    assert told == [("m", 200, 2), ("m", 0, 2)]
