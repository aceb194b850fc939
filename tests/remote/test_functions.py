"""Finding functions: by name, or by a published Painless script."""

import pytest

from mlcommons_py import content
from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote.functions import Functions

FUNCTIONS = Functions(content.providers())
SCRIPTS = [(script, name) for provider in content.providers().values() for script, name in provider.painless.items()]


def test_by_name() -> None:
    """A function is found by its dotted name, blanks around it or not."""
    assert FUNCTIONS.pre("connector.pre_process.default.embedding\n").function.name.endswith("default.embedding")
    assert FUNCTIONS.post("connector.post_process.openai.embedding").function.path == "$.data[*].embedding"


@pytest.mark.parametrize(("script", "name"), SCRIPTS)
def test_by_script(script: str, name: str) -> None:
    """A published script is found whatever its blanks and comments, and is known to be one."""
    find = FUNCTIONS.pre if ".pre_process." in name else FUNCTIONS.post
    spread = "\n  // published\n" + script.replace(";", " ;\n\t/* a\ncomment */ ")

    assert find(spread).function.name == name
    assert find(spread).is_script


def test_what_looks_like_a_comment_in_a_text_is_none() -> None:
    """Two slashes between quotes begin no comment, so scripts that differ behind them differ."""
    script = "return 'https://' + params.a;"

    assert FUNCTIONS.known(script) is None
    assert Functions(content.providers()).known("return 'https:'") is None


def test_an_unknown_name_is_refused() -> None:
    """A name that is none is refused with those there are."""
    with pytest.raises(
        IllegalArgument, match=r"^\[connector\.pre_process\.x\] is no pre_process_function; there are .*openai"
    ) as raised:
        FUNCTIONS.pre("connector.pre_process.x")

    assert "post_process" not in raised.value.reason


@pytest.mark.parametrize("side", ["pre", "post"])
def test_an_unknown_script_is_refused(side: str) -> None:
    """A script that was not published is refused, with what to do in its place."""
    script = "return params.text_docs[0].toUpperCase();"
    with pytest.raises(IllegalArgument) as raised:
        (FUNCTIONS.pre if side == "pre" else FUNCTIONS.post)(script)

    assert f"[{side}_process_function] is a Painless script that is not one of those published" in raised.value.reason
    assert ("response_filter" if side == "post" else "request_body") in raised.value.reason
    assert script in raised.value.reason


def test_streams_and_batch_jobs() -> None:
    """What can be streamed is found by its interface's name in whatever case, batch jobs by their URL."""
    assert FUNCTIONS.streaming(" OpenAI/v1/chat/completions ") is not None
    assert FUNCTIONS.streaming("none") is None
    assert "openai/v1/chat/completions" in FUNCTIONS.interfaces()
    assert FUNCTIONS.jobs("https://api.openai.com/v1/batches") is not None
    assert FUNCTIONS.jobs("https://unknown.example/") is None
