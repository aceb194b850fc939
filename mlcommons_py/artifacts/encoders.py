"""Builds CTranslate2 encoders from named weights.

All families here are BERT's architecture, layer norms after each sub-layer, under different names; so there is one
builder, and a family is a row of :data:`FAMILIES`. The names are those of Hugging Face's ``transformers``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ctranslate2.specs import common_spec, transformer_spec
from numpy.typing import NDArray

from mlcommons_py.artifacts.checkpoint import Architecture
from mlcommons_py.errors import InvalidModel


@dataclass(frozen=True, slots=True)
class Family:
    """Where one family keeps its weights, and how it tells positions.

    Attributes:
        layer: prefix of a layer's names.
        query, key, value, attended, attended_norm: the attention, its output and the norm after it.
        widen, narrow, narrow_norm: the feed-forward network and the norm after it.
        second: what is added to a word's embedding beside its position: ``types``, nothing, or ``positions``, where
            the positions themselves go in as token types.
        behind_padding: whether position 0 is the row behind the padding id's.
        pad_id: the padding id where the model does not say it.
    """

    layer: str = "encoder.layer.{}."
    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    attended: str = "attention.output.dense"
    attended_norm: str = "attention.output.LayerNorm"
    widen: str = "intermediate.dense"
    narrow: str = "output.dense"
    narrow_norm: str = "output.LayerNorm"
    second: Literal["types", "positions"] | None = "types"
    behind_padding: bool = False
    pad_id: int = 0


_BERT = Family()
_ROBERTA = Family(behind_padding=True, pad_id=1)

FAMILIES: Mapping[str, Family] = {
    "bert": _BERT,
    "electra": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "distilbert": Family(
        layer="transformer.layer.{}.",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        attended="attention.out_lin",
        attended_norm="sa_layer_norm",
        widen="ffn.lin1",
        narrow="ffn.lin2",
        narrow_norm="output_layer_norm",
        second=None,
    ),
    # CTranslate2 drops absolute positions where a layer has a relative bias, as MPNet's have. Its position table
    # therefore takes the place of token types, and whoever runs the model passes positions as types.
    "mpnet": Family(
        query="attention.attn.q",
        key="attention.attn.k",
        value="attention.attn.v",
        attended="attention.attn.o",
        attended_norm="attention.LayerNorm",
        second="positions",
        behind_padding=True,
        pad_id=1,
    ),
}

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

_WORDS = "embeddings.word_embeddings"
_POSITIONS = "embeddings.position_embeddings"
_TYPES = "embeddings.token_type_embeddings"
_BUFFERS = {"embeddings.position_ids", "embeddings.token_type_ids"}
_BUCKETS = 32
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


def supported() -> str:
    """Return the clause of an error that lists what can be served."""
    return f"supported are {', '.join(sorted(FAMILIES))}"


def find_prefix(tensors: Mapping[str, object]) -> str:
    """Return what stands before the encoder's own names, such as ``bert.``.

    Raises:
        InvalidModel: there is no encoder among the names, or more than one.
    """
    suffix = _WORDS + ".weight"
    prefixes = [name.removesuffix(suffix) for name in tensors if name.endswith(suffix)]
    if len(prefixes) != 1:
        found = f"{len(prefixes)}: {', '.join(prefixes[:5])}" if prefixes else "none"
        raise InvalidModel(f"exactly one tensor must be called {suffix}, with any prefix; there are {found}")
    return prefixes[0]


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
    weights = _Weights(tensors, prefix, writable=writable)
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
    encoder.embeddings[0].weight = weights[_WORDS + ".weight"]
    vocab_size, hidden_size = encoder.embeddings[0].weight.shape
    positions = weights[_POSITIONS + ".weight"]
    first = architecture.pad_id + 1 if family.behind_padding else 0
    token_types = 0
    if family.second == "types":
        encoder.embeddings[1].weight = weights[_TYPES + ".weight"]
        token_types = encoder.embeddings[1].weight.shape[0]
    elif relative:
        encoder.embeddings[1].weight = positions
    if not relative:
        encoder.position_encodings.encodings = positions[first:]
    _norm(encoder.layernorm_embedding, weights, "embeddings.LayerNorm")
    bias = weights["encoder.relative_attention_bias.weight"] if relative else None
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
    spec.save(str(directory))


def _layer(layer: Any, weights: "_Weights", family: Family, at: str, bias: NDArray[np.float32] | None) -> None:
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


def _linear(spec: Any, weights: "_Weights", name: str) -> None:
    spec.weight = weights[name + ".weight"]
    spec.bias = weights[name + ".bias"]


def _norm(spec: Any, weights: "_Weights", name: str) -> None:
    spec.gamma = weights[name + ".weight"]
    spec.beta = weights[name + ".bias"]


class _Weights:
    """The encoder's weights by name, without the prefix, as float32."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]], prefix: str, *, writable: bool) -> None:
        self._prefix = prefix
        self._copy = True if writable else None
        self._arrays = {
            _today(name.removeprefix(prefix)): array for name, array in tensors.items() if name.startswith(prefix)
        }

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        array = np.array(self._arrays[name], np.float32, order="C", copy=self._copy)
        if not np.isfinite(array).all():
            raise InvalidModel(f"tensor {self._prefix}{name} has values that are not finite; the weights are damaged")
        return array

    def check(self, family: Family, architecture: Architecture) -> None:
        """Compare the weights there are with those the architecture has."""
        words = self._shape(_WORDS + ".weight")
        hidden = words[1] if len(words) == 2 else 0
        if not hidden or hidden % architecture.heads or not words[0]:
            raise InvalidModel(
                f"tensor {self._prefix}{_WORDS}.weight has the shape {list(words)}: its rows are not divisible among"
                f" {architecture.heads} attention heads"
            )
        needed = dict(self._needed(family, architecture, words[0], hidden))
        faults = []
        for name, shape in needed.items():
            if name not in self._arrays:
                faults.append(f"tensor {self._prefix}{name} is missing")
            elif self._shape(name) != shape:
                faults.append(f"tensor {self._prefix}{name} has the shape {list(self._shape(name))}, not {list(shape)}")
            elif self._arrays[name].dtype.kind != "f":
                faults.append(f"tensor {self._prefix}{name} has the type {self._arrays[name].dtype}, not a float")
        if not faults:
            roots = ("embeddings.", family.layer.split(".", 1)[0] + ".")
            strays = [name for name in self._arrays if name.startswith(roots) and name not in needed]
            faults = [f"tensor {self._prefix}{name} is not one of this architecture" for name in strays]
            faults = [fault for fault, name in zip(faults, strays, strict=True) if name not in _BUFFERS]
        if faults:
            more = f"; and {len(faults) - 8} more" if len(faults) > 8 else ""
            raise InvalidModel(
                f"the weights are not those of {architecture.family} with {architecture.layers} layers:"
                f" {'; '.join(faults[:8])}{more}"
            )
        first = architecture.pad_id + 1 if family.behind_padding else 0
        if self._shape(_POSITIONS + ".weight")[0] <= first:
            raise InvalidModel(f"tensor {self._prefix}{_POSITIONS}.weight has no row for a first position")

    def _shape(self, name: str) -> tuple[int, ...]:
        return self._arrays[name].shape if name in self._arrays else ()

    def _needed(
        self, family: Family, architecture: Architecture, words: int, hidden: int
    ) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield the name and the shape of each tensor; the lengths of the tables are those that the file has."""
        yield _WORDS + ".weight", (words, hidden)
        yield _POSITIONS + ".weight", (*self._shape(_POSITIONS + ".weight")[:1], hidden)
        if family.second == "types":
            yield _TYPES + ".weight", (*self._shape(_TYPES + ".weight")[:1], hidden)
        elif family.second == "positions":
            yield "encoder.relative_attention_bias.weight", (_BUCKETS, architecture.heads)
        yield from _pair("embeddings.LayerNorm", (hidden,), hidden)
        wide = next(iter(self._shape(family.layer.format(0) + family.widen + ".weight")), 0)
        for number in range(architecture.layers):
            at = family.layer.format(number)
            for name in (family.query, family.key, family.value, family.attended):
                yield from _pair(at + name, (hidden, hidden), hidden)
            yield from _pair(at + family.widen, (wide, hidden), wide)
            yield from _pair(at + family.narrow, (hidden, wide), hidden)
            for name in (family.attended_norm, family.narrow_norm):
                yield from _pair(at + name, (hidden,), hidden)


def _pair(name: str, shape: tuple[int, ...], outputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield name + ".weight", shape
    yield name + ".bias", (outputs,)


def _today(name: str) -> str:
    """Return the name that a tensor has today; checkpoints converted from TensorFlow call norms gamma and beta."""
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name
