"""The guardrails of models: reading them, and holding texts to them."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from mlcommons_py.errors import IllegalArgument, MLCommonsError
from mlcommons_py.guard.guardrail import Guardrail, GuardrailType, Means, Said, Side
from mlcommons_py.guard.stream import GuardedStream

log = logging.getLogger(__name__)

DEFAULT_TYPE = "local_regex"

_SIDES: Mapping[str, Side] = {"input_guardrail": "input", "output_guardrail": "output"}
_REFUSALS: Mapping[Side, str] = {
    "input": "guardrails triggered for user input",
    "output": "guardrails triggered for LLM output",
}
_MOST_KEPT = 1000
_LONGEST_NAME = 100


class Guard:
    """A model's guardrails. They fail closed: a text that one of them could not judge is refused."""

    def __init__(self, sides: Mapping[Side, Guardrail], names: Mapping[Side, str], model_id: str | None = None) -> None:
        """Take the guardrails, what the log calls them, and the model they are of, as far as it is known."""
        self._sides = sides
        self._names = names
        self._model_id = model_id

    def named(self, model_id: str) -> "Guard":
        """Return the guard as that of a model."""
        return Guard(self._sides, self._names, model_id)

    def watches(self, side: Side) -> bool:
        """Return whether there is a guardrail on a side."""
        return side in self._sides

    async def check(
        self,
        side: Side,
        text: str,
        question: str | None = None,
        *,
        alone: bool = False,
        also: Sequence[str] = (),
    ) -> None:
        """Let a text pass: a request's body as it goes out, or an answer's as it came.

        Args:
            side: which way the text goes.
            text: what all guardrails judge, except for a model where the question is alone.
            question: the request's ``parameters.question``, which a model that judges is asked about, too.
            alone: whether the question is all that the request put into the text.
            also: other texts that go the same way.

        Raises:
            IllegalArgument: a guardrail refuses it, fails, or takes too long.
        """
        guardrail = self._sides.get(side)
        if guardrail is None:
            return
        try:
            async with asyncio.timeout(guardrail.seconds):
                accepted = await guardrail.accepts(Said(side, text, question, alone, also))
        except TimeoutError as fault:
            log.warning("%s took longer than %.0f s; the text is refused", self._named(side), guardrail.seconds)
            raise IllegalArgument(_REFUSALS[side]) from fault
        except Exception as fault:
            reason = fault.reason if isinstance(fault, MLCommonsError) else str(fault)
            what = type(fault).__name__
            log.warning("%s failed; the text is refused: %s: %.200s", self._named(side), what, reason)
            raise IllegalArgument(_REFUSALS[side]) from fault
        if not accepted:
            raise IllegalArgument(_REFUSALS[side])

    def _named(self, side: Side) -> str:
        model = "a model" if self._model_id is None else f"model {self._model_id}"
        return f"the guardrail [{self._names[side]}] on {side} of {model}"

    def stream(self) -> GuardedStream:
        """Return what the pieces of a streamed answer pass through."""
        guardrail = self._sides.get("output")

        async def check(text: str) -> None:
            await self.check("output", text)

        return GuardedStream(None if guardrail is None else check, whole=guardrail is not None and guardrail.whole)


class Guards:
    """The guardrails of all models, each made once."""

    def __init__(self, means: Means, types: Mapping[str, GuardrailType]) -> None:
        """Make guardrails of some types; ``means`` is what they work with."""
        self._means = means
        self._types = types
        self._kept: dict[bytes, Guard] = {}

    def of(self, stored: Mapping[str, Any] | None, model_id: str | None = None) -> Guard | None:
        """Return a model's guard; None where it has no guardrails. The log names the model by its id.

        Raises:
            IllegalArgument: they are not of the right form, which another service may have stored; the text says why.
        """
        if not stored:
            return None
        key = orjson.dumps(stored, option=orjson.OPT_SORT_KEYS)
        if key not in self._kept:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[key] = self._made(stored)
        return self._kept[key] if model_id is None else self._kept[key].named(model_id)

    def check(self, given: Any) -> None:
        """Let the ``guardrails`` of a model pass that can be used.

        Raises:
            IllegalArgument: a field is missing, wrong or unknown; the text names it.
        """
        if given is None:
            return
        if not isinstance(given, Mapping):
            raise IllegalArgument(f"[guardrails] must be an object, not {type(given).__name__}")
        self._made(given)

    def _made(self, given: Mapping[str, Any]) -> Guard:
        named = given.get("type")
        kind = self._types.get(DEFAULT_TYPE if named is None else str(named))
        if kind is None:
            raise IllegalArgument(
                "The type of guardrails is required, can not be null."
                f" [guardrails.type] is to be one of {', '.join(sorted(self._types))}."
            )
        _refuse_unknown(given, frozenset({"type", *_SIDES}), "guardrails")
        sides: dict[Side, Guardrail] = {}
        names: dict[Side, str] = {}
        for name, side in _SIDES.items():
            one = given.get(name)
            if one is None:
                continue
            field = f"guardrails.{name}"
            if not isinstance(one, Mapping):
                raise IllegalArgument(f"[{field}] must be an object, not {type(one).__name__}")
            _refuse_unknown(one, kind.fields, field)
            sides[side] = kind.make(one, self._means, field)
            judge = one.get("model_id")
            names[side] = kind.name if judge is None else f"{kind.name} {str(judge)[:_LONGEST_NAME]!r}"
        return Guard(sides, names)


def _refuse_unknown(given: Mapping[str, Any], known: frozenset[str], field: str) -> None:
    if unknown := sorted(given.keys() - known):
        raise IllegalArgument(f"[{field}] has the unknown field [{unknown[0]}]; it may have {', '.join(sorted(known))}")
