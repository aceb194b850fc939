"""The body of a predict over texts: ``text_docs``, what of the answer is wanted, and the kind of text it is.

Names and rules are those of ``TextDocsInputDataSet``, ``ModelResultFilter`` and
``AsymmetricTextEmbeddingParameters``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from mlcommons_py import fields
from mlcommons_py.errors import IllegalArgument


class ContentType(StrEnum):
    """Whether a text asks or answers, for models that embed the two differently."""

    QUERY = "QUERY"
    PASSAGE = "PASSAGE"


@dataclass(frozen=True, slots=True)
class ResultFilter:
    """What of the answer is wanted.

    Attributes:
        return_number: whether tensors come as numbers.
        return_bytes: whether they come as base64 of their bytes.
        names, positions: tensors to keep, by name or by place; empty for all.
    """

    return_number: bool = True
    return_bytes: bool = False
    names: frozenset[str] = frozenset()
    positions: frozenset[int] = frozenset()

    def keeps(self, name: str, position: int) -> bool:
        """Return whether a tensor is wanted."""
        if not self.names and not self.positions:
            return True
        return name in self.names or position in self.positions

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Self:
        """Return the filter of a body, given flat or under ``result_filter``.

        Raises:
            IllegalArgument: a field is of the wrong type.
        """
        given = {**body, **(fields.mapping(body, "result_filter") or {})}
        numbers, packed = fields.boolean(given, "return_number"), fields.boolean(given, "return_bytes")
        positions = given.get("target_response_positions") or []
        if not isinstance(positions, list) or not all(type(one) is int for one in positions):
            raise IllegalArgument("[target_response_positions] must be a list of whole numbers")
        return cls(
            return_number=True if numbers is None else numbers,
            return_bytes=False if packed is None else packed,
            names=frozenset(fields.texts(given, "target_response") or ()),
            positions=frozenset(positions),
        )


@dataclass(frozen=True, slots=True)
class TextDocs:
    """Texts to embed.

    Attributes:
        texts: None where the caller sent null; it gets an empty entry in its place.
        content_type: None where the caller did not say.
    """

    texts: tuple[str | None, ...]
    filter: ResultFilter
    content_type: ContentType | None
    has_parameters: bool

    @classmethod
    def of(cls, body: Mapping[str, Any], max_texts: int, max_text_chars: int) -> Self:
        """Return the texts of a body.

        Raises:
            IllegalArgument: a field is missing or wrong; the text names it, with its place in the list.
        """
        given = body.get("text_docs")
        if given is None or given == []:
            raise IllegalArgument("Empty text docs")
        if not isinstance(given, list):
            raise IllegalArgument(f"[text_docs] must be a list of strings, not {type(given).__name__}")
        if len(given) > max_texts:
            raise IllegalArgument(
                f"[text_docs] has {len(given)} texts, {max_texts} are taken at once; send them in several requests"
            )
        parameters = fields.mapping(body, "parameters")
        return cls(
            texts=tuple(_text(position, one, max_text_chars) for position, one in enumerate(given)),
            filter=ResultFilter.of(body),
            content_type=_content_type(parameters),
            has_parameters=parameters is not None,
        )


def _text(position: int, value: object, max_chars: int) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if not isinstance(value, str):
        raise IllegalArgument(f"[text_docs[{position}]] must be a string, not {type(value).__name__}")
    if len(value) > max_chars:
        raise IllegalArgument(
            f"[text_docs[{position}]] has {len(value)} characters, {max_chars} are allowed; split it into passages"
        )
    if "\0" in value:
        raise IllegalArgument(f"[text_docs[{position}]] has a NUL character; remove it")
    return value


def _content_type(parameters: Mapping[str, Any] | None) -> ContentType | None:
    if parameters is None:
        return None
    name = fields.text(parameters, "content_type")
    if name is None:
        return None
    try:
        return ContentType(name.upper())
    except ValueError as fault:
        raise IllegalArgument(
            "No enum constant org.opensearch.ml.common.input.parameter.textembedding."
            f"AsymmetricTextEmbeddingParameters.EmbeddingContentType.{name.upper()}"
        ) from fault
