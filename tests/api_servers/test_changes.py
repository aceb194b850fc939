"""What is changed through one process holds in each of them within a second."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from mlcommons_py.remote.breaker import PAUSE_SECONDS
from tests.api_servers.conftest import Rig
from tests.api_servers.several import Direct, api_servers, connected, until
from tests.e2e.test_remote import HELLO
from tests.remote.fake import Answer

ASKED = {"parameters": HELLO}
REFUSED = "plugins.ml_commons.trusted_connector_endpoints_regex"
_PATIENCE = 3.0
"""The second that a change may take, and what a busy machine adds; less than a suspended provider is left alone."""


def holds_soon(change: Callable[[], object], holds: Callable[[], bool]) -> bool:
    """Make a change, and return whether it holds from then on, but for a second at first."""
    change()
    until = time.monotonic() + _PATIENCE
    while not holds():
        if time.monotonic() > until:
            return False
    return True


def _predict(direct: Direct, model_id: str) -> tuple[int, Any]:
    return direct.request("POST", f"/_plugins/_ml/models/{model_id}/_predict", ASKED)


def _called(direct: Direct, model_id: str) -> int:
    return _predict(direct, model_id)[0]


@pytest.fixture
def model_id(rig: Rig) -> str:
    """A deployed model that answers."""
    rig.provider.fake.on("/chat", Answer(200, {"from": "chat"}))
    return rig.model(rig.connector())


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/models/{}/_undeploy", None, 200),
        ("PUT", "/models/{}", {"is_enabled": False}, 403),
    ],
)
def test_models_that_may_not_be_called(
    rig: Rig, model_id: str, method: str, path: str, body: object, status: int
) -> None:
    """A model that is undeployed is deployed by the core again, or refused; a disabled one is refused."""
    for pid in api_servers(rig.service):
        with connected(rig.service, pid) as direct:
            assert _called(direct, model_id) == 200
            rig.service.ml("PUT", f"/models/{model_id}", json={"deploy_setting": {"is_auto_deploy_enabled": False}})
            refused = 400 if status == 200 else status

            def change() -> None:
                rig.service.ml(method, path.format(model_id), json=body)

            assert holds_soon(change, lambda: _called(direct, model_id) == refused)  # noqa: B023
            rig.service.ml("PUT", f"/models/{model_id}", json={"is_enabled": True})
            rig.service.ml("POST", f"/models/{model_id}/_deploy")


def test_a_deleted_model(rig: Rig, model_id: str) -> None:
    """A model that was deleted is not found by an API server that called it before."""
    (pid, *_) = api_servers(rig.service)
    with connected(rig.service, pid) as direct:
        assert _called(direct, model_id) == 200

        def change() -> None:
            rig.service.ml("POST", f"/models/{model_id}/_undeploy")
            rig.service.ml("DELETE", f"/models/{model_id}")

        assert holds_soon(change, lambda: _called(direct, model_id) == 404)


def test_another_connector(rig: Rig, model_id: str) -> None:
    """A model that is given another connector calls its provider."""
    rig.provider.fake.on("/other", Answer(200, {"from": "other"}))
    other = rig.connector("/other")
    (pid, *_) = api_servers(rig.service)
    with connected(rig.service, pid) as direct:
        assert _called(direct, model_id) == 200

        def change() -> None:
            rig.service.ml("PUT", f"/models/{model_id}", json={"connector_id": other})

        assert holds_soon(change, lambda: "other" in str(_predict(direct, model_id)))


def test_an_endpoint_that_is_not_trusted_any_more(rig: Rig, model_id: str) -> None:
    """A provider that the settings do not trust any more is not called by an API server."""
    (pid, *_) = api_servers(rig.service)
    before = rig.service.http.get("/_cluster/settings?flat_settings").json()["persistent"].get(REFUSED)

    def put(value: object) -> None:
        answer = rig.service.http.put("/_cluster/settings", json={"persistent": {REFUSED: value}})
        assert answer.status_code == 200, answer.text

    with connected(rig.service, pid) as direct:
        assert _called(direct, model_id) == 200
        try:
            assert holds_soon(lambda: put(["^https://nowhere$"]), lambda: _called(direct, model_id) == 400)
        finally:
            put(before)


def test_limits_stay_exact(rig: Rig, model_id: str) -> None:
    """A rate limit counts the calls of all processes together."""
    rig.service.ml("PUT", f"/models/{model_id}", json={"rate_limiter": {"limit": "2", "unit": "DAYS"}})
    statuses = []
    for pid in [*api_servers(rig.service), rig.service.pid]:
        with connected(rig.service, pid) as direct:
            statuses += [_called(direct, model_id), _called(direct, model_id)]

    assert sorted(statuses) == [200, 200, 429, 429, 429, 429]


def test_a_suspended_provider(rig: Rig) -> None:
    """Faults that one process met suspend calls in all of them; another connector, and an undeploy, end that."""
    rig.provider.fake.on("/down", Answer(500, {"error": "down"}))
    rig.provider.fake.on("/up", Answer(200, {"from": "up"}))
    model_id = rig.model(rig.connector("/down"))
    one, other = api_servers(rig.service)
    with (
        connected(rig.service, one) as first,
        connected(rig.service, other) as second,
        connected(rig.service, rig.service.pid) as core,
    ):

        def failing(direct: Direct) -> None:
            for _ in range(10):
                _called(direct, model_id)

        assert holds_soon(lambda: failing(first), lambda: _suspended(second, model_id) and _suspended(core, model_id))
        assert _suspended(first, model_id)
        assert _metrics(rig, "mlcommons_provider_suspended{") == [
            f'mlcommons_provider_suspended{{model="{model_id}"}} 1.0'
        ]

        def redeploy() -> None:
            rig.service.ml("POST", f"/models/{model_id}/_undeploy")
            rig.service.ml("POST", f"/models/{model_id}/_deploy")

        assert holds_soon(redeploy, lambda: _called(first, model_id) == 500)
        assert holds_soon(lambda: failing(core), lambda: _suspended(first, model_id))

        def reconnect() -> None:
            rig.service.ml("PUT", f"/models/{model_id}", json={"connector_id": rig.connector("/up")})

        assert holds_soon(reconnect, lambda: _called(first, model_id) == 200)
        assert _called(second, model_id) == 200


def test_an_api_server_that_starts_while_a_provider_is_suspended(own: Rig) -> None:
    """An API server that takes another's place leaves alone what the others do."""
    own.provider.fake.on("/down", Answer(500, {"error": "down"}))
    model_id = own.model(own.connector("/down"))
    with connected(own.service, own.service.pid) as core:
        for _ in range(10):
            _called(core, model_id)
        began = time.monotonic()
        before = api_servers(own.service)
        os.kill(before[0], signal.SIGKILL)
        until(lambda: sum("an API server serves" in line for line in own.service.output) > len(before), "another")
        (new,) = set(api_servers(own.service)) - set(before)
        with connected(own.service, new) as direct:
            assert _suspended(direct, model_id) or time.monotonic() - began > PAUSE_SECONDS


def _suspended(direct: Direct, model_id: str) -> bool:
    return "suspended" in str(_predict(direct, model_id))


def _metrics(rig: Rig, name: str) -> list[str]:
    return [line for line in rig.service.http.get("/metrics").text.splitlines() if line.startswith(name)]
