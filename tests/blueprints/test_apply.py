"""Blueprints through the whole service, against the providers' fakes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlcommons_py import content
from mlcommons_py.cli import applying
from mlcommons_py.cli.applying import PRIVATE, TRUSTED, Wish
from mlcommons_py.cli.client import ML, Client
from mlcommons_py.cli.recipe import Recipe
from mlcommons_py.errors import BadRequest, IllegalArgument, StatusError
from tests.cli.conftest import environment
from tests.connectors.fakes import GREETING, score, vector
from tests.connectors.setting import given
from tests.e2e.service import Service
from tests.remote.fake import Fake

NAMES = content.names("blueprints")
STREAMING = [
    name for name in NAMES if "_llm_interface" in content.read("blueprints", name)["connector"].get("parameters", {})
]


def filled(name: str, providers: Fake, **changes: str) -> Recipe:
    """Return a blueprint that calls the fakes."""
    recipe = Recipe.load(name)
    return recipe.filled(recipe.values({**given(recipe, providers.url), **changes}))


def tensors(prediction: Any) -> list[dict[str, Any]]:
    """Return the tensors of an answer, in order."""
    return [tensor for entry in prediction["inference_results"] for tensor in entry["output"]]


@pytest.mark.parametrize("name", NAMES)
def test_every_blueprint_works(name: str, client: Client, providers: Fake) -> None:
    """From the blueprint alone comes a deployed model, and the answer to its own request is the provider's."""
    recipe = filled(name, providers)

    made = applying.apply(client, recipe, Wish(change_settings=True))

    assert made["model_state"] == "DEPLOYED"
    model = client.call("GET", f"{ML}/models/{made['model_id']}")
    assert (model["algorithm"], model["connector_id"]) == ("REMOTE", made["connector_id"])
    assert {entry["status_code"] for entry in made["prediction"]["inference_results"]} == {200}
    body = recipe.predict["body"]
    found = tensors(made["prediction"])
    if "query_text" in body:
        assert [tensor["data"] for tensor in found] == [[score(text)] for text in body["text_docs"]]
    elif recipe.predict.get("path") == "text_embedding":
        first = found[0]["data"]
        assert first[0] >= len(body["text_docs"][0])
        assert found[0]["shape"] == [len(vector(""))]
    elif name not in ("comprehend-language", "tei-sparse", "dashscope-sparse"):
        assert json.dumps(GREETING, ensure_ascii=False)[1:-1] in json.dumps(found, ensure_ascii=False)


@pytest.mark.parametrize("name", ["bedrock-titan-embedding-v1", "comprehend-language", "textract-text"])
def test_known_models_have_an_interface(name: str, client: Client, providers: Fake) -> None:
    """A model of a service whose inputs are known has an interface, and a wrong input is not sent there."""
    made = applying.apply(client, filled(name, providers), Wish(change_settings=True))
    asked = len(providers.requests)

    assert client.call("GET", f"{ML}/models/{made['model_id']}")["interface"].keys() == {"input", "output"}
    with pytest.raises(StatusError, match="Error validating input schema"):
        client.call("POST", f"{ML}/models/{made['model_id']}/_predict", {"parameters": {"unknown": 7}})
    assert len(providers.requests) == asked


def test_settings_are_not_changed_unasked(client: Client, providers: Fake) -> None:
    """Where the settings forbid the call and nobody allows a change, nothing is made, and the text has the way out."""
    recipe = filled("openai-embedding", providers, endpoint="http://127.0.0.2:1/openai")
    before = client.call("POST", f"{ML}/connectors/_search", {"size": 0})["hits"]["total"]["value"]

    with pytest.raises(BadRequest, match=r"nothing was made\. Say --change-settings") as raised:
        applying.apply(client, recipe, Wish())

    assert r'"^http://127\\.0\\.0\\.2:1/openai/.*$"' in raised.value.reason
    assert client.call("POST", f"{ML}/connectors/_search", {"size": 0})["hits"]["total"]["value"] == before


def test_one_pattern_is_told(client: Client, providers: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """What is added to the trusted endpoints is told, and that it stays; what was there is not repeated."""
    recipe = filled("openai-embedding", providers, endpoint=f"{providers.url}/told/openai")

    with pytest.raises(StatusError):
        applying.apply(client, recipe, Wish(change_settings=True))

    told = capsys.readouterr().err
    assert rf"/told/openai/.*$ to {TRUSTED}" in told
    assert "this stays" in told
    assert "api\\.openai\\.com" not in told


def test_no_url_changes_nothing(client: Client, providers: Fake) -> None:
    """An endpoint without a scheme is refused before the settings are changed."""
    path = "/_cluster/settings?include_defaults=true&flat_settings=true"
    before = client.call("GET", path)

    with pytest.raises(IllegalArgument, match="nothing was changed"):
        applying.apply(
            client, filled("openai-embedding", providers, endpoint="127.0.0.1:1"), Wish(change_settings=True)
        )

    assert client.call("GET", path) == before


def test_what_was_there_stays_trusted(client: Client, providers: Fake) -> None:
    """A change of the trusted endpoints adds to them, and one that is covered is not added again."""
    applying.apply(client, filled("ollama-embedding", providers), Wish(change_settings=True))
    path = "/_cluster/settings?include_defaults=true&flat_settings=true"
    settings = client.call("GET", path)
    trusted = settings["persistent"][TRUSTED]

    assert r"^https://api\.openai\.com/.*$" in trusted
    assert str(settings["persistent"][PRIVATE]).lower() == "true"
    applying.apply(client, filled("ollama-chat", providers), Wish(change_settings=False, predict=False))
    assert client.call("GET", path)["persistent"][TRUSTED] == trusted


def test_a_failure_says_what_stays(client: Client, providers: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """When the provider refuses, the error is its own, and the note names what was made and how to delete it."""
    recipe = filled("openai-chat", providers, key="wrong")

    with pytest.raises(StatusError, match="Incorrect API key provided"):
        applying.apply(client, recipe, Wish(change_settings=True))

    told = capsys.readouterr().err
    assert "mlcommons delete --undeploy " in told
    assert f"curl -X DELETE {client.url}{ML}/connectors/" in told


def test_the_command(service: Service, providers: Fake, tmp_path: Path) -> None:
    """The command takes keys from a file and from the environment, and prints what was made without any secret."""
    secret = tmp_path / "key"
    secret.write_text("sk-fake\n")
    url = str(service.http.base_url)
    command = ["blueprint", "apply", "openai-embedding", "--set", f"endpoint={providers.url}/openai"]
    options = ["--set-file", f"key={secret}", "--set-env", "model=MODEL", "--name", "mine", "--change-settings"]
    done = subprocess.run(
        [sys.executable, "-m", "mlcommons_py", *command, *options],
        env={**environment(url), "MODEL": "text-embedding-3-large"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "is DEPLOYED" in done.stdout
    assert "sentence_embedding, FLOAT32, 3 dimensions: [+17.0000, +0.5000, -0.2500, …]" in done.stdout
    assert "sk-fake" not in done.stdout + done.stderr
    assert providers.requests[-1].json()["model"] == "text-embedding-3-large"
    (model,) = service.http.post(f"{ML}/models/_search", json={"query": {"match": {"name": "mine"}}}).json()["hits"][
        "hits"
    ]
    assert model["_source"]["algorithm"] == "REMOTE"


@pytest.mark.parametrize("name", STREAMING)
def test_every_chat_streams(name: str, service: Service, client: Client, providers: Fake) -> None:
    """A chat of a blueprint streams through the service: the pieces are the text, and the last says that it is."""
    client.call("PUT", "/_cluster/settings", {"persistent": {"plugins.ml_commons.stream_enabled": True}})
    recipe = filled(name, providers)
    made = applying.apply(client, recipe, Wish(change_settings=True, predict=False))

    answer = service.http.post(f"{ML}/models/{made['model_id']}/_predict/stream", json=recipe.predict["body"])

    assert answer.headers["content-type"].startswith("text/event-stream")
    told = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")]
    pieces = [event["inference_results"][0]["output"][0]["dataAsMap"] for event in told]
    assert "".join(piece["content"] for piece in pieces) == GREETING
    assert [piece["is_last"] for piece in pieces] == [False] * (len(pieces) - 1) + [True]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("openai-batch-embedding", {}),
        ("sagemaker-batch-embedding", {"TransformJobName": "mine"}),
        ("bedrock-batch-embedding", {"jobName": "mine"}),
    ],
)
def test_batch_jobs_are_followed(name: str, parameters: dict[str, str], client: Client, providers: Fake) -> None:
    """A batch job that a blueprint's connector starts is a task, and its state is the provider's."""
    made = applying.apply(client, filled(name, providers), Wish(change_settings=True, predict=False))

    started = client.call("POST", f"{ML}/models/{made['model_id']}/_batch_predict", {"parameters": parameters})

    assert started["status"] == "CREATED"
    task = client.call("GET", f"{ML}/tasks/{started['task_id']}")
    assert (task["task_type"], task["state"]) == ("BATCH_PREDICTION", "COMPLETED"), task
