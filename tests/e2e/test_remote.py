"""Remote models of the real program, over real sockets."""

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.e2e.service import Run, Service, until
from tests.remote.fake import SILENT, Answer, Fake, events

T = TypeVar("T")
PREFIX = "plugins.ml_commons."
OPEN = (
    f"{PREFIX}connector.private_ip_enabled=true",
    f"{PREFIX}stream_enabled=true",
    f'{PREFIX}trusted_connector_endpoints_regex=["^http://127\\\\.0\\\\.0\\\\.1:.*$"]',
)
HELLO = {"messages": [{"role": "user", "content": "hello"}], "_llm_interface": "openai/v1/chat/completions"}
CHAT = '{ "messages": ${parameters.messages} }'


class Provider:
    """The fake provider on a loop of its own, for tests that are not asynchronous."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.fake = Fake()
        self.do(self.fake.start())

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def close(self) -> None:
        """Hang up, and end the loop."""
        self.do(self.fake.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(30)
        self.loop.close()

    def connector(self, service: Service, path: str = "/chat") -> str:
        """Make a connector to a path of the provider, and return its id."""
        action = {
            "action_type": "predict",
            "method": "POST",
            "url": f"{self.fake.url}{path}",
            "headers": {"Authorization": "Bearer ${credential.key}"},
            "request_body": CHAT,
        }
        body = {
            "name": "a connector",
            "version": "1",
            "protocol": "http",
            "credential": {"key": "s3cret"},
            "actions": [action],
        }
        return str(service.ml("POST", "/connectors/_create", json=body)["connector_id"])

    def model(self, service: Service, connector_id: str, **fields: object) -> str:
        """Register and deploy a model, and return its id."""
        body = {"name": "chat", "function_name": "remote", "connector_id": connector_id, **fields}
        return str(service.ml("POST", "/models/_register?deploy=true", json=body)["model_id"])


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider that follows a test's script."""
    made = Provider()
    yield made
    made.close()


@pytest.fixture
def service(tmp_path: Path, run: Run) -> Iterator[Service]:
    """A program of the test's own, which may call the fake provider."""
    with run(tmp_path / "data", *OPEN) as one:
        yield one


def _deployed(service: Service, provider: Provider) -> str:
    return provider.model(service, provider.connector(service))


def _gone(provider: Provider) -> Callable[[], bool]:
    return lambda: provider.fake.open == 0


def test_a_remote_model_comes_back_after_a_kill(service: Service, provider: Provider) -> None:
    """A service that was killed calls the model again after its start, with the credential that it encrypted before."""
    provider.fake.on("/chat", Answer(200, {"ok": True}))
    model_id = _deployed(service, provider)
    service.kill()
    service.start()

    answer = service.ml("POST", f"/models/{model_id}/_predict", json={"parameters": HELLO})

    assert answer["inference_results"][0]["output"][0]["dataAsMap"] == {"ok": True}
    assert provider.fake.requests[-1].header("Authorization") == "Bearer s3cret"
    assert service.ml("GET", f"/models/{model_id}")["model_state"] == "DEPLOYED"
    stored = b"".join(path.read_bytes() for path in service.data.rglob("*") if path.is_file())
    assert b"s3cret" not in stored
    assert "s3cret" not in "".join(service.output)


def test_a_stream_comes_piece_by_piece(service: Service, provider: Provider) -> None:
    """The client has the first piece while the provider still thinks, and a client that goes away ends the call."""
    pieces = [json.dumps({"choices": [{"delta": {"content": text}}]}) for text in ("one", "two")]
    never = asyncio.Event()
    provider.fake.on("/chat", events(*pieces, after=never))
    model_id = _deployed(service, provider)
    path = f"/_plugins/_ml/models/{model_id}/_predict/stream"

    with service.http.stream("POST", path, json={"parameters": HELLO}) as answer:
        lines = answer.iter_lines()  # which hangs up when it is let go
        first = next(lines)
        assert json.loads(first.removeprefix("data: "))["inference_results"][0]["output"][0]["dataAsMap"] == {
            "content": "one",
            "is_last": False,
        }
        assert provider.fake.open == 1

    until(_gone(provider), "the end of the provider's connection")


def test_a_client_that_goes_away_ends_the_call(service: Service, provider: Provider) -> None:
    """The provider is hung up on when nobody waits for its answer any more."""
    provider.fake.on("/chat", SILENT)
    model_id = _deployed(service, provider)
    path = f"/_plugins/_ml/models/{model_id}/_predict"

    with pytest.raises(Exception, match="timed out"):
        service.http.post(path, json={"parameters": HELLO}, timeout=1.0)

    until(_gone(provider), "the end of the provider's connection")
    assert len(provider.fake.requests) == 1
