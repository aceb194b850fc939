"""``mlcommons blueprint`` as a user types it."""

import json
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from mlcommons_py import content
from tests.cli.conftest import Run, environment
from tests.e2e.api import until


def test_list(mlcommons: Run) -> None:
    """Every blueprint has a line with its name and its title."""
    done = mlcommons("blueprint", "list")

    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert set(content.names("blueprints")) <= lines.keys()
    assert "OpenAI: embeddings" in lines["openai-embedding"]
    listed = json.loads(mlcommons("blueprint", "list", "--json").stdout)
    assert {"name": "openai-chat", "title": "OpenAI: chat", "provider": "openai"} in listed


def test_show(mlcommons: Run) -> None:
    """What is to be set is listed with its default, and what is sent is printed as JSON."""
    done = mlcommons("blueprint", "show", "openai-embedding")

    assert done.returncode == 0, done.stderr
    assert "  key  OpenAI's API key, from platform.openai.com. secret, required\n" in done.stdout
    assert "[text-embedding-3-small]" in done.stdout
    assert '"url": "{{endpoint}}/v1/embeddings"' in done.stdout
    whole = json.loads(mlcommons("blueprint", "show", "openai-embedding", "--json").stdout)
    assert whole == content.read("blueprints", "openai-embedding")


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("open-ai",), 1, "there is no [open-ai] among the blueprints; there are: "),
        (("openai-chat",), 2, "openai-chat needs:\n  key  OpenAI's API key"),
        (("openai-chat", "--set", "kei=1"), 2, "openai-chat has no key kei; its keys are: key, model, endpoint"),
        (("openai-chat", "--set", "key="), 2, "openai-chat: key is empty, and must have a value"),
        (("openai-chat", "--set", "key=k", "--set", "endpoint=127.0.0.1:18080"), 2, "[127.0.0.1:18080/v1/chat/"),
        (("openai-chat", "--set", "key=k", "--set", "endpoint="), 2, "[/v1/chat/completions] is no URL to call"),
        (("openai-chat", "--set", "hush"), 2, "--set takes KEY=VALUE, not [hush]"),
        (("openai-chat", "--set-env", "key=NO_SUCH_VARIABLE"), 2, "the environment has no NO_SUCH_VARIABLE"),
        (("openai-chat", "--set-file", "key=no/such/file"), 2, "--set-file key: cannot read no/such/file"),
    ],
)
def test_wrong_usage(mlcommons: Run, arguments: tuple[str, ...], status: int, told: str) -> None:
    """What is missing or wrong is told before anything is sent, with what there is."""
    done = mlcommons("blueprint", "apply", *arguments)

    assert done.returncode == status
    assert told in done.stderr


def test_a_secret_is_not_told(mlcommons: Run, tmp_path: Path) -> None:
    """A service that knows no connectors is told as such, and the key from standard input is in no output."""
    done = mlcommons("blueprint", "apply", "openai-chat", "--set-file", "key=-", stdin="sk-canary-7\n")

    assert done.returncode == 1
    assert "sk-canary-7" not in done.stdout + done.stderr


def test_secrets_are_asked_for_unseen() -> None:
    """At a terminal a key without a default is asked for by name, and what is typed for a secret is not shown."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mlcommons_py", "blueprint", "apply", "azure-openai-chat", "--set", "resource=r"]
    process = subprocess.Popen(
        [*command, "--url", "http://127.0.0.1:1"],
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env=environment(),
        start_new_session=True,  # the terminal that the tests were started from is not to be asked
    )
    os.close(theirs)
    shown = b""
    answers = {b"key (": b"sk-canary-7\n", b"deployment (": b"mine\n"}
    try:
        while part := os.read(ours, 1 << 16):
            shown += part
            for asked in [asked for asked in answers if asked in shown]:
                if asked == b"key (":  # what is typed before the terminal is silent is thrown away
                    until(lambda: not termios.tcgetattr(ours)[3] & termios.ECHO, "silence of the terminal")
                os.write(ours, answers.pop(asked))
    except OSError:  # what a terminal says when the other side is gone
        pass
    os.close(ours)

    assert process.wait(60) == 1
    assert answers == {}
    assert b"nothing answers at http://127.0.0.1:1" in shown
    assert b"sk-canary-7" not in shown
