"""Holding the texts of a local model, and its answers, to the model's interface and guardrails."""

from collections.abc import Mapping
from typing import Any

import orjson

from mlcommons_py.guard.guards import Guards
from mlcommons_py.inference.text_docs import TextDocs
from mlcommons_py.models.documents import Model
from mlcommons_py.models.interface import Interfaces


class Promises:
    """What models promise of themselves."""

    def __init__(self, interfaces: Interfaces, guards: Guards) -> None:
        self._interfaces = interfaces
        self._guards = guards

    async def check_request(self, model: Model, body: Mapping[str, Any], docs: TextDocs) -> None:
        """Let a request pass that fits the interface.

        Raises:
            BadRequest: it does not.
        """
        interface = self._interfaces.of(model.interface)
        if interface is not None:
            await interface.check_input(_instance(model, body, docs))

    async def check_texts(self, model_id: str, model: Model, docs: TextDocs) -> None:
        """Let texts pass, which are judged together, one a line.

        Raises:
            IllegalArgument: a guardrail refuses them.
        """
        guard = self._guards.of(model.guardrails, model_id)
        if guard is not None:
            await guard.check("input", "\n".join(text for text in docs.texts if text is not None))

    async def check_answer(self, model_id: str, model: Model, answer: Mapping[str, Any]) -> None:
        """Let an answer pass that fits the interface, and whose JSON the guardrails accept.

        Raises:
            BadRequest: it does not fit.
            IllegalArgument: a guardrail refuses it.
        """
        interface = self._interfaces.of(model.interface)
        guard = self._guards.of(model.guardrails, model_id)
        if interface is not None:
            await interface.check_output(answer)
        if guard is not None and guard.watches("output"):
            await guard.check("output", orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY).decode())


def _instance(model: Model, body: Mapping[str, Any], docs: TextDocs) -> dict[str, Any]:
    """Return what a schema is held against (``MLInput.java``)."""
    parameters = body.get("parameters")
    wanted = docs.filter
    shown = {"algorithm": model.algorithm, **({} if parameters is None else {"parameters": parameters})}
    shown |= {
        "text_docs": list(docs.texts),
        "return_bytes": wanted.return_bytes,
        "return_number": wanted.return_number,
    }
    if wanted.names:
        shown["target_response"] = sorted(wanted.names)
    if wanted.positions:
        shown["target_response_positions"] = sorted(wanted.positions)
    return shown
