"""The commands on a service, as a user types them."""

import json
from typing import Any

import pytest
from starlette.responses import JSONResponse

from mlcommons_py import __version__
from mlcommons_py.cli.predicting import SAMPLE
from tests.cli.conftest import Run
from tests.cli.fake import Fake


@pytest.fixture
def deployed(fake: Fake) -> dict[str, str]:
    """Two versions of a model and another model that was deployed later; ids by what they are."""
    common = {"name": "twice", "model_state": "DEPLOYED", "model_format": "SAFETENSORS"}
    return {
        "old": fake.add("models", {**common, "model_version": "1", "last_deployed_time": 10}),
        "new": fake.add("models", {**common, "model_version": "2", "last_deployed_time": 5}),
        "last": fake.add("models", {**common, "name": "last", "model_version": "1", "last_deployed_time": 20}),
        "idle": fake.add("models", {**common, "name": "idle", "model_state": "REGISTERED", "model_version": "1"}),
    }


def test_predict_without_arguments(fake: Fake, mlcommons: Run, deployed: dict[str, str]) -> None:
    """The model that was deployed last embeds a sample sentence, and the output says so."""
    done = mlcommons("predict")

    assert done.returncode == 0, done.stderr
    assert fake.predictions[-1]["model_id"] == deployed["last"]
    assert fake.predictions[-1]["text_docs"] == [SAMPLE]
    assert "sample sentence" in done.stdout
    assert "4 dimensions, norm 1.0000: [+0.5000, +0.5000, -0.5000, +0.5000]" in done.stdout


def test_predict_with_one_word_that_is_no_model(fake: Fake, mlcommons: Run, deployed: dict[str, str]) -> None:
    """A single argument that names no model is a text for the model that was deployed last."""
    done = mlcommons("predict", "some [bold]text")

    assert fake.predictions[-1]["model_id"] == deployed["last"]
    assert fake.predictions[-1]["text_docs"] == ["some [bold]text"]
    assert "'some [bold]text'" in done.stdout


def test_predict_with_a_name(fake: Fake, mlcommons: Run, deployed: dict[str, str]) -> None:
    """A name stands for its latest version; texts follow it, and lines of a file."""
    done = mlcommons("predict", "twice", "one", "--file", "-", "--query", "--json", stdin="two\n\nthree\n")

    asked = fake.predictions[-1]
    assert asked["model_id"] == deployed["new"]
    assert asked["text_docs"] == ["one", "two", "three"]
    assert asked["parameters"] == {"content_type": "query"}
    assert len(json.loads(done.stdout)["inference_results"]) == 3


def test_a_sample_for_a_model_with_prefixes(fake: Fake, mlcommons: Run) -> None:
    """A model that tells queries from passages gets its sample sentence as a query."""
    fake.add("models", {"name": "e5", "model_state": "DEPLOYED", "model_config": {"query_prefix": "query: "}})

    assert mlcommons("predict").returncode == 0

    assert fake.predictions[-1]["parameters"] == {"content_type": "query"}


def remote(fake: Fake, *output: dict[str, Any]) -> None:
    """Deploy a remote model whose answers are one entry of some tensors."""
    model = fake.add("models", {"name": "far", "algorithm": "REMOTE", "model_state": "DEPLOYED"})
    fake.answers[model] = JSONResponse({"inference_results": [{"output": output, "status_code": 200}]})


def test_predict_with_a_remote_model(fake: Fake, mlcommons: Run) -> None:
    """All vectors of a remote model are in one entry, and stand beside their texts."""
    remote(fake, *({"name": "sentence_embedding", "data": [value, 0.0]} for value in (1.0, 2.0)))

    done = mlcommons("predict", "far", "one", "two")

    assert done.returncode == 0, done.stderr
    assert "'one'\n  2 dimensions, norm 1.0000" in done.stdout
    assert "'two'\n  2 dimensions, norm 2.0000" in done.stdout


def test_predict_with_parameters(fake: Fake, mlcommons: Run) -> None:
    """Parameters go out without a text, and an answer without vectors is printed as JSON."""
    remote(fake, {"name": "response", "dataAsMap": {"content": "Good day"}})

    done = mlcommons("predict", "far", "--parameters", '{"prompt": "hello"}')

    assert done.returncode == 0, done.stderr
    assert '{\n  "content": "Good day"\n}' in done.stdout
    asked = fake.predictions[-1]
    assert (asked["parameters"], "text_docs" in asked) == ({"prompt": "hello"}, False)


def test_predict_with_a_model_that_takes_no_texts(fake: Fake, mlcommons: Run) -> None:
    """Where a remote model refuses texts, the output says that they were sent, and how to send parameters."""
    model = fake.add("models", {"name": "far", "algorithm": "REMOTE", "model_state": "DEPLOYED"})
    fake.answers[model] = JSONResponse({"error": {"reason": "no messages"}, "status": 400}, 400)

    texts, parameters = mlcommons("predict", "far", "one"), mlcommons("predict", "far", "--parameters", "{}")

    assert (texts.returncode, parameters.returncode) == (1, 1)
    assert "this command sends texts" in texts.stderr
    assert "this command sends texts" not in parameters.stderr
    assert "no messages" in texts.stderr


@pytest.mark.parametrize("given", ["prompt", "[1]"])
def test_parameters_that_are_no_object(mlcommons: Run, given: str) -> None:
    """Parameters that are no JSON object are refused before anything is sent."""
    done = mlcommons("predict", "--parameters", given)

    assert (done.returncode, "--parameters " in done.stderr) == (2, True)


def test_predict_for_an_unknown_model(mlcommons: Run, deployed: dict[str, str]) -> None:
    """A text for a model that does not exist is a failure that names the model."""
    done = mlcommons("predict", "nowhere", "text")

    assert done.returncode == 1
    assert "there is no model nowhere" in done.stderr


def test_predict_with_nothing_deployed(mlcommons: Run) -> None:
    """Where no model is deployed, predict says how to get one."""
    done = mlcommons("predict")

    assert (done.returncode, done.stdout) == (1, "")
    assert "mlcommons register DIRECTORY --deploy" in done.stderr


def test_lists(fake: Fake, mlcommons: Run, deployed: dict[str, str]) -> None:
    """Models and tasks are listed, without chunks, as a table or as JSON; a row is one line in a pipe."""
    fake.add("models", {"model_id": deployed["old"], "chunk_number": 0}, f"{deployed['old']}_0")
    fake.add("tasks", {"task_type": "DEPLOY_MODEL", "state": "FAILED", "error": "long " * 60}, "the-task")

    listed = json.loads(mlcommons("models", "--json").stdout)
    table = mlcommons("models").stdout.splitlines()
    tasks = mlcommons("tasks").stdout.splitlines()

    assert [one["id"] for one in listed] == list(reversed(deployed.values()))
    assert len(table) == 5
    assert len(tasks) == 2
    assert tasks[1].startswith("the-task")


def test_deploy_undeploy_delete(fake: Fake, mlcommons: Run, deployed: dict[str, str]) -> None:
    """A model named by its name goes up, down and away; a deployed one is deleted only with --undeploy."""
    model_id = deployed["idle"]

    assert f"model {model_id} is DEPLOYED" in mlcommons("deploy", "idle").stdout
    refused = mlcommons("delete", "idle", "--yes")
    assert (refused.returncode, "--undeploy does both" in refused.stderr) == (1, True)
    assert mlcommons("undeploy", "idle").stdout == f"model {model_id} is undeployed\n"
    assert mlcommons("deploy", "idle").returncode == 0
    assert mlcommons("delete", "idle", "--undeploy", "--yes").returncode == 0
    assert model_id not in fake.documents["models"]


def test_delete_does_not_guess(fake: Fake, mlcommons: Run, deployed: dict[str, str]) -> None:
    """With nobody to ask, a delete without --yes is wrong usage and deletes nothing."""
    assert mlcommons("delete", "idle").returncode == 2
    assert deployed["idle"] in fake.documents["models"]


def test_nothing_answers(mlcommons: Run) -> None:
    """Where no service runs, one line says how to start it."""
    done = mlcommons("models", "--url", "http://127.0.0.1:9")

    assert done.returncode == 1
    assert done.stderr == (
        "mlcommons: nothing answers at http://127.0.0.1:9; start the service first: mlcommons serve\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [("nonsense",), ("models", "--nonsense"), ("predict", "--query", "--passage"), ("models", "--url", "nowhere")],
)
def test_wrong_usage(mlcommons: Run, arguments: tuple[str, ...]) -> None:
    """Wrong usage has status 2 and no traceback."""
    done = mlcommons(*arguments)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--store", "elsewhere"), "[store] must be embedded"),
        (("--set", "plugins.ml_commons.nonsense=1"), "nonsense"),
        (("--set", "novalue"), "KEY=VALUE"),
        (("--config", "nowhere.toml"), "nowhere.toml"),
    ],
)
def test_serve_refuses_wrong_settings(mlcommons: Run, arguments: tuple[str, ...], text: str) -> None:
    """The service does not start with a setting that is wrong; the line names it."""
    done = mlcommons("serve", "--port", "0", *arguments)

    assert (done.returncode, done.stdout) == (2, "")
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_version(mlcommons: Run) -> None:
    """--version prints the version."""
    assert mlcommons("--version").stdout == f"mlcommons-py {__version__}\n"


def test_the_services_reason_is_printed(mlcommons: Run, deployed: dict[str, str]) -> None:
    """What the service refuses is told in its words, in one line."""
    done = mlcommons("predict", "idle", "text")

    assert done.returncode == 1
    assert done.stderr == "mlcommons: Model not ready yet. Please deploy the model first.\n"
