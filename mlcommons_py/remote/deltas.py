"""Pieces of streamed answers, of the event forms that several providers share."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from mlcommons_py.errors import RemoteFailed
from mlcommons_py.remote.provider import Delta

_FINAL = ("stop", "length", "content_filter")


class Pairs:
    """Puts surrogate pairs together whose halves come in two pieces, as of servers that cut texts in UTF-16."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, piece: object, *, is_last: bool = False) -> str:
        """Take the next piece; return it whole, without the half that its other half may follow.

        Raises:
            RemoteFailed: it is no text, whatever the provider's file takes it for.
        """
        if not isinstance(piece, str):
            raise RemoteFailed(
                f"Error from remote service: a piece of its answer is no text but {type(piece).__name__}", 502
            )
        text, self._half = self._half + piece, ""
        if not is_last and "\ud800" <= text[-1:] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return whole(text)


def whole(text: str) -> str:
    r"""Return a text with its surrogate pairs joined, and U+FFFD in place of halves that have no other.

    >>> whole("\ud83d\ude80 \ud83d") == "\U0001f680 \ufffd"
    True
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def parsed(data: str) -> Any:
    """Return the JSON value of an event, or a :class:`Delta` with an error where it is no JSON.

    A piece that was lost would leave a text that nobody sees to be wrong, so it ends the stream. Halves of surrogate
    pairs stay: :class:`Pairs` joins them.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return json.loads(data, parse_constant=_refused)
        except (ValueError, RecursionError):
            return Delta(is_last=True, error=f"the remote service sent an event that is no JSON: {data[:200]}")


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _written(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # half of a surrogate pair
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def pick(value: Any, *way: str | int) -> Any:
    """Return what a value has at the end of a way of keys and positions, or None.

    >>> pick({"choices": [{"delta": {}}]}, "choices", 0, "delta", "content") is None
    True
    """
    for step in way:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and len(value) > step else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def failure(value: Any) -> Delta:
    """Return the end of a stream by an error, whose text is the value's ``message`` where it has one."""
    message = pick(value, "message")
    return Delta(is_last=True, error=message if isinstance(message, str) else _written(value))


def joined(parts: Any) -> str:
    """Return the text of content that is a text, or a list of parts with a ``text`` each."""
    if isinstance(parts, str):
        return parts
    return "".join(pick(part, "text") or "" for part in parts) if isinstance(parts, Sequence) else ""


def of_chat(_event: str, data: str) -> Delta | None:
    """Read an event of OpenAI's ``chat/completions`` (``HttpStreamingHandler.java``).

    Calls of tools come as their JSON, as upstream has them.
    """

    def content(choice: Any) -> str:
        calls = pick(choice, "delta", "tool_calls")
        return joined(pick(choice, "delta", "content")) + (_written(calls) if calls else "")

    return _of_choice(data, content)


def of_completion(_event: str, data: str) -> Delta | None:
    """Read an event of OpenAI's ``completions``."""
    return _of_choice(data, lambda choice: pick(choice, "text") or "")


def _of_choice(data: str, content_of: Callable[[Any], str]) -> Delta | None:
    if data == "[DONE]":
        return Delta(is_last=True)
    chunk = parsed(data)
    if isinstance(chunk, Delta):
        return chunk
    if (error := pick(chunk, "error")) is not None:
        return failure(error)
    choice = pick(chunk, "choices", 0)
    content, is_last = content_of(choice), pick(choice, "finish_reason") in _FINAL
    return Delta(content, is_last=is_last) if content or is_last else None


def of_messages(_event: str, data: str) -> Delta | None:
    """Read an event of Anthropic's ``messages``."""
    chunk = parsed(data)
    if isinstance(chunk, Delta):
        return chunk
    match pick(chunk, "type"):
        case "content_block_delta":
            content = pick(chunk, "delta", "text") or pick(chunk, "delta", "partial_json")
            return Delta(content) if content else None
        case "message_stop":
            return Delta(is_last=True)
        case "error":
            return failure(pick(chunk, "error"))
    return None


def of_tokens(_event: str, data: str) -> Delta | None:
    """Read an event of Hugging Face's text generation inference: a token, and the whole text beside the last."""
    chunk = parsed(data)
    if isinstance(chunk, Delta):
        return chunk
    if (error := pick(chunk, "error")) is not None:
        return failure({"message": error})
    content = "" if pick(chunk, "token", "special") else pick(chunk, "token", "text") or ""
    is_last = pick(chunk, "generated_text") is not None or pick(chunk, "details", "finish_reason") is not None
    return Delta(content, is_last=is_last)
