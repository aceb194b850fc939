"""Tensors of what providers answer: vectors, scores and texts.

Forms and texts are those of ``EmbeddingPostProcessFunction.java``, ``BedrockEmbeddingPostProcessFunction.java``,
``CohereRerankPostProcessFunction.java`` and ``BedrockRerankPostProcessFunction.java``.
"""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from mlcommons_py.errors import IllegalArgument
from mlcommons_py.remote.provider import Tensor

_USUAL = frozenset((float, int))
_NO_VECTOR = "The embedding should be a non-empty List containing Float values."


def vectors(found: Any, data_type: str = "FLOAT32") -> list[Tensor]:
    """Return a tensor for each of a list of vectors.

    Raises:
        IllegalArgument: it is no list of lists of numbers.
    """
    entries = a_list(found)
    if entries and not isinstance(entries[0], list):
        raise IllegalArgument("The embedding should be a non-empty List containing List of Float values.")
    return [_vector(entry, data_type) for entry in entries]


def vector(found: Any, data_type: str = "FLOAT32") -> list[Tensor]:
    """Return the tensor of one vector, alone in a list.

    Raises:
        IllegalArgument: it is no list of numbers.
    """
    return [_vector(a_list(found), data_type)]


def _vector(entry: Any, data_type: str) -> Tensor:
    kinds = set(map(type, entry)) if isinstance(entry, list) else ()
    if not kinds or not (_USUAL.issuperset(kinds) or all(map(_is_number, kinds))):
        raise IllegalArgument(_NO_VECTOR)
    return {"name": "sentence_embedding", "data_type": data_type, "shape": [len(entry)], "data": entry}


def _is_number(kind: type) -> bool:
    return issubclass(kind, Real) and not issubclass(kind, bool)


def in_order(found: Sequence[Any], entries: Sequence[Any]) -> Sequence[Any]:
    """Return what was found in the order of the texts, which a provider need not keep.

    Args:
        found: something of each entry, in the entries' order.
        entries: objects whose ``index`` counts the texts from 0; where one does not, what was found stays as it is.
    """
    numbers: list[Any] = [entry.get("index") if isinstance(entry, dict) else None for entry in entries]
    every = range(len(found))
    if not all(type(number) is int for number in numbers) or sorted(numbers) != list(every):
        return found
    return [found[at] for at in sorted(every, key=numbers.__getitem__)]


def scores(found: Any, score: str = "relevance_score", index: str = "index") -> list[Tensor]:
    """Return a tensor for the score of each document, in the documents' order.

    Args:
        found: objects with the two fields, in any order.
        score: the field of the score.
        index: the field that counts the documents from 0.

    Raises:
        IllegalArgument: the objects lack a field, or do not stand for the documents 0, 1, 2 and so on.
    """
    entries = a_list(found)
    ordered: dict[int, Any] = {}
    for entry in entries:
        if not isinstance(entry, dict):
            raise IllegalArgument("Post process function input is not a List of Map.")
        if index not in entry or score not in entry:
            raise IllegalArgument(f"The rerank result should contain {index} and {score}.")
        if not _is_number(type(entry[score])):
            raise IllegalArgument(f"{score} is not a number.")
        ordered[_position(entry[index], index)] = entry[score]
    if sorted(ordered) != list(range(len(entries))):
        raise IllegalArgument(
            f"The rerank result has {len(entries)} scores, but not of the documents 0 to {len(entries) - 1}. "
            "Let the provider score every document."
        )
    return [similarity(ordered[number]) for number in range(len(ordered))]


def _position(value: Any, index: str) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise IllegalArgument(f"{index} [{value}] of the rerank result is not a number.") from None


def similarity(score: Any) -> Tensor:
    """Return the tensor of one score."""
    return {"name": "similarity", "data_type": "FLOAT32", "shape": [1], "data": [float(score)]}


def text(found: Any, key: str = "response") -> list[Tensor]:
    """Return the tensor of a generated text: a map of ``key`` to it.

    Raises:
        IllegalArgument: it is no text.
    """
    if not isinstance(found, str):
        raise IllegalArgument(f"The answer should have a text, not a value of the type {type(found).__name__}.")
    return [mapped({key: found})]


def weights(found: Any) -> list[Tensor]:
    """Return one tensor with the tokens' weights of every text, keyed by the tokens' ids, as sparse models answer.

    Raises:
        IllegalArgument: it is no list that has for each text a list of objects with ``index`` and ``value``.
    """
    try:
        of_texts = [{str(token["index"]): token["value"] for token in text} for text in a_list(found)]
    except (TypeError, KeyError):
        raise IllegalArgument("The answer should be a list of lists of objects with index and value.") from None
    return [{"name": "output", "dataAsMap": {"response": of_texts}}]


def mapped(values: Mapping[str, Any]) -> Tensor:
    """Return the tensor of an object."""
    return {"name": "response", "dataAsMap": values}


def a_list(found: Any) -> Sequence[Any]:
    """Return what was found.

    Raises:
        IllegalArgument: it is no list.
    """
    if found is None:
        raise IllegalArgument("Can't run post process function as model output is null")
    if not isinstance(found, list):
        raise IllegalArgument("Post process function input is not a List.")
    return found
