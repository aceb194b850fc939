"""What a guardrail is, and what it may use. Each type is a file in ``guardrails/`` that has a name and makes one.

Such a file has ``TYPE``, the name as ``guardrails.type`` spells it, ``FIELDS``, what one side's object may have, and
``make``, a :class:`Maker`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Side = Literal["input", "output"]


@dataclass(frozen=True, slots=True)
class Said:
    """What a guardrail is to judge.

    Attributes:
        side: ``input`` for what goes into a model, ``output`` for what came out.
        text: the request's body as it goes out, or the answer's as it came.
        question: ``parameters.question`` of the request, as far as it has one.
        alone: whether the question is all that the request put into the text.
        also: other texts that go the same way, such as values in the URL.
    """

    side: Side
    text: str
    question: str | None = None
    alone: bool = False
    also: Sequence[str] = ()

    @property
    def texts(self) -> Sequence[str]:
        """The text and the others."""
        return (self.text, *self.also)


class Guardrail(Protocol):
    """Judges the texts of one side of a model.

    Attributes:
        seconds: how long it may take; a text that it did not judge by then is refused.
        whole: whether it judges whole texts only: a stream is then held back until its end.
    """

    seconds: float
    whole: bool

    async def accepts(self, said: Said) -> bool:
        """Return whether a text may pass. Whatever it raises refuses the text."""


@dataclass(frozen=True, slots=True)
class Means:
    """What guardrails work with.

    Attributes:
        search: returns a search's answer in an index, of its name and the body; raises where there is no such index.
        ask: returns the answer of ``_predict`` of another model, of its id and the parameters.
        pack: returns a pack of words and patterns of ``guardrails/`` by its name.
    """

    search: Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
    ask: Callable[[str, Mapping[str, str]], Awaitable[Mapping[str, Any]]]
    pack: Callable[[str], Mapping[str, Any]]


class Maker(Protocol):
    """Makes a guardrail of one side's object."""

    def __call__(self, given: Mapping[str, Any], means: Means, field: str) -> Guardrail:
        """Return the guardrail; ``field`` is how errors name the object.

        Raises:
            IllegalArgument: a field is missing, wrong or unknown.
        """


@dataclass(frozen=True, slots=True)
class GuardrailType:
    """A type of guardrails.

    Attributes:
        name: as ``guardrails.type`` has it.
        fields: what one side's object may have.
    """

    name: str
    fields: frozenset[str]
    make: Maker
