"""Builds CTranslate2 encoders from named weights, of any family alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from ctranslate2.specs import ModelSpec, common_spec, transformer_spec
from numpy.typing import NDArray

from mlcommons_py.artifacts.checkpoint import Architecture
from mlcommons_py.artifacts.families import FAMILIES, Family, supported
from mlcommons_py.artifacts.weights import NORM, POSITIONS, RELATIVE, TYPES, WORDS, Weights
from mlcommons_py.errors import InvalidModel

_ACTIVATIONS = {
    "gelu": common_spec.Activation.GELU,
    "gelu_python": common_spec.Activation.GELU,
    "relu": common_spec.Activation.RELU,
    "gelu_new": common_spec.Activation.GELUTanh,
    "gelu_fast": common_spec.Activation.GELUTanh,
    "gelu_pytorch_tanh": common_spec.Activation.GELUTanh,
    "silu": common_spec.Activation.SWISH,
    "swish": common_spec.Activation.SWISH,
    "tanh": common_spec.Activation.Tanh,
}

_BUCKETS_REACH = 128


@dataclass(frozen=True, slots=True)
class Encoder:
    """A CTranslate2 specification with all its weights.

    Attributes:
        spec: a ``TransformerEncoderModelSpec``.
        hidden_size, vocab_size, max_positions, token_types, positions_as_types: as in a manifest.
    """

    spec: Any
    hidden_size: int
    vocab_size: int
    max_positions: int
    token_types: int
    positions_as_types: int | None


def build(
    architecture: Architecture, tensors: Mapping[str, NDArray[Any]], prefix: str, *, writable: bool = False
) -> Encoder:
    """Build the encoder whose weights are the float arrays under ``prefix``.

    With ``writable`` each weight is a copy of its own, which quantization may change in place.

    Raises:
        InvalidModel: the family or its activation is unknown, or tensors are missing, left over, of the wrong shape or
            not finite.
    """
    if architecture.family not in FAMILIES:
        raise InvalidModel(f"the architecture {architecture.family!r} is not supported; {supported()}")
    family = FAMILIES[architecture.family]
    if architecture.activation not in _ACTIVATIONS:
        raise InvalidModel(
            f"the activation {architecture.activation!r} is not supported; there are {', '.join(_ACTIVATIONS)}"
        )
    weights = Weights(tensors, prefix, writable=writable)
    weights.check(family, architecture)
    relative = family.second == "positions"
    encoder = transformer_spec.TransformerEncoderSpec(
        architecture.layers,
        architecture.heads,
        pre_norm=False,
        activation=_ACTIVATIONS[architecture.activation],
        num_source_embeddings=1 if family.second is None else 2,
        embeddings_merge=common_spec.EmbeddingsMerge.ADD,
        layernorm_embedding=True,
        relative_attention_bias=relative,
    )
    encoder.scale_embeddings = False
    encoder.embeddings[0].weight = weights[WORDS + ".weight"]
    vocab_size, hidden_size = encoder.embeddings[0].weight.shape
    positions = weights[POSITIONS + ".weight"]
    first = architecture.pad_id + 1 if family.behind_padding else 0
    token_types = 0
    if family.second == "types":
        encoder.embeddings[1].weight = weights[TYPES + ".weight"]
        token_types = encoder.embeddings[1].weight.shape[0]
    elif relative:
        encoder.embeddings[1].weight = positions
    if not relative:
        encoder.position_encodings.encodings = positions[first:]
    _norm(encoder.layernorm_embedding, weights, NORM)
    bias = weights[RELATIVE] if relative else None
    for number, layer in enumerate(encoder.layer):
        _layer(layer, weights, family, family.layer.format(number), bias)
    spec = transformer_spec.TransformerEncoderModelSpec(encoder)
    spec.config.layer_norm_epsilon = architecture.layer_norm_eps
    return Encoder(
        spec=spec,
        hidden_size=hidden_size,
        vocab_size=vocab_size,
        max_positions=positions.shape[0] - first,
        token_types=token_types,
        positions_as_types=first if relative else None,
    )


def save(encoder: Encoder, directory: Path, compute_type: str, most_bytes: int) -> None:
    """Write ``model.bin``, ``config.json`` and ``vocabulary.json``, the weights in float32 or int8.

    Raises:
        InvalidModel: the weights take more than ``most_bytes``: they are the same bytes many times over.
    """
    spec = encoder.spec
    # CTranslate2 wants as many names as ids, but texts reach it as ids only, so that any names do.
    tokens = [f"<{number}>" for number in range(encoder.vocab_size)]
    spec.config.unk_token = tokens[0]
    spec.register_vocabulary(tokens)
    spec.validate()
    size = sum(value.num_bytes() for value in spec.variables().values())
    if size > most_bytes:
        raise InvalidModel(f"the weights take {size} bytes, more than their file can hold; the file is malformed")
    spec.optimize(quantization="int8" if compute_type == "int8" else None)
    for variable in spec.variables().values():
        if not isinstance(variable, str):  # the name of another that is equal
            variable.to_bytes = partial(np.ascontiguousarray, variable.numpy())  # as it lies, without a copy
    ModelSpec.save(spec, str(directory))  # all but the vocabulary, of which it would write each name by itself
    (directory / "vocabulary.json").write_bytes(orjson.dumps(tokens))


def _layer(layer: Any, weights: Weights, family: Family, at: str, bias: NDArray[np.float32] | None) -> None:
    attention, network = layer.self_attention, layer.ffn
    heads = [at + name for name in (family.query, family.key, family.value)]
    attention.linear[0].weight = np.concatenate([weights[name + ".weight"] for name in heads])
    attention.linear[0].bias = np.concatenate([weights[name + ".bias"] for name in heads])
    _linear(attention.linear[1], weights, at + family.attended)
    _norm(attention.layer_norm, weights, at + family.attended_norm)
    if bias is not None:
        attention.relative_attention_bias = bias
        attention.relative_attention_max_distance = np.int32(_BUCKETS_REACH)
    _linear(network.linear_0, weights, at + family.widen)
    _linear(network.linear_1, weights, at + family.narrow)
    _norm(network.layer_norm, weights, at + family.narrow_norm)


def _linear(spec: Any, weights: Weights, name: str) -> None:
    spec.weight = weights[name + ".weight"]
    spec.bias = weights[name + ".bias"]


def _norm(spec: Any, weights: Weights, name: str) -> None:
    spec.gamma = weights[name + ".weight"]
    spec.beta = weights[name + ".bias"]
