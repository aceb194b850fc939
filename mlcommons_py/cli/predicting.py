"""``mlcommons predict``: vectors of texts from the command line."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlcommons_py.cli import show
from mlcommons_py.cli.client import ML, Client
from mlcommons_py.errors import IllegalArgument, NotFound

SAMPLE = "The quick brown fox jumps over the lazy dog."


def predict(
    client: Client, words: Sequence[str], file: Path | None, content_type: str | None, *, as_json: bool
) -> None:
    """Embed texts and print the vectors.

    ``words`` are a model, by id or name, and texts. Where the only word is no model it is a text, for the model that
    was deployed last; without any text a sample sentence is embedded.

    Raises:
        NotFound: there is no such model, or none is deployed.
        IllegalArgument: the file cannot be read, or is empty.
    """
    model, texts = _choose(client, list(words), has_file=file is not None)
    if file is not None:
        texts += _lines(file)
        if not texts:
            raise IllegalArgument(f"{file} has no text in it")
    sample = not texts
    if sample:
        texts = [SAMPLE]
        if content_type is None and _is_asymmetric(model):
            content_type = "query"
    body: dict[str, Any] = {"text_docs": texts, "return_number": True, "target_response": ["sentence_embedding"]}
    if content_type is not None:
        body["parameters"] = {"content_type": content_type}
    path = f"{ML}/models/{model['id']}/_predict"
    began = time.perf_counter()
    answer = client.patiently(lambda: client.call("POST", path, body))
    seconds = time.perf_counter() - began
    if as_json:
        show.as_json(answer, compact=True)
        return
    show.say(f"model {model.get('name')} version {model.get('model_version')} ({model['id']})")
    if sample:
        show.say("no text was given, so this is a sample sentence:")
    for text, entry in zip(texts, answer["inference_results"], strict=True):
        show.vector(text, entry["output"][0]["data"])
    show.say(f"{len(texts)} {'text' if len(texts) == 1 else 'texts'} in {1000 * seconds:.1f} ms")


def _choose(client: Client, words: list[str], *, has_file: bool) -> tuple[dict[str, Any], list[str]]:
    if not words:
        return client.last_deployed(), []
    found = client.find(words[0], running=True)
    if found is not None:
        return found, words[1:]
    if len(words) > 1 or has_file:
        raise NotFound(
            f"there is no model {words[0]}; mlcommons models lists what there is (a text of several words needs quotes)"
        )
    return client.last_deployed(), words


def _is_asymmetric(model: Mapping[str, Any]) -> bool:
    config = model.get("model_config") or {}
    return bool(config.get("query_prefix") or config.get("passage_prefix"))


def _lines(file: Path) -> list[str]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise IllegalArgument(f"cannot read {file}: {fault}") from fault
    return [line for line in text.splitlines() if line.strip()]
