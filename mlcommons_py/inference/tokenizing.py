"""Texts to token ids, cut at the model's length."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from mlcommons_py.artifacts.manifest import Manifest
from mlcommons_py.errors import InvalidModel


class Tokenizing:
    """A model's tokenizer.

    Raises:
        InvalidModel: ``tokenizer.json`` cannot be read.
    """

    def __init__(self, directory: Path, manifest: Manifest, max_length: int | None) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        except Exception as fault:  # the library raises Exception itself
            raise InvalidModel(f"tokenizer.json cannot be read: {fault}") from fault
        self._max_length = min(max_length or manifest.max_length, manifest.max_positions)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self._max_length)

    def encode(self, texts: Sequence[str]) -> tuple[list[list[int]], int]:
        """Return the ids of each text, special ones included, and how many texts were cut."""
        encodings = self._tokenizer.encode_batch(list(texts))
        ids = [encoding.ids for encoding in encodings]
        cut = sum(1 for one in encodings if len(one.ids) >= self._max_length and one.overflowing)
        return ids, cut
