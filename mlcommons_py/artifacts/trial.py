"""Runs a converted model once, to prove that it runs and to measure what it makes."""

from math import erf, sqrt
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from mlcommons_py.artifacts.manifest import Manifest, Step
from mlcommons_py.errors import InvalidModel

_TEXTS = ("", "a short text", "one text that is longer than any model takes " * 256)
_LONGEST = 1024
"""Tokens of the longest text tried: attention needs memory with the square of it."""


def open_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer of a ``tokenizer.json``.

    Raises:
        InvalidModel: it does not load.
    """
    try:
        return Tokenizer.from_file(str(path))
    except Exception as fault:  # the library raises nothing more specific
        raise InvalidModel(f"tokenizer.json does not load: {fault}") from fault


def measure(directory: Path, manifest: Manifest, tokenizer: Tokenizer) -> int:
    """Return the length of the embeddings of a converted model, having embedded a few texts with it.

    The tokenizer is the model's; afterwards it cuts texts.

    Raises:
        InvalidModel: the tokenizer and the encoder do not fit each other, or the result is not finite.
    """
    highest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if highest >= manifest.vocab_size:
        raise InvalidModel(
            f"tokenizer.json has ids up to {highest}, but the embeddings have {manifest.vocab_size} rows; it is the"
            " tokenizer of another model"
        )
    tokenizer.no_padding()
    tokenizer.enable_truncation(min(manifest.max_length, _LONGEST))
    encoder = ctranslate2.Encoder(
        str(directory), device="cpu", compute_type=manifest.compute_type, inter_threads=1, intra_threads=1
    )
    tried = [ids for ids in (_encode(tokenizer, text) for text in _TEXTS) if ids]
    if not tried:
        raise InvalidModel("tokenizer.json finds no tokens in any text")
    dimensions = set()
    for ids in tried:
        vector = _finish(directory, manifest, _hidden(encoder, manifest, ids))
        if not np.isfinite(vector).all():
            raise InvalidModel(
                f"the model's output for a text of {len(ids)} tokens is not finite; its weights are damaged"
            )
        dimensions.add(len(vector))
    return dimensions.pop()


def _encode(tokenizer: Tokenizer, text: str) -> list[int]:
    try:
        ids: list[int] = tokenizer.encode(text).ids
    except Exception as fault:  # the library raises nothing more specific
        raise InvalidModel(f"tokenizer.json does not encode: {fault}") from fault
    return ids


def _hidden(encoder: Any, manifest: Manifest, ids: list[int]) -> NDArray[np.float32]:
    """Return the hidden states of a text, float32 ``[tokens, hidden_size]``."""
    start = manifest.positions_as_types
    types = None if start is None else [list(range(start, start + len(ids)))]
    output = encoder.forward_batch([ids], token_type_ids=types) if types else encoder.forward_batch([ids])
    states: NDArray[np.float32] = np.array(output.last_hidden_state)[0]
    return states


def _finish(directory: Path, manifest: Manifest, states: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a vector as the steps make it; any pooling gives the same length, so the mean stands for all."""
    vector: NDArray[np.float32] = states.mean(axis=0)
    for step in manifest.steps:
        if step.kind == "dense":
            vector = _dense(directory, step, vector)
    return vector


def _dense(directory: Path, step: Step, vector: NDArray[np.float32]) -> NDArray[np.float32]:
    weight = np.load(directory / str(step.weight), allow_pickle=False)
    if weight.shape[1] != len(vector):
        raise InvalidModel(f"a Dense module takes {weight.shape[1]} numbers, but gets {len(vector)}")
    result: NDArray[np.float32] = weight @ vector
    if step.bias is not None:
        result = result + np.load(directory / step.bias, allow_pickle=False)
    if step.activation == "tanh":
        result = np.tanh(result)
    elif step.activation == "relu":
        result = np.maximum(result, 0)
    elif step.activation == "gelu":
        result = np.array([0.5 * x * (1 + erf(x / sqrt(2))) for x in result.tolist()], np.float32)
    return result
