"""The weights of an encoder by name, and whether they are those of its architecture."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlcommons_py.artifacts.checkpoint import Architecture
from mlcommons_py.artifacts.families import Family
from mlcommons_py.errors import InvalidModel

WORDS = "embeddings.word_embeddings"
POSITIONS = "embeddings.position_embeddings"
TYPES = "embeddings.token_type_embeddings"
NORM = "embeddings.LayerNorm"
RELATIVE = "encoder.relative_attention_bias.weight"
_BUFFERS = {"embeddings.position_ids", "embeddings.token_type_ids"}
_BUCKETS = 32


def find_prefix(tensors: Mapping[str, object]) -> str:
    """Return what stands before the encoder's own names, such as ``bert.``.

    Raises:
        InvalidModel: there is no encoder among the names, or more than one.
    """
    suffix = WORDS + ".weight"
    prefixes = [name.removesuffix(suffix) for name in tensors if name.endswith(suffix)]
    if len(prefixes) != 1:
        found = f"{len(prefixes)}: {', '.join(prefixes[:5])}" if prefixes else "none"
        raise InvalidModel(f"exactly one tensor must be called {suffix}, with any prefix; there are {found}")
    return prefixes[0]


class Weights:
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
        words = self._shape(WORDS + ".weight")
        hidden = words[1] if len(words) == 2 else 0
        if not hidden or hidden % architecture.heads or not words[0]:
            raise InvalidModel(
                f"tensor {self._prefix}{WORDS}.weight has the shape {list(words)}: its rows are not divisible among"
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
        if self._shape(POSITIONS + ".weight")[0] <= first:
            raise InvalidModel(f"tensor {self._prefix}{POSITIONS}.weight has no row for a first position")

    def _shape(self, name: str) -> tuple[int, ...]:
        return self._arrays[name].shape if name in self._arrays else ()

    def _needed(
        self, family: Family, architecture: Architecture, words: int, hidden: int
    ) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Yield the name and the shape of each tensor; the lengths of the tables are those that the file has."""
        yield WORDS + ".weight", (words, hidden)
        yield POSITIONS + ".weight", (*self._shape(POSITIONS + ".weight")[:1], hidden)
        if family.second == "types":
            yield TYPES + ".weight", (*self._shape(TYPES + ".weight")[:1], hidden)
        elif family.second == "positions":
            yield RELATIVE, (_BUCKETS, architecture.heads)
        yield from _pair(NORM, (hidden,), hidden)
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
