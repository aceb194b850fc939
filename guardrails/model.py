"""Another model that judges texts (``ModelGuardrail.java``).

It is sent ``parameters.question``: on the output side the body of the answer; on the input side the question of the
request and, in a call of its own, the request's body, which is left out where the question is all that the request put
into it. Its ``dataAsMap.response``, as JSON, has to be what ``response_validation_regex`` describes as a
whole: for a text that includes the quotes.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from mlcommons_py import exact
from mlcommons_py.errors import IllegalArgument
from mlcommons_py.expressions import compiled
from mlcommons_py.guard import fields
from mlcommons_py.guard.guardrail import Guardrail, Means, Said

TYPE = "model"
FIELDS = frozenset({"model_id", "response_filter", "response_validation_regex"})

_SECONDS = 60.0
_asked: ContextVar[frozenset[str]] = ContextVar("asked", default=frozenset())


def make(given: Mapping[str, Any], means: Means, field: str) -> Guardrail:
    """Return the guardrail that an object with ``model_id`` and the rest describes.

    Raises:
        IllegalArgument: a field is missing or malformed, or the expression cannot be run by RE2.
    """
    return Judge(
        fields.required(given, "model_id", field),
        fields.text(given, "response_filter", field),
        compiled(fields.required(given, "response_validation_regex", field), f"{field}.response_validation_regex"),
        means,
    )


class Judge:
    """Refuses texts that another model does not accept."""

    seconds = _SECONDS
    whole = True

    def __init__(self, model_id: str, response_filter: str | None, accepted: Any, means: Means) -> None:
        self._model_id = model_id
        self._filter = response_filter
        self._accepted = accepted
        self._ask = means.ask

    async def accepts(self, said: Said) -> bool:
        """Return whether the model accepts the texts; an empty text it is not asked about.

        Raises:
            IllegalArgument: it is being asked already, on behalf of itself.
            LookupError, TypeError: its answer has no ``response``.
        """
        question = (said.question if said.side == "input" else None) or ""
        body = "" if question and said.alone else "\n".join(filter(None, said.texts))
        for text in filter(None, (question, body)):
            if not await self._accepts(text):
                return False
        return True

    async def _accepts(self, question: str) -> bool:
        asked = _asked.get()
        if self._model_id in asked:
            raise IllegalArgument(f"model {self._model_id} is a guardrail of itself")
        parameters = {"question": question}
        if self._filter is not None:
            parameters["response_filter"] = self._filter
        token = _asked.set(asked | {self._model_id})
        try:
            answer = await self._ask(self._model_id, parameters)
        finally:
            _asked.reset(token)
        response = answer["inference_results"][0]["output"][0]["dataAsMap"]["response"]
        return self._accepted.fullmatch(exact.dumps(response).decode()) is not None
