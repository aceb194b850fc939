"""Calls to providers: what goes out, what comes back, how long it may take, and what is left open."""

import asyncio
import contextlib
import gzip
import os
import ssl
import subprocess
import sys
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import pytest
import trustme

from mlcommons_py.errors import IllegalArgument, Rejected, RemoteFailed
from mlcommons_py.remote.documents import ClientConfig
from mlcommons_py.remote.places import Places
from mlcommons_py.remote.transport import Transport
from mlcommons_py.remote.trust import Trust
from tests.remote.conftest import asking, settings_of
from tests.remote.fake import ANY, RESET, SILENT, Answer, Fake, gzipped, split

ONCE = ClientConfig()
CLOSED = "Error communicating with remote model: The connection was closed during the request."


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


async def test_headers_of_an_answer_are_text(fake: Fake, transport: Transport) -> None:
    """Names are in lower case, values of one name are joined, and bytes that are no text do no harm."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: 1\r\nx-a: 2\r\nX-Request-Id: \xff\xd0\xb6\r\n\r\n"
    fake.on("/", Answer(raw=head))

    incoming = await transport.send(asking(f"{fake.url}/"), ONCE, model_id="m")

    assert incoming.headers == {"content-length": "0", "x-a": "1, 2", "x-request-id": "\ufffdж"}
    assert incoming.request_id == "\ufffdж"


@pytest.mark.parametrize(("sent", "handed_on"), [("60", "60"), ("ж", None), ("1" * 65, None), ("", None)])
async def test_a_wish_to_wait_is_handed_on_as_it_is(
    fake: Fake, transport: Transport, sent: str, handed_on: str | None
) -> None:
    """``Retry-After`` goes on to the client, unless it is something that no header of ours can hold."""
    fake.on("/", Answer(429, headers={"x-amzn-ErrorType": "ThrottlingException", "Retry-After": sent}))

    with pytest.raises(RemoteFailed) as failed:
        await transport.send(asking(f"{fake.url}/"), ONCE, model_id="m")

    assert failed.value.headers.get("Retry-After") == handed_on


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


MATRIX: Sequence[tuple[Answer, int | str, int]] = [
    *((Answer(status, {"error": "e"}), status, 1) for status in (400, 401, 403, 404, 408, 413)),
    *((Answer(status, {"error": "e"}), status, 3) for status in (429, 500, 502, 503, 504)),
    (Answer(429, {"error": "e"}, headers={"Retry-After": "0"}), 429, 3),
    (RESET, CLOSED, 3),
    (SILENT, "Error communicating with remote model: Read timed out", 3),
    (Answer(200, b"0123456789", cut=4), CLOSED, 3),
    (Answer(200, b"0123456789", cut=0, reset=True), CLOSED, 3),
    (Answer(200, parts=[b"0123", b"4567"], cut=6), CLOSED, 3),
    (Answer(200, b"no json"), 200, 1),
    (Answer(200, b"<html>", headers={"Content-Type": "text/html"}), 200, 1),
    (Answer(204), 204, 1),
    (Answer(raw=b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "Error communicating with remote model: the answer of /127.0.0.1:", 3),
]


@pytest.mark.parametrize(("answer", "outcome", "requests"), MATRIX)
async def test_what_providers_do_wrong(
    fake: Fake, transport: Transport, answer: Answer, outcome: int | str, requests: int
) -> None:
    """What may be over soon is tried exactly as often as the connector says, anything else once; statuses come back."""
    fake.on(ANY, answer)
    config = ClientConfig(max_retry_times=2, retry_backoff_millis=1, read_timeout=1)

    if isinstance(outcome, int):
        incoming = await transport.send(asking(f"{fake.url}/"), config, model_id="m")
        assert (incoming.status, incoming.attempts, incoming.body) == (outcome, requests, answer.bytes)
    else:
        with pytest.raises(RemoteFailed) as failed:
            await transport.send(asking(f"{fake.url}/?key=secret"), config, model_id="m")
        assert failed.value.reason.startswith(outcome)
        assert (failed.value.status, failed.value.remote) == (500, {"attempts": requests})
        assert "secret" not in failed.value.reason
    assert len(fake.requests) == requests


async def test_without_a_word_nothing_is_repeated(fake: Fake, transport: Transport) -> None:
    """A connector that says nothing of repetitions gets none, of no method, on no kept connection."""
    fake.on("/warm", Answer(200, {})).on("/", RESET).on("/busy", Answer(503))

    for method in ("POST", "GET", "PUT", "DELETE"):
        await transport.send(asking(f"{fake.url}/warm"), ONCE, model_id="m")
        with pytest.raises(RemoteFailed):
            await transport.send(asking(f"{fake.url}/", method=method), ONCE, model_id="m")
        assert (await transport.send(asking(f"{fake.url}/busy", method=method), ONCE, model_id="m")).status == 503

    assert [one.path for one in fake.requests] == ["/warm", "/", "/busy"] * 4


async def test_a_repetition_can_succeed(fake: Fake, transport: Transport) -> None:
    """The first good answer ends the repetitions, and says how many requests it took; each has the whole body."""
    fake.on("/", Answer(503), RESET, Answer(429), Answer(200, {"n": 4}), Answer(500))
    body = b"x" * (2 << 20)
    config = ClientConfig(max_retry_times=5, retry_backoff_millis=1)

    incoming = await transport.send(asking(f"{fake.url}/", body), config, model_id="m")

    assert (incoming.status, incoming.attempts, incoming.body) == (200, 4, b'{"n": 4}')
    assert {one.body for one in fake.requests} == {body}


async def test_retry_after_is_honoured_within_the_budget(fake: Fake, transport: Transport) -> None:
    """A provider's wish is waited for; one beyond ``retry_timeout_seconds`` is answered at once instead."""
    fake.on("/soon", Answer(429, headers={"Retry-After": "1"}), Answer(200, {}))
    fake.on("/late", Answer(429, headers={"Retry-After": "60"}), Answer(200, {}))
    config = ClientConfig(max_retry_times=3, retry_backoff_millis=1, retry_timeout_seconds=5)

    began = time.monotonic()
    soon = await transport.send(asking(f"{fake.url}/soon"), config, model_id="m")
    waited = time.monotonic() - began
    late = await transport.send(asking(f"{fake.url}/late"), config, model_id="m")

    assert (soon.status, soon.attempts) == (200, 2)
    assert 1.0 <= waited < 5.0
    assert (late.status, late.attempts, late.headers["retry-after"]) == (429, 1, "60")


async def test_endless_repetitions_end_with_the_budget(fake: Fake, transport: Transport) -> None:
    """``max_retry_times`` -1 goes on until ``retry_timeout_seconds`` are over."""
    fake.on("/", Answer(503))
    config = ClientConfig(max_retry_times=-1, retry_backoff_millis=100, retry_timeout_seconds=1)

    began = time.monotonic()
    incoming = await transport.send(asking(f"{fake.url}/"), config, model_id="m")

    assert incoming.status == 503
    assert 0.7 < time.monotonic() - began < 3
    assert incoming.attempts == len(fake.requests) >= 3


async def test_throttling_by_amazon_is_repeated_and_told(fake: Fake, transport: Transport) -> None:
    """Amazon's header says it with any status; in the end the answer is ML Commons' text."""
    throttled = Answer(400, headers={"x-amzn-ErrorType": "ThrottlingException:http://x/", "x-amzn-RequestId": "r-1"})
    fake.on("/once", throttled, Answer(200, {})).on("/ever", throttled)
    config = ClientConfig(max_retry_times=2, retry_backoff_millis=1)

    once = await transport.send(asking(f"{fake.url}/once"), config, model_id="m")
    with pytest.raises(RemoteFailed) as ever:
        await transport.send(asking(f"{fake.url}/ever"), config, model_id="m")

    assert (once.status, once.attempts) == (200, 2)
    assert ever.value.status == 400
    assert ever.value.reason == (
        "Error from remote service: The request was denied due to remote server throttling."
        " To change the retry policy and behavior, please update the connector client_config."
    )
    assert ever.value.remote == {"status": 400, "request_id": "r-1", "attempts": 3}


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


async def test_an_answer_is_decompressed(fake: Fake, transport: Transport) -> None:
    """Compressed with gzip (of one member or more) or zlib, whole or in parts, it comes out as it was."""
    text = "жжж".encode() * 100_000
    fake.on("/gzip", gzipped(Answer(200, text)))
    both = gzip.compress(text[:1000]) + gzip.compress(text[1000:])
    fake.on("/parts", Answer(200, parts=split(both, 1001), headers={"Content-Encoding": "GZIP"}))
    fake.on("/zlib", Answer(200, zlib.compress(text), headers={"Content-Encoding": "deflate"}))
    fake.on("/empty", Answer(200, b"", headers={"Content-Encoding": "gzip"}))

    bodies = [
        (await transport.send(asking(f"{fake.url}/{path}"), ONCE, model_id="m")).body
        for path in ("gzip", "parts", "zlib", "empty")
    ]

    assert bodies == [text, text, text, b""]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(200, b"no gzip", headers={"Content-Encoding": "gzip"}), "is not what its Content-Encoding"),
        (Answer(200, gzip.compress(b"abc" * 99)[:-9], headers={"Content-Encoding": "gzip"}), "ends in the midst"),
        (Answer(200, b"x", headers={"Content-Encoding": "br"}), r"Content-Encoding \[br\]"),
        (Answer(200, b"x" * 2001), "longer than 2000 bytes"),
        (Answer(200, parts=[b"x" * 100] * 21), "longer than 2000 bytes"),
        (gzipped(Answer(200, bytes(50 << 20))), "longer than 2000 bytes"),
    ],
)
async def test_an_answer_that_cannot_be_used(fake: Fake, answer: Answer, said: str) -> None:
    """Damaged, too long, or a bomb: it is refused as the provider's fault, once, and its connection is closed."""
    fake.on("/", answer)
    settings = settings_of(max_json_size=2000)
    transport = Transport(Trust(settings), settings)
    config = ClientConfig(max_retry_times=2, retry_backoff_millis=1)

    with pytest.raises(RemoteFailed, match=said) as failed:
        await transport.send(asking(f"{fake.url}/"), config, model_id="m")

    assert (failed.value.status, failed.value.remote, len(fake.requests)) == (502, {"attempts": 1}, 1)
    await transport.close()


async def test_a_slow_answer_is_waited_for_and_a_drip_is_not(fake: Fake, transport: Transport) -> None:
    """``read_timeout`` is for the next bytes; all of them together have a limit of their own."""
    fake.on("/slow", Answer(200, b"012345", drip=0.25)).on("/drip", Answer(200, b"x" * 999, drip=0.25))
    config = ClientConfig(read_timeout=1)
    settings = settings_of()
    strict = Transport(Trust(settings), settings, reads=1)

    slow = await transport.send(asking(f"{fake.url}/slow"), config, model_id="m")
    with pytest.raises(RemoteFailed, match="the answer did not come to an end in time"):
        await strict.send(asking(f"{fake.url}/drip"), config, model_id="m")

    assert slow.body == b"012345"
    await strict.close()


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


@pytest.fixture
def authority() -> trustme.CA:
    """An authority of our own."""
    return trustme.CA()


def server_side(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """Return what a server with a certificate for some names needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


async def test_certificates_are_checked(authority: trustme.CA, tmp_path: Path) -> None:
    """Only a certificate of a known authority, for the right name, will do, unless the connector does not care."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    settings = settings_of()
    knows = Transport(Trust(settings), settings, authorities=tmp_path / "ca.pem")
    knows_not = Transport(Trust(settings), settings)
    careless = ClientConfig(skip_ssl_verification=True)
    patient = ClientConfig(max_retry_times=3, retry_backoff_millis=1)
    async with (
        Fake(tls=server_side(authority, "127.0.0.1")) as right,
        Fake(tls=server_side(authority, "other.example")) as wrong,
    ):
        for fake in (right, wrong):
            fake.on("/", Answer(200, {}))
        assert (await knows.send(asking(f"{right.url}/"), ONCE, model_id="m")).status == 200
        for transport, fake in ((knows_not, right), (knows, wrong)):
            with pytest.raises(RemoteFailed, match=r"certificate of /127\.0\.0\.1:\d+ cannot be trusted") as failed:
                await transport.send(asking(f"{fake.url}/"), patient, model_id="m")
            assert failed.value.remote == {"attempts": 1}
            assert (await transport.send(asking(f"{fake.url}/"), careless, model_id="m")).status == 200
            # What was opened without looking is not used by who looks.
            with pytest.raises(RemoteFailed, match="cannot be trusted"):
                await transport.send(asking(f"{fake.url}/"), ONCE, model_id="m")
    for transport in (knows, knows_not):
        await transport.close()


async def test_plain_http_behind_https_is_told(transport: Transport) -> None:
    """A server that speaks no TLS is named as such."""

    def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(RemoteFailed, match=r"^Error communicating with remote model: no TLS with /127\.0\.0\.1:"):
            await transport.send(asking(f"https://127.0.0.1:{port}/"), ONCE, model_id="m")


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
