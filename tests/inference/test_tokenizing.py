"""Texts to token ids."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from mlcommons_py.artifacts.manifest import Manifest
from mlcommons_py.errors import InvalidModel
from mlcommons_py.inference.tokenizing import Tokenizing

PIECES = ["word", "naïve", "x" * 150, " ", "\n", "  ", "今天", "🙂", "\t", "don't", "a,b.c"]


def test_long_texts_are_cut_exactly(converted: Path) -> None:
    """Of a long text only the beginning is looked at, and the ids are those of the whole."""
    manifest = replace(Manifest.read(converted), max_length=64)
    whole = Tokenizer.from_file(str(converted / "tokenizer.json"))
    whole.no_padding()
    whole.enable_truncation(64)
    chance = random.Random(1)
    texts = [
        "".join(chance.choice(PIECES) + chance.choice([" ", "  ", ""]) for _ in range(chance.randint(1, 3000)))
        for _ in range(60)
    ]
    texts += [" " * 20_000 + "a b c", "x" * 30_000, "今天" * 9000, "", "word " * 200_000]

    ids, cut = Tokenizing(converted, manifest, None).encode(texts)

    assert ids == [encoding.ids for encoding in whole.encode_batch(texts)]
    assert cut == sum(1 for encoding in whole.encode_batch(texts) if encoding.overflowing)


def test_length_must_leave_room(converted: Path) -> None:
    """A length that special tokens fill up is refused; the smallest that is not leaves one token of the text."""
    manifest = Manifest.read(converted)

    with pytest.raises(InvalidModel, match="leaves no room"):
        Tokenizing(converted, manifest, 2)

    ((ids,), cut) = Tokenizing(converted, manifest, 3).encode(["a cat is an animal"])
    assert (len(ids), cut) == (3, 1)


def test_length_is_bounded_by_positions(converted: Path) -> None:
    """No length exceeds what the model's positions allow."""
    manifest = replace(Manifest.read(converted), max_positions=16)

    ((ids,), _) = Tokenizing(converted, manifest, 100).encode(["word " * 100])

    assert len(ids) == 16
