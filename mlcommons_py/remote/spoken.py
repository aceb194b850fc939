"""What is said to a provider, and what it says, as it is read: the texts that guardrails judge.

A guardrail must see what the other side reads, and not only how that is written down: a form's ``a+%C3%A9``, a value in
the URL, an answer whose character set is told in two ways.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from mlcommons_py import exact
from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote import charsets, filling, headers
from mlcommons_py.remote.documents import Connector
from mlcommons_py.remote.exchange import Incoming
from mlcommons_py.remote.functions import Functions
from mlcommons_py.remote.input import ModelInput
from mlcommons_py.remote.outputs import text_of
from mlcommons_py.remote.payload import Prepared, prepare

_SHORT = 8
"""Characters of a number that says nothing by itself, such as a temperature."""


def said(prepared: Prepared) -> list[str]:
    """Return the texts of a request: its body, and what that does not show as it is read.

    These are the body with its values decoded, where it is a form or XML, and the values that the request puts into the
    URL and the headers. What the connector itself has there is left out.
    """
    texts = [prepared.payload]
    read = charsets.reading(headers.content_type(prepared.outgoing.headers))
    if read is not None:
        texts.append(read(prepared.payload))
    action = prepared.action
    in_url = filling.given(action.url, prepared.parameters)
    texts.append(in_url)
    if "%2F" in in_url.upper():  # such a value is taken to be encoded already
        texts.append(unquote(in_url))
    fields = (action.headers or {}).values()
    texts.append("\n".join(filter(None, (filling.given(one, prepared.parameters) for one in fields if one))))
    return [texts[0], *dict.fromkeys(text for text in texts[1:] if text and text != texts[0])]


def asks_alone(
    prepared: Sequence[Prepared],
    connector: Connector,
    action: str,
    asked: ModelInput,
    credential: Mapping[str, str],
    functions: Functions,
) -> bool:
    """Return whether the parameter ``question`` is all that the input put into the requests that were made of it."""
    given = asked.parameters or {}
    if not isinstance(given.get("question"), str):
        return False
    bare = {name: value for name, value in given.items() if name == "question" or _says_nothing(value)}
    if asked.text_docs is None and asked.question is None and len(bare) == len(given):
        return True
    try:
        alone = prepare(connector, action, ModelInput(asked.algorithm, bare), credential, functions)
    except IllegalArgument:
        return False
    return [one.outgoing for one in alone] == [one.outgoing for one in prepared]


def _says_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, bool | int | float) and len(exact.dumps(value)) <= _SHORT)


def shown(incoming: Incoming, prepared: Prepared | None = None) -> list[str]:
    """Return the texts that an answer may be shown as: in the character set that it claims, and in UTF-8."""
    texts = [text_of(incoming, prepared)]
    try:
        texts.append(incoming.body.decode())
    except UnicodeDecodeError:
        return texts
    return list(dict.fromkeys(texts))
