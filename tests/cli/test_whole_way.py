"""The command line and the real service together."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import environment
from tests.e2e.service import Service, running


def _mlcommons(service: Service, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mlcommons_py", *arguments],
        env=environment(str(service.http.base_url).rstrip("/")),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_register_then_predict(at: str, tmp_path: Path, minilm_directory: Path) -> None:
    """A new user's first two commands, and the others after them, work on a service that has just been started."""
    with running(tmp_path / "data", flags=("--store", at)) as service:
        registered = _mlcommons(service, "register", str(minilm_directory), "--deploy", "--wait")
        assert registered.returncode == 0, registered.stderr
        first = _mlcommons(service, "predict")
        assert first.returncode == 0, first.stderr
        assert "384 dimensions, norm 1.0000" in first.stdout
        (model,) = json.loads(_mlcommons(service, "models", "--json").stdout)
        assert (model["name"], model["model_state"]) == ("model", "DEPLOYED")
        tasks = json.loads(_mlcommons(service, "tasks", "--json").stdout)
        assert {task["state"] for task in tasks} == {"COMPLETED"}
        again = _mlcommons(service, "register", str(minilm_directory), "--resume", model["id"], "--json")
        assert json.loads(again.stdout)["model_state"] == "DEPLOYED"
        deleted = _mlcommons(service, "delete", "model", "--undeploy", "--yes")
        assert deleted.returncode == 0, deleted.stderr
        assert json.loads(_mlcommons(service, "models", "--json").stdout) == []


def test_a_mismatch_of_dimensions_is_told(at: str, tmp_path: Path, minilm_directory: Path) -> None:
    """When the file is not what the options say, the command fails with both numbers."""
    with running(tmp_path / "data", flags=("--store", at)) as service:
        done = _mlcommons(service, "register", str(minilm_directory), "--dimension", "32")

        assert done.returncode == 1
        assert "32" in done.stderr
        assert "384" in done.stderr


def test_serving_imports_little() -> None:
    """The way to the service loads neither the client's libraries nor the engine."""
    program = "import sys, mlcommons_py.__main__, mlcommons_py.app; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )

    assert not {"rich", "httpx", "tenacity", "ctranslate2", "numpy"} & set(done.stdout.split())
    assert "mlcommons_py.app" in done.stdout


def test_a_second_service_on_the_same_data(tmp_path: Path) -> None:
    """A service whose data directory is in use ends with one line that says so."""
    with running(tmp_path / "data"):
        done = subprocess.run(
            [sys.executable, "-m", "mlcommons_py", "serve", "--port", "0", "--data", os.fspath(tmp_path / "data")],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    assert done.returncode == 1
    assert "is in use by another process" in done.stderr
