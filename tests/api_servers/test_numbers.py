"""The numbers of all processes are one service's."""

import os
import re
import signal

from tests.api_servers.conftest import Rig
from tests.api_servers.several import all_of, api_servers, connected, until
from tests.e2e.test_remote import HELLO
from tests.remote.fake import Answer

ASKED = {"parameters": HELLO}
CALLS = 3


def _metric(text: str, name: str, *labels: str) -> float:
    """Return the sum of a metric's lines that have all of some labels."""
    lines = [line for line in text.splitlines() if line.startswith(name + "{") and all(one in line for one in labels)]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def test_numbers_are_of_all_processes(rig: Rig) -> None:
    """Metrics, stats and profile count the calls of every process at once, whichever of them is asked."""
    rig.provider.fake.on("/counted", Answer(200, {"ok": True}))
    model_id = rig.model(rig.connector("/counted"))
    everybody = all_of(rig.service)
    for pid in everybody:
        with connected(rig.service, pid) as direct:
            for _ in range(CALLS):
                direct.ml("POST", f"/models/{model_id}/_predict", body=ASKED)
    expected = CALLS * len(everybody)

    for pid in everybody:
        with connected(rig.service, pid) as direct:
            _, text = direct.request("GET", "/metrics")
            stats = direct.ml("GET", "/stats")
            profile = direct.ml("GET", f"/profile/models/{model_id}")

        assert _metric(text, "mlcommons_provider_call_seconds_count", f'model="{model_id}"', 'status="200"') == expected
        assert text.count("# TYPE mlcommons_provider_call_seconds histogram") == 1
        (node,) = stats["nodes"].values()
        assert node["models"][model_id]["predict"]["ml_action_request_count"] == expected
        (node,) = profile["nodes"].values()
        assert node["models"][model_id]["predict_request_stats"]["count"] == expected


def test_what_was_handed_over_counts_once(rig: Rig) -> None:
    """A request that an API server hands over is counted where it is answered, and nowhere else."""
    (pid, *_) = api_servers(rig.service)
    name = "mlcommons_http_request_seconds_count"
    route = 'route="/_plugins/_ml/models/{model_id}"'

    with connected(rig.service, pid) as direct:
        _, before = direct.request("GET", "/metrics")
        direct.ml("GET", "/models/none", 404)
        _, after = direct.request("GET", "/metrics")

    assert _metric(after, name, route) == _metric(before, name, route) + 1
    assert _metric(after, name) == _metric(before, name) + 2  # the first look at the metrics is the other


def test_the_numbers_of_the_dead_stay(own: Rig) -> None:
    """What an API server told before it was killed stays counted; the one that follows counts beside it."""
    own.provider.fake.on("/chat", Answer(200, {"ok": True}))
    model_id = own.model(own.connector())
    (victim, *_) = api_servers(own.service)
    with connected(own.service, victim) as direct:
        for _ in range(CALLS):
            direct.ml("POST", f"/models/{model_id}/_predict", body=ASKED)
        direct.request("GET", "/metrics")  # whoever scrapes is told everything up to now

    os.kill(victim, signal.SIGKILL)
    until(lambda: len(api_servers(own.service)) == 2 and victim not in api_servers(own.service), "another API server")
    until(lambda: sum("an API server serves" in line for line in own.service.output) == 3, "that it serves")
    (newest,) = {int(re.findall(r"process (\d+)", line)[0]) for line in own.service.output[-1:]}
    with connected(own.service, newest) as direct:
        direct.ml("POST", f"/models/{model_id}/_predict", body=ASKED)
        _, text = direct.request("GET", "/metrics")
        profile = direct.ml("GET", f"/profile/models/{model_id}")

    assert _metric(text, "mlcommons_provider_call_seconds_count", f'model="{model_id}"') == CALLS + 1
    (node,) = profile["nodes"].values()
    assert node["models"][model_id]["predict_request_stats"]["count"] == CALLS + 1


def test_an_undeployed_model_leaves_no_series(rig: Rig) -> None:
    """The series of a model that is undeployed are gone in every process."""
    rig.provider.fake.on("/left", Answer(200, {"ok": True}))
    model_id = rig.model(rig.connector("/left"))
    for pid in all_of(rig.service):
        with connected(rig.service, pid) as direct:
            direct.ml("POST", f"/models/{model_id}/_predict", body=ASKED)
    assert f'model="{model_id}"' in rig.service.http.get("/metrics").text

    rig.service.ml("POST", f"/models/{model_id}/_undeploy")

    until(lambda: f'model="{model_id}"' not in rig.service.http.get("/metrics").text, "the series' end")
