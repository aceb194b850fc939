"""From hidden states to embeddings, in numpy.

Every text is cut out of its batch at its own length, so that what fills up the batch never reaches a result.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlcommons_py.artifacts.manifest import Step

Rows = NDArray[np.float32]
Transform = Callable[[Rows], Rows]

_SMALLEST_NORM = 1e-12


def _mean(hidden: Rows) -> Rows:
    return np.asarray(hidden.mean(0))


def _mean_sqrt_len(hidden: Rows) -> Rows:
    return np.asarray(hidden.sum(0) / np.sqrt(np.float32(len(hidden))))


def _max(hidden: Rows) -> Rows:
    return np.asarray(hidden.max(0))


def _weighted_mean(hidden: Rows) -> Rows:
    weights = np.arange(1, len(hidden) + 1, dtype=np.float32)
    return np.asarray((weights[:, None] * hidden).sum(0) / weights.sum())


def _first(hidden: Rows) -> Rows:
    return np.asarray(hidden[0])


def _last(hidden: Rows) -> Rows:
    return np.asarray(hidden[-1])


POOLINGS: dict[str, Callable[[Rows], Rows]] = {
    "mean": _mean,
    "mean_sqrt_len": _mean_sqrt_len,
    "max": _max,
    "weighted_mean": _weighted_mean,
    "cls": _first,
    "last_token": _last,
}
"""Functions from the hidden states of one text, ``[tokens, hidden]``, to one row, ``[hidden]``, both float32."""


def normalize(rows: Rows) -> Rows:
    """Return rows of length one; a row of zeros stays one."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), _SMALLEST_NORM))


_ACTIVATIONS: dict[str, Transform] = {
    "identity": lambda rows: rows,
    "tanh": lambda rows: np.asarray(np.tanh(rows)),
    "relu": lambda rows: np.maximum(rows, 0),
    "gelu": lambda rows: np.asarray(
        rows * 0.5 * (1 + np.vectorize(math.erf, otypes=[np.float32])(rows / np.sqrt(np.float32(2))))
    ),
}


def _dense(step: Step, directory: Path) -> Transform:
    weight = np.load(directory / str(step.weight), allow_pickle=False)
    bias = None if step.bias is None else np.load(directory / step.bias, allow_pickle=False)
    activate = _ACTIVATIONS[step.activation]

    def transform(rows: Rows) -> Rows:
        product = rows @ weight.T
        return activate(product if bias is None else product + bias)

    return transform


class Pipeline:
    """What a model does after its encoder: one pooling, then transforms of the pooled rows."""

    def __init__(self, steps: Sequence[Step], directory: Path) -> None:
        modes = [step.mode for step in steps if step.kind == "pooling"]
        if len(modes) != 1 or steps[0].kind != "pooling" or str(modes[0]) not in POOLINGS:
            raise ValueError(f"the steps of a model begin with one pooling of {sorted(POOLINGS)}, not {modes}")
        self._pool = POOLINGS[str(modes[0])]
        self._transforms = [
            normalize if step.kind == "normalize" else _dense(step, directory)
            for step in steps
            if step.kind != "pooling"
        ]

    def run(self, hidden: Rows, lengths: Sequence[int]) -> Rows:
        """Return the embeddings ``[texts, dimension]`` of hidden states ``[texts, width, hidden]``."""
        rows: Rows = np.stack([self._pool(one[:length]) for one, length in zip(hidden, lengths, strict=True)])
        for transform in self._transforms:
            rows = transform(rows)
        return rows.astype(np.float32, copy=False)


def steps_of(steps: Sequence[Step], pooling: str | None, normalized: bool | None) -> list[Step]:
    """Return a model's steps, or those that were asked for in their place.

    A bare encoder without a word on its pooling gets the mean, as Sentence Transformers gives it.
    """
    if pooling is None and steps:
        return list(steps)
    chosen = [Step(kind="pooling", mode=pooling or "mean")]  # type: ignore[arg-type]
    return [*chosen, Step(kind="normalize")] if normalized else chosen
