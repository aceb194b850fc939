"""What a model is asked for, in the forms that ML Commons knows (``MLInput.java``)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from mlcommons_py.errors import IllegalArgument

_EACH = 200
"""Characters that cost about as much as a value, which may be a request of its own."""


@dataclass(frozen=True, slots=True)
class ModelInput:
    """The input of a predict of a remote model.

    Attributes:
        algorithm: the function name that the request's path or the model names, such as ``REMOTE``.
        parameters: as they were sent; None where none were.
        text_docs: texts to embed, or to compare with ``query_text``; None where none were sent.
        question, context: of question answering.
        action_type: upper case, as the interface's schemas see it; None where the request does not say.
        raw: the body as it was sent.
    """

    algorithm: str = "REMOTE"
    parameters: Mapping[str, Any] | None = None
    text_docs: Sequence[str | None] | None = None
    query_text: str | None = None
    question: str | None = None
    context: str | None = None
    action_type: str | None = None
    raw: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, body: Mapping[str, Any], algorithm: str, max_texts: int) -> Self:
        """Return the input that a body holds, with so many texts at most.

        Raises:
            IllegalArgument: a field is of the wrong type; the text names it, with its place in the list. Or what the
                algorithm works on is missing.
        """
        parameters = body.get("parameters")
        if parameters is not None and not isinstance(parameters, Mapping):
            raise IllegalArgument(f"[parameters] must be an object, not {type(parameters).__name__}")
        given = cls(
            algorithm=algorithm,
            parameters=parameters,
            text_docs=_texts(body.get("text_docs"), max_texts),
            query_text=_text("query_text", body.get("query_text")),
            question=_text("question", body.get("question")),
            context=_text("context", body.get("context")),
            raw=body,
        )
        given._check_whole()
        return given

    def _check_whole(self) -> None:
        """Refuse an input without what its algorithm works on: a request's path may name one for a remote model."""
        match self.algorithm:
            case "TEXT_SIMILARITY" if self.query_text is None:
                raise IllegalArgument("No query text was provided")
            case "TEXT_SIMILARITY" if not self.text_docs:
                raise IllegalArgument("No text documents were provided")
            case "QUESTION_ANSWERING" if not self.question:
                raise IllegalArgument("Question is not provided")
            case "QUESTION_ANSWERING" if not self.context:
                raise IllegalArgument("Context is not provided")
            case "TEXT_EMBEDDING" | "SPARSE_ENCODING" | "SPARSE_TOKENIZE" if not self.text_docs:
                raise IllegalArgument("Empty text docs")

    def as_json(self) -> dict[str, Any]:
        """Return what an interface's schema is held against."""
        shown: dict[str, Any] = {"algorithm": self.algorithm}
        for name in ("parameters", "text_docs", "query_text", "question", "context", "action_type"):
            value = getattr(self, name)
            if value is not None:
                shown[name] = value
        return shown

    def asked(self) -> str | None:
        """Return the question of a chat, which a guard that is a model judges; None where there is none."""
        question = (self.parameters or {}).get("question", self.question)
        return question if isinstance(question, str) else None

    def is_big(self, most: int) -> bool:
        """Return whether making requests of it costs more than handling so many characters."""
        docs = self.text_docs or ()
        cost = _EACH * len(docs) + sum([len(one) for one in docs if one is not None])
        left: list[Any] = [
            one for one in (self.query_text, self.question, self.context, self.parameters) if one is not None
        ]
        while left and cost <= most:
            value = left.pop()
            if isinstance(value, str):
                cost += len(value)
            elif isinstance(value, Mapping):
                left.extend(value.values())
            elif isinstance(value, list | tuple):
                left.extend(value)
            cost += _EACH
        return cost > most


def _texts(given: Any, most: int) -> Sequence[str | None] | None:
    if given is None:
        return None
    if not isinstance(given, list):
        raise IllegalArgument(f"[text_docs] must be a list of strings, not {type(given).__name__}")
    if len(given) > most:
        raise IllegalArgument(
            f"[text_docs] has {len(given)} texts, {most} are taken at once; send them in several requests"
        )
    return tuple(
        [one if isinstance(one, str) else _text(f"text_docs[{position}]", one) for position, one in enumerate(given)]
    )


def _text(field: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    raise IllegalArgument(f"[{field}] must be a string, not {type(value).__name__}")
