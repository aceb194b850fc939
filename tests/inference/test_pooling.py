"""From hidden states to embeddings."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mlcommons_py.artifacts.manifest import Pooling, Step
from mlcommons_py.inference.pooling import Pipeline, steps_of

HIDDEN = np.random.default_rng(3).normal(size=(3, 5, 4)).astype(np.float32)
LENGTHS = [5, 1, 3]


def naive(mode: str, rows: NDArray[np.float32]) -> list[float]:
    """Return a pooled text, by its formula."""
    columns = [[float(value) for value in column] for column in rows.T]
    if mode == "mean":
        return [sum(column) / len(column) for column in columns]
    if mode == "mean_sqrt_len":
        return [sum(column) / math.sqrt(len(column)) for column in columns]
    if mode == "max":
        return [max(column) for column in columns]
    if mode == "weighted_mean":
        weights = range(1, len(rows) + 1)
        return [sum(w * value for w, value in zip(weights, column, strict=True)) / sum(weights) for column in columns]
    return [column[0 if mode == "cls" else -1] for column in columns]


@pytest.mark.parametrize("mode", ["mean", "mean_sqrt_len", "max", "weighted_mean", "cls", "last_token"])
def test_pooling(mode: Pooling) -> None:
    """Each pooling is its formula over a text's own tokens; what fills up the batch has no part in it."""
    pipeline = Pipeline([Step("pooling", mode=mode)], Path())
    poisoned = HIDDEN.copy()
    for row, length in zip(poisoned, LENGTHS, strict=True):
        row[length:] = np.nan

    pooled = pipeline.run(poisoned, LENGTHS)

    expected: list[list[float]] = [naive(mode, row[:length]) for row, length in zip(HIDDEN, LENGTHS, strict=True)]
    np.testing.assert_allclose(pooled, np.array(expected), rtol=1e-5, atol=1e-6)
    assert pooled.dtype == np.float32


def test_normalize() -> None:
    """Rows are brought to length one; a row of zeros stays one of zeros."""
    pipeline = Pipeline([Step("pooling", mode="cls"), Step("normalize")], Path())
    hidden = np.array([[[3, 4]], [[0, 0]]], np.float32)

    np.testing.assert_allclose(pipeline.run(hidden, [1, 1]), [[0.6, 0.8], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("identity", lambda x: x),
        ("tanh", math.tanh),
        ("relu", lambda x: max(x, 0.0)),
        ("gelu", lambda x: x / 2 * (1 + math.erf(x / math.sqrt(2)))),
    ],
)
def test_dense(tmp_path: Path, activation: str, function: Callable[[float], float]) -> None:
    """A dense layer multiplies, adds its bias and applies its activation."""
    weight, bias = np.array([[1, 2], [0, -1], [3, 0]], np.float32), np.array([0.5, 0, -1], np.float32)
    np.save(tmp_path / "w.npy", weight)
    np.save(tmp_path / "b.npy", bias)
    step = Step("dense", weight="w.npy", bias="b.npy", activation=activation)
    pipeline = Pipeline([Step("pooling", mode="cls"), step], tmp_path)
    hidden = np.array([[[0.3, -0.2]], [[-1, 2]]], np.float32)

    expected = [[function(float(v)) for v in weight @ row[0] + bias] for row in hidden]

    np.testing.assert_allclose(pipeline.run(hidden, [1, 1]), np.array(expected), rtol=1e-5, atol=1e-6)


def test_steps_of() -> None:
    """The model's own steps hold unless others are asked for; a bare encoder is pooled by the mean."""
    own = [Step("pooling", mode="cls"), Step("normalize")]

    assert steps_of(own, None, None) == own
    assert steps_of(own, "max", None) == [Step("pooling", mode="max")]
    assert steps_of((), "max", True) == [Step("pooling", mode="max"), Step("normalize")]
    assert steps_of((), None, None) == [Step("pooling", mode="mean")]


def test_no_pooling_is_refused() -> None:
    """A model without a pooling of a known kind is refused when it is loaded."""
    with pytest.raises(ValueError, match="one pooling"):
        Pipeline([Step("normalize")], Path())
