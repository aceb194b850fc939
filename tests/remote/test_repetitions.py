"""What is tried again, how often, and when."""

import time
from collections.abc import Sequence

import pytest

from mlcommons_py.errors import RemoteFailed
from mlcommons_py.remote.documents import ClientConfig
from mlcommons_py.remote.transport import Transport
from tests.remote.conftest import asking
from tests.remote.fake import ANY, RESET, SILENT, Answer, Fake

ONCE = ClientConfig()
CLOSED = "Error communicating with remote model: The connection was closed during the request."


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
