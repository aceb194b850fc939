"""Encoders, as they are written for CTranslate2."""

import json
from pathlib import Path

import pytest

from mlcommons_py.artifacts import encoders, hugging_face
from tests.artifacts.conftest import SaveModel


@pytest.mark.parametrize("compute_type", ["float32", "int8"])
@pytest.mark.parametrize("name", ["bert-mean-normalized", "mpnet-mean-normalized"])
def test_written_as_by_ctranslate2(name: str, compute_type: str, save_model: SaveModel, tmp_path: Path) -> None:
    """A model is written as CTranslate2 writes it by itself, byte by byte, with the same names."""
    files = save_model(name).zipped_files()
    source, ours, theirs = tmp_path / "source", tmp_path / "ours", tmp_path / "theirs"
    for directory in (source, ours, theirs):
        directory.mkdir()
    for file in ("config.json", "model.safetensors"):
        (source / file).write_bytes(files[file])
    checkpoint = hugging_face.read(source)
    one, other = (
        encoders.build(checkpoint.architecture, checkpoint.tensors, checkpoint.prefix, writable=True) for _ in "12"
    )

    encoders.save(one, ours, compute_type, most_bytes=1 << 30)

    names = json.loads((ours / "vocabulary.json").read_bytes())
    assert len(set(names)) == one.vocab_size
    other.spec.config.unk_token = names[0]
    other.spec.register_vocabulary(names)
    other.spec.validate()
    other.spec.optimize(quantization=None if compute_type == "float32" else compute_type)
    other.spec.save(str(theirs))
    assert {file.name for file in ours.iterdir()} == {file.name for file in theirs.iterdir()}
    assert (ours / "model.bin").read_bytes() == (theirs / "model.bin").read_bytes()
    assert (ours / "config.json").read_bytes() == (theirs / "config.json").read_bytes()
    assert json.loads((theirs / "vocabulary.json").read_bytes()) == names
