"""What a model is asked for, in the forms that ML Commons knows (``MLInput.java``)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


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
