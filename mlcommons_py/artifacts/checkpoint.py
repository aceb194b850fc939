"""A model as its author saved it, read from whichever format: weights, shape, and the way to an embedding."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from numpy.typing import NDArray

from mlcommons_py.artifacts.manifest import Pooling, Step
from mlcommons_py.errors import InvalidModel

DENSE_ACTIVATIONS = {"Identity": "identity", "Tanh": "tanh", "ReLU": "relu", "GELU": "gelu"}
"""Activations of a Dense module, by their class in ``torch.nn``, as a manifest spells them."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """What the weights alone do not say of an encoder.

    Attributes:
        family: as ``model_type`` in a Hugging Face ``config.json`` spells it.
        layers: number of layers.
        heads: attention heads of a layer.
        activation: of the feed-forward network, as ``hidden_act`` spells it.
        layer_norm_eps: what is added to the variance in a layer norm.
        pad_id: the id that fills up a batch; RoBERTa's positions start behind it.
    """

    family: str
    layers: int
    heads: int
    activation: str
    layer_norm_eps: float
    pad_id: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model as its author saved it.

    Attributes:
        architecture: shape of the encoder.
        tensors: weights by the name they have in the file.
        prefix: what stands before ``embeddings.word_embeddings.weight`` in those names.
        inside: where the pipeline came from, as in a manifest.
        steps: from hidden states to the embedding.
        arrays: weights of the steps, by the file that a step names.
        max_length: tokens at which the model cuts a text; None where only ``tokenizer.json`` says it.
        longest: most tokens of a text, whatever ``tokenizer.json`` says; None for as many as its positions allow.
        lower_case: whether texts are put in lower case before the tokenizer sees them.
    """

    architecture: Architecture
    tensors: Mapping[str, NDArray[Any]]
    prefix: str
    inside: Literal["sentence_transformers", "huggingface_transformers"]
    steps: tuple[Step, ...]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    max_length: int | None = None
    longest: int | None = None
    lower_case: bool = False


def pooling(mode: Pooling) -> Step:
    """Return the step that makes one vector of a text's hidden states."""
    return Step("pooling", mode=mode)


def dense(
    number: int, weight: NDArray[Any], bias: NDArray[Any] | None, activation: str
) -> tuple[Step, dict[str, NDArray[Any]]]:
    """Return the step of a Dense module, and its arrays by the files that the step names.

    Raises:
        InvalidModel: the arrays do not fit each other.
    """
    if weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        shapes = f"{weight.shape} and {None if bias is None else bias.shape}"
        raise InvalidModel(f"Dense module {number} has a weight and a bias of the shapes {shapes}")
    names = {f"dense-{number}-weight.npy": weight}
    if bias is not None:
        names[f"dense-{number}-bias.npy"] = bias
    weight_name, *bias_name = names
    step = Step("dense", weight=weight_name, bias=bias_name[0] if bias_name else None, activation=activation)
    return step, names


def check_order(steps: tuple[Step, ...]) -> None:
    """Check that steps begin with the one pooling that there is.

    Raises:
        InvalidModel: they do not.
    """
    kinds = [step.kind for step in steps]
    if kinds[:1] != ["pooling"] or kinds.count("pooling") != 1:
        raise InvalidModel(f"the modules after the encoder are {', '.join(kinds) or 'none'}; one pooling must be first")
