"""``mlcommons predict``: vectors of texts from the command line."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from mlcommons_py.cli import show
from mlcommons_py.cli.client import ML, Client, Refused
from mlcommons_py.errors import IllegalArgument, NotFound

SAMPLE = "The quick brown fox jumps over the lazy dog."


_EMBEDS = (None, "TEXT_EMBEDDING", "SPARSE_ENCODING", "SPARSE_TOKENIZE")
_HINT = (
    "this command sends texts to be embedded; to a model that takes something else, as a chat model or a reranker does,"
    """ send parameters: mlcommons predict MODEL --parameters '{"prompt": "…"}'"""
)


def predict(
    client: Client,
    words: Sequence[str],
    file: Path | None,
    content_type: str | None,
    *,
    parameters: str | None = None,
    as_json: bool,
) -> None:
    """Embed texts and print the vectors, or send parameters and print what came.

    ``words`` are a model, by id or name, and texts. Where the only word is no model it is a text, for the model that
    was deployed last; without any text, and without ``parameters``, a JSON object, a sample sentence is embedded.

    Raises:
        NotFound: there is no such model, or none is deployed.
        IllegalArgument: the file cannot be read, or is empty; the parameters are no JSON object.
    """
    given = None if parameters is None else _object(parameters)
    model, texts = _choose(client, list(words), has_file=file is not None)
    if file is not None:
        texts += _lines(file)
        if not texts:
            raise IllegalArgument(f"{file} has no text in it")
    sample = not texts and given is None
    if sample:
        texts = [SAMPLE]
        if content_type is None and _is_asymmetric(model):
            content_type = "query"
    body: dict[str, Any] = {}
    if texts:
        body = {"text_docs": texts, "return_number": True, "target_response": ["sentence_embedding"]}
    if given is not None or content_type is not None:
        body["parameters"] = {**({} if content_type is None else {"content_type": content_type}), **(given or {})}
    path = f"{ML}/models/{model['id']}/_predict"
    began = time.perf_counter()
    try:
        answer = client.patiently(lambda: client.call("POST", path, body))
    except Refused:
        if given is None and model.get("algorithm") not in _EMBEDS:
            show.note(_HINT)
        raise
    seconds = time.perf_counter() - began
    if as_json:
        show.as_json(answer, compact=True)
        return
    show.say(f"model {model.get('name')} version {model.get('model_version')} ({model['id']})")
    if sample:
        show.say("no text was given, so this is a sample sentence:")
    _show([tensor for entry in answer["inference_results"] for tensor in entry["output"]], texts)
    what = f"{len(texts)} {'text' if len(texts) == 1 else 'texts'}" if texts else "answered"
    show.say(f"{what} in {1000 * seconds:.1f} ms")


def _show(tensors: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> None:
    """Print vectors beside the texts they are of; a provider's come in one entry, and it may answer anything."""
    titles = texts if len(texts) == len(tensors) else [str(tensor.get("name")) for tensor in tensors]
    for title, tensor in zip(titles, tensors, strict=True):
        data = tensor.get("data")
        if isinstance(data, list) and data and all(isinstance(value, int | float) for value in data):
            show.vector(title, data)
        else:
            show.as_json(tensor.get("dataAsMap", tensor))


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


def _object(text: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as fault:
        raise IllegalArgument(f"--parameters is no JSON: {fault}") from fault
    if not isinstance(value, dict):
        raise IllegalArgument("--parameters must be a JSON object")
    return value


def _is_asymmetric(model: Mapping[str, Any]) -> bool:
    config = model.get("model_config") or {}
    return bool(config.get("query_prefix") or config.get("passage_prefix"))


def _lines(file: Path) -> list[str]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise IllegalArgument(f"cannot read {file}: {fault}") from fault
    return [line for line in text.splitlines() if line.strip()]
