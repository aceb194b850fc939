"""A model in CTranslate2, and everything that must be checked before it sees an input.

CTranslate2 does no checking of its own: an id out of range reads foreign memory, an empty batch ends the process.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import ctranslate2
import numpy as np

from mlcommons_py.artifacts.manifest import Manifest
from mlcommons_py.errors import InvalidModel, MLCommonsError
from mlcommons_py.inference.options import RunOptions
from mlcommons_py.inference.pooling import Pipeline, Rows, steps_of


class Engine(Protocol):
    """Something that turns batches of token ids into rows of float32."""

    dimension: int
    compute_type: str

    def run(self, batch: Sequence[Sequence[int]]) -> Rows:
        """Return one row a text, ``[texts, dimension]``; called from several threads at once.

        Raises:
            MLCommonsError: an id or a length is out of range, or the result is not finite.
        """


class Encoder:
    """A converted model, loaded.

    Raises:
        InvalidModel: the directory cannot be loaded.
    """

    def __init__(self, directory: Path, manifest: Manifest, options: RunOptions) -> None:
        self._manifest = manifest
        try:
            self._encoder = ctranslate2.Encoder(
                str(directory),
                device="cpu",
                compute_type=options.compute_type,
                inter_threads=options.threads,
                intra_threads=1,
            )
        except (RuntimeError, ValueError) as fault:
            raise InvalidModel(f"CTranslate2 cannot load the model: {fault}") from fault
        self._pipeline = Pipeline(steps_of(manifest.steps, options.pooling, options.normalize), directory)
        self.compute_type: str = self._encoder.compute_type
        state = np.zeros((1, 1, manifest.hidden_size), np.float32)
        self.dimension = int(self._pipeline.run(state, [1]).shape[1])

    def run(self, batch: Sequence[Sequence[int]]) -> Rows:
        """Return the embeddings of token ids, ``[texts, dimension]``."""
        self._check(batch)
        lengths = [len(ids) for ids in batch]
        start = self._manifest.positions_as_types
        types = None if start is None else [list(range(start, start + length)) for length in lengths]
        output = self._encoder.forward_batch([list(ids) for ids in batch], token_type_ids=types)
        rows = self._pipeline.run(np.asarray(output.last_hidden_state), lengths)
        if not np.isfinite(rows).all():
            raise MLCommonsError("the model's result is not finite")
        return rows

    def _check(self, batch: Sequence[Sequence[int]]) -> None:
        if not batch:
            raise MLCommonsError("an empty batch cannot be run")
        for ids in batch:
            if not 0 < len(ids) <= self._manifest.max_positions:
                raise MLCommonsError(
                    f"a text has {len(ids)} tokens, the model takes 1 to {self._manifest.max_positions}"
                )
            low, high = min(ids), max(ids)
            if low < 0 or high >= self._manifest.vocab_size:
                raise MLCommonsError(
                    f"the tokenizer made the id {low if low < 0 else high}, the model's vocabulary has"
                    f" {self._manifest.vocab_size} entries; the tokenizer is not the model's"
                )
