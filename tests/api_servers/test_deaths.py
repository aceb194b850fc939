"""Processes that are killed, and a service that is told to end, under load."""

import asyncio
import json
import os
import signal
import socket
import stat
import threading
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.api_servers.conftest import Rig
from tests.api_servers.several import all_of, api_servers, client, connected, paused, several, until
from tests.e2e.service import PATIENCE, Service
from tests.e2e.test_remote import HELLO, OPEN, Provider
from tests.remote.fake import Answer

ML = "/_plugins/_ml"
ASKED = {"parameters": HELLO}


class Load:
    """Clients that call a model again and again, each on a connection of its own."""

    def __init__(self, service: Service, model_id: str, clients: int = 6) -> None:
        self._service = service
        self._path = f"{ML}/models/{model_id}/_predict"
        self._over = threading.Event()
        self.statuses: list[int] = []
        self.broken: list[httpx.HTTPError] = []
        self._threads = [threading.Thread(target=self._call) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def _call(self) -> None:
        with client(self._service) as http:
            while not self._over.is_set():
                try:
                    self.statuses.append(http.post(self._path, json=ASKED).status_code)
                except httpx.HTTPError as fault:
                    self.broken.append(fault)

    def wait(self, calls: int) -> None:
        """Wait for so many more answers."""
        goal = len(self.statuses) + calls
        until(lambda: len(self.statuses) >= goal, "answers")

    def end(self) -> None:
        """Have the clients go."""
        self._over.set()
        for thread in self._threads:
            thread.join(60)


@pytest.fixture
def model_id(own: Rig) -> str:
    """A deployed model that answers."""
    own.provider.fake.on("/chat", Answer(200, {"ok": True}))
    return own.model(own.connector())


def test_an_api_server_is_killed(own: Rig, model_id: str) -> None:
    """The death of an API server breaks no connection but its own, and another takes its place."""
    (victim, other) = api_servers(own.service)
    with connected(own.service, other) as beside, connected(own.service, victim) as lost:
        beside.ml("POST", f"/models/{model_id}/_predict", body=ASKED)
        lost.ml("POST", f"/models/{model_id}/_predict", body=ASKED)
        load = Load(own.service, model_id)
        load.wait(50)

        os.kill(victim, signal.SIGKILL)

        beside.ml("POST", f"/models/{model_id}/_predict", body=ASKED)
        with pytest.raises(OSError):
            lost.ml("POST", f"/models/{model_id}/_predict", body=ASKED)
        until(lambda: victim not in (now := api_servers(own.service)) and len(now) == 2, "another API server")
        load.wait(50)
        load.end()
    assert set(load.statuses) == {200}
    assert len(load.broken) <= 6
    assert "was ended by signal 9; it is started again" in "".join(own.service.output)


def test_the_core_is_killed(own: Rig, model_id: str) -> None:
    """API servers end with the core: nobody is answered any more, and the address is free."""
    others = api_servers(own.service)
    load = Load(own.service, model_id)
    load.wait(50)

    own.service.kill()

    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in others), "the end of the API servers")
    load.end()
    with pytest.raises(httpx.ConnectError):
        own.service.http.get("/_health/live")
    assert set(load.statuses) == {200}


def test_the_core_is_killed_while_an_api_server_sleeps(own: Rig, model_id: str) -> None:
    """An API server that could not notice the core's death does not answer when it goes on."""
    (pid, *_) = api_servers(own.service)
    with connected(own.service, pid) as direct:
        direct.ml("POST", f"/models/{model_id}/_predict", body=ASKED)
        with paused([pid]):
            own.service.kill()
        with pytest.raises(OSError):
            direct.ml("POST", f"/models/{model_id}/_predict", body=ASKED)


def test_requests_under_way_are_finished(own: Rig) -> None:
    """SIGTERM has no process accept anything more; each ends when what runs is answered, API servers, too."""
    free = asyncio.Event()
    own.provider.fake.on("/slow", Answer(200, parts=[b'{"ok":', b"true}"], after=free))
    model_id = own.model(own.connector("/slow"))
    everybody = all_of(own.service)
    asked = len(own.provider.fake.requests)
    process = own.service.process
    assert process is not None
    with ExitStack() as stack:
        directs = [stack.enter_context(connected(own.service, pid)) for pid in everybody]
        for direct in directs:
            path = f"{ML}/models/{model_id}/_predict"
            direct.made.request("POST", path, json.dumps(ASKED).encode(), {"content-type": "application/json"})
        until(lambda: len(own.provider.fake.requests) == asked + len(everybody), "the calls")

        process.send_signal(signal.SIGTERM)
        until(lambda: _is_refused(own.service), "that no process accepts connections")
        assert api_servers(own.service) == everybody[1:]
        own.provider.loop.call_soon_threadsafe(free.set)

        assert [direct.answer()[0] for direct in directs] == [200] * len(everybody)
    assert process.wait(PATIENCE) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in everybody[1:])


def _is_refused(service: Service) -> bool:
    address = service.http.base_url
    try:
        socket.create_connection((address.host, address.port or 0), timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


def test_nothing_secret_is_seen(tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """API servers have no secret of the operator's in their arguments or their environment; their socket is private."""
    key = "c2VjcmV0LW1hc3Rlci1rZXktMzItYnl0ZXMtbG9uZyE="
    monkeypatch.setenv("A_KEY_OF_THE_OPERATORS", key)
    config = tmp_path / "settings.toml"
    config.write_text(f'master_key = "{key}"\n')
    with several(Service(tmp_path / "data", *OPEN, flags=("--config", str(config)))) as service:
        rig = Rig(service, provider)
        provider.fake.on("/chat", Answer(200, {"ok": True}))
        model_id = rig.model(rig.connector())
        for pid in api_servers(service):
            with connected(service, pid) as direct:
                direct.ml("POST", f"/models/{model_id}/_predict", body=ASKED)
            for name in ("cmdline", "environ"):
                seen = Path(f"/proc/{pid}/{name}").read_bytes()
                assert key.encode() not in seen
                assert b"s3cret" not in seen
        directory = service.data / "api-servers"
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE((directory / "core.sock").stat().st_mode) == 0o600
        assert "s3cret" not in "".join(service.output)
