"""The note that lies beside a converted model and says how to run it.

A converted model is a directory: ``model.bin``, ``config.json`` and ``vocabulary.json`` as CTranslate2 reads them,
``tokenizer.json``, the arrays of its heads as ``.npy`` files, and this note as ``mlcommons.json``.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

NAME = "mlcommons.json"

CONVERTER = 1
"""Version of the conversion; a directory of another one is converted anew."""

ModelFormat = Literal["SAFETENSORS", "TORCH_SCRIPT"]
"""What a model is converted from."""

Pooling = Literal["mean", "mean_sqrt_len", "max", "weighted_mean", "cls", "last_token", "none"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step from hidden states to an embedding.

    Attributes:
        kind: ``pooling`` (with ``mode``), ``normalize`` (L2), or ``dense`` (``weight`` and ``bias`` name ``.npy`` files
            of shape ``[out, in]`` and ``[out]``; ``activation`` is ``identity``, ``tanh``, ``relu`` or ``gelu``).
    """

    kind: Literal["pooling", "normalize", "dense"]
    mode: Pooling | None = None
    weight: str | None = None
    bias: str | None = None
    activation: str = "identity"


@dataclass(frozen=True, slots=True)
class Manifest:
    """How to run a converted model.

    Attributes:
        family: architecture, as ``model_type`` in a Hugging Face ``config.json`` spells it.
        inside: where the pipeline came from: ``sentence_transformers`` (the file says how to pool) or
            ``huggingface_transformers`` (bare encoder; the model's config says).
        steps: from hidden states to the embedding.
        dimension: length of an embedding, measured by a forward pass.
        hidden_size: length of a hidden state.
        vocab_size: ids run from 0 to this, exclusive.
        max_positions: most tokens of a text, special ones included, that the positions allow.
        max_length: tokens at which a text is cut, special ones included.
        token_types: how many token types the model has; 0 where it takes none.
        positions_as_types: MPNet's trick: position ids, from this number on, go in as token types; None elsewhere.
        pad_id: the id that fills up a batch.
        compute_type: the CTranslate2 type that ``model.bin`` is stored in.
        files: SHA-256 of every other file of the directory, in hex.
        converter: version of the conversion; a directory of another one is converted anew.
    """

    family: str
    inside: Literal["sentence_transformers", "huggingface_transformers"]
    steps: tuple[Step, ...]
    dimension: int
    hidden_size: int
    vocab_size: int
    max_positions: int
    max_length: int
    token_types: int
    positions_as_types: int | None
    pad_id: int
    compute_type: str
    files: dict[str, str] = field(default_factory=dict)
    converter: int = CONVERTER

    def to_json(self) -> dict[str, Any]:
        """Return the note as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Manifest":
        """Return the note that a JSON object holds."""
        return cls(**{**value, "steps": tuple(Step(**step) for step in value["steps"])})

    @classmethod
    def read(cls, directory: Path) -> "Manifest":
        """Return the note of a converted model."""
        return cls.from_json(orjson.loads((directory / NAME).read_bytes()))

    def write(self, directory: Path) -> None:
        """Put the note into the directory of a converted model."""
        (directory / NAME).write_bytes(orjson.dumps(self.to_json(), option=orjson.OPT_INDENT_2))
