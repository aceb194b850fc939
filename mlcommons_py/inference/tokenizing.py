"""Texts to token ids, cut at the model's length."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Encoding, Tokenizer

from mlcommons_py.artifacts.manifest import Manifest
from mlcommons_py.errors import InvalidModel

LONG_TOKEN = 16
"""Characters that a token hardly has more of: so many times the length of a cut text are looked at first."""


class Tokenizing:
    """A model's tokenizer.

    Raises:
        InvalidModel: ``tokenizer.json`` cannot be read, or texts are to be cut to nothing.
    """

    def __init__(self, directory: Path, manifest: Manifest, max_length: int | None) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        except Exception as fault:  # the library raises Exception itself
            raise InvalidModel(f"tokenizer.json cannot be read: {fault}") from fault
        self._max_length = min(max_length or manifest.max_length, manifest.max_positions)
        special = self._tokenizer.num_special_tokens_to_add(False)
        if self._max_length <= special:
            raise InvalidModel(
                f"[model_config.model_max_length] {self._max_length} leaves no room beside {special} special tokens"
            )
        self._tokenizer.no_padding()
        direction = (self._tokenizer.truncation or {}).get("direction", "right")
        self._tokenizer.enable_truncation(self._max_length, direction=direction)
        # Of a text that is cut at its end, what lies far behind the cut need not be looked at.
        self._enough = self._max_length * LONG_TOKEN if direction == "right" else None

    def encode(self, texts: Sequence[str]) -> tuple[list[list[int]], int]:
        """Return the ids of each text, special ones included, and how many texts were cut."""
        encodings = self._tokenizer.encode_batch([self._beginning(text, self._enough) for text in texts])
        ids, cut = [], 0
        for text, encoding in zip(texts, encodings, strict=True):
            length = self._enough
            while not self._is_cut(encoding) and length is not None and length < len(text):
                length *= 4
                encoding = self._tokenizer.encode(self._beginning(text, length))
            ids.append(encoding.ids)
            cut += self._is_cut(encoding)
        return ids, cut

    def _is_cut(self, encoding: Encoding) -> bool:
        return len(encoding.ids) >= self._max_length and bool(encoding.overflowing)

    def _beginning(self, text: str, length: int | None) -> str:
        """Return a text up to a blank before so many characters; all of it where there is none."""
        if length is None or length >= len(text):
            return text
        blank = text.rfind(" ", 0, length)
        return text if blank <= 0 else text[:blank]
