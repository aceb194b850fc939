"""``mlcommons register``, against a service with faults on demand."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tests.cli.conftest import Run, environment
from tests.cli.fake import Fake

TORCH = ("--model-type", "bert", "--dimension", "32", "--framework", "sentence_transformers")


def test_one_call_registers_and_deploys(fake: Fake, mlcommons: Run, directory: Path) -> None:
    """A directory is announced, sent whole, proven and deployed; standard output holds one JSON object."""
    done = mlcommons("register", str(directory), "--name", "mine", "--group", "ours", "--deploy", "--json")

    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    model = fake.documents["models"][result["model_id"]]
    assert (result["model_state"], result["task_state"], result["deploy_task_state"]) == (
        "DEPLOYED",
        "COMPLETED",
        "COMPLETED",
    )
    assert fake.documents["model_groups"][model["model_group_id"]]["name"] == "ours"
    assert (model["name"], model["algorithm"], model["model_format"]) == ("mine", "TEXT_EMBEDDING", "SAFETENSORS")
    assert model["total_chunks"] == 4
    assert "model_config" not in model
    assert "30.0/30.0 MB" in done.stderr


def test_only_the_last_part_of_the_output_is_for_people(fake: Fake, mlcommons: Run, directory: Path) -> None:
    """Without --json the id, the state and the next command are printed."""
    done = mlcommons("register", str(directory), "--url", fake.url)

    (model_id,) = (doc_id for doc_id, one in fake.documents["models"].items() if "name" in one)
    assert done.stdout.splitlines() == [
        f"model {model_id} is REGISTERED",
        f"next: mlcommons deploy --url {fake.url} {model_id}",
    ]


def test_options_become_the_config(fake: Fake, mlcommons: Run, torch_script: Path) -> None:
    """What the user says about the model is its model_config, and nothing else is."""
    done = mlcommons("register", str(torch_script), *TORCH, "--pooling", "cls", "--no-normalize", "--json")

    model = fake.documents["models"][json.loads(done.stdout)["model_id"]]
    assert (model["name"], model["model_format"]) == ("traced", "TORCH_SCRIPT")
    assert model["model_config"] == {
        "model_type": "bert",
        "embedding_dimension": 32,
        "framework_type": "sentence_transformers",
        "pooling_mode": "cls",
        "normalize_result": False,
    }


def test_torch_script_needs_its_options(fake: Fake, mlcommons: Run, torch_script: Path) -> None:
    """A TorchScript file without its config is wrong usage; the options that are missing are named, nothing is sent."""
    done = mlcommons("register", str(torch_script), "--dimension", "32", "--group", "new")

    assert done.returncode == 2
    assert "--model-type, --framework" in done.stderr
    assert fake.documents == {"models": {}, "model_groups": {}, "tasks": {}}


def test_a_busy_service_is_asked_again(fake: Fake, mlcommons: Run, directory: Path) -> None:
    """Chunks that are answered with 503 are sent again."""
    fake.refusals = 3

    done = mlcommons("register", str(directory), "--json")

    assert done.returncode == 0, done.stderr
    assert (fake.refusals, len(fake.chunks)) == (0, 4)


def test_a_failed_proof_is_the_commands_failure(fake: Fake, mlcommons: Run, directory: Path) -> None:
    """When the service finds the model unfit, the command says why and fails."""
    fake.proof_error = "embedding_dimension is 32, measured are 384"

    done = mlcommons("register", str(directory), "--deploy")

    assert done.returncode == 1
    assert "REGISTER_MODEL ended FAILED: embedding_dimension is 32, measured are 384" in done.stderr
    assert not any(one.get("model_state") == "DEPLOYED" for one in fake.documents["models"].values())


def test_uploads_that_are_off_come_with_two_fixes(fake: Fake, mlcommons: Run, directory: Path) -> None:
    """With nobody to ask, the restart and the curl line that allow uploads are printed, and nothing is changed."""
    fake.uploads_allowed = False

    done = mlcommons("register", str(directory))

    assert done.returncode == 1
    assert "--set plugins.ml_commons.allow_registering_model_via_local_file=true" in done.stderr
    assert f"curl -X PUT {fake.url}/_cluster/settings" in done.stderr
    assert not fake.uploads_allowed


@pytest.mark.parametrize(("answer", "status", "allowed"), [("y\n", 0, True), ("n\n", 1, False), ("\n", 1, False)])
def test_uploads_are_allowed_by_who_sits_there(
    fake: Fake, torch_script: Path, answer: str, status: int, allowed: bool
) -> None:
    """At a terminal the command asks whether uploads may be switched on, and takes only a yes for one."""
    fake.uploads_allowed = False
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mlcommons_py", "register", str(torch_script), *TORCH]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs, env=environment(fake.url)
    )
    os.close(theirs)
    os.write(ours, answer.encode())
    shown = b""
    try:
        while part := os.read(ours, 1 << 16):
            shown += part
    except OSError:  # what a terminal says when the other side is gone
        pass
    os.close(ours)

    assert process.wait(60) == status, shown
    assert b"Allow them now? [y/N]" in shown
    assert fake.uploads_allowed is allowed


def _interrupted(fake: Fake, directory: Path, number: int) -> tuple[str, subprocess.CompletedProcess[str]]:
    """Send a signal to an upload of which all but chunk 2 has arrived; return the model's id and how it ended."""
    fake.held = {2}
    process = subprocess.Popen(
        # Whoever runs the tests in the background may have them ignore Ctrl-C.
        ["env", "--default-signal=INT", sys.executable, "-m", "mlcommons_py", "register", str(directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(fake.url),
    )
    deadline = time.monotonic() + 30
    while len(fake.chunks) < 3 and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
    process.send_signal(number)
    out, err = process.communicate(timeout=10)
    fake.release()
    ((model_id, _),) = {key: one for key, one in fake.documents["models"].items() if "name" in one}.items()
    return model_id, subprocess.CompletedProcess([], process.returncode, out, err)


def test_ctrl_c_leaves_what_can_be_resumed(fake: Fake, mlcommons: Run, directory: Path) -> None:
    """Ctrl-C ends an upload at once with 130 and the way on; resuming it sends only what is missing."""
    model_id, ended = _interrupted(fake, directory, signal.SIGINT)
    assert ended.returncode == 130
    assert f"mlcommons register {directory} --resume {model_id}" in ended.stderr
    assert f"mlcommons delete {model_id}" in ended.stderr
    before = {key: id(content) for key, content in fake.chunks.items()}

    done = mlcommons("register", str(directory), "--resume", model_id, "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model_state"] == "REGISTERED"
    assert {key: id(content) for key, content in fake.chunks.items() if key[1] != 2} == before
    assert "uploading 1 of 4 chunks" in done.stderr


def test_a_killed_upload_can_be_resumed(fake: Fake, mlcommons: Run, directory: Path) -> None:
    """An upload whose process was killed goes on with --resume."""
    model_id, ended = _interrupted(fake, directory, signal.SIGKILL)
    assert ended.returncode == -signal.SIGKILL

    done = mlcommons("register", str(directory), "--resume", model_id, "--deploy", "--json")

    assert json.loads(done.stdout)["model_state"] == "DEPLOYED"


def test_a_service_that_waits_for_nothing_gets_a_chunk_again(fake: Fake, mlcommons: Run, directory: Path) -> None:
    """When all chunks are there and the model still counts as incomplete, resuming sends one of them again."""
    first = json.loads(mlcommons("register", str(directory), "--json").stdout)
    fake.documents["models"][first["model_id"]]["model_state"] = "REGISTERING"

    done = mlcommons("register", str(directory), "--resume", first["model_id"], "--json")

    assert json.loads(done.stdout)["model_state"] == "REGISTERED"


def test_resuming_with_other_files_is_refused(fake: Fake, mlcommons: Run, directory: Path, torch_script: Path) -> None:
    """An upload cannot go on with content that is not what was announced."""
    first = json.loads(mlcommons("register", str(directory), "--json").stdout)

    done = mlcommons("register", str(torch_script), *TORCH, "--resume", first["model_id"])

    assert done.returncode == 1
    assert "was announced with SHA-256" in done.stderr


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_is_named(mlcommons: Run, tmp_path: Path, missing: str) -> None:
    """A directory that lacks a file is refused before anything is sent, with the way to get the file."""
    made = tmp_path / "model"
    made.mkdir()
    for name in {"config.json", "tokenizer.json", "model.safetensors"} - {missing}:
        (made / name).write_text("{}")

    done = mlcommons("register", str(made))

    assert done.returncode == 1
    assert f"there is no {missing} in {made}; save" in done.stderr


def test_a_traced_file_takes_the_tokenizer_beside_it(fake: Fake, mlcommons: Run, tmp_path: Path) -> None:
    """A single .pt file is sent as a zip with the tokenizer.json that lies beside it."""
    (tmp_path / "small.pt").write_bytes(b"weights")
    (tmp_path / "tokenizer.json").write_text("{}")

    done = mlcommons("register", str(tmp_path / "small.pt"), *TORCH, "--json")

    content = fake.chunks[json.loads(done.stdout)["model_id"], 0]
    (tmp_path / "sent.zip").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "sent.zip") as archive:
        assert sorted(archive.namelist()) == ["small.pt", "tokenizer.json"]
