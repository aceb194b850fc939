"""Which files of an archive are the model."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mlcommons_py.artifacts.archive import Archive
from mlcommons_py.artifacts.layout import select
from mlcommons_py.artifacts.manifest import ModelFormat
from mlcommons_py.errors import InvalidModel

MakeZip = Callable[[Mapping[str, bytes]], Path]

PLAIN = {"config.json": b"{}", "model.safetensors": b"", "tokenizer.json": b"{}"}
TRACED = {"model.pt": b"", "tokenizer.json": b"{}"}
INDEX = b'{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}'


def modules(*paths: str) -> bytes:
    """Return a modules.json of modules in these folders."""
    return json.dumps([{"idx": n, "path": path, "type": "x.Y"} for n, path in enumerate(paths)]).encode()


@pytest.mark.parametrize("folder", ["", "my-model/"])
def test_torch_script(make_zip: MakeZip, folder: str) -> None:
    """A traced archive is one .pt and its tokenizer, at the root or in a folder."""
    with Archive(make_zip({folder + "bert.pt": b"", folder + "tokenizer.json": b"{}", "LICENSE": b""})) as archive:
        wanted = select(archive, "TORCH_SCRIPT")
    assert wanted == {folder + "bert.pt": "model.pt", folder + "tokenizer.json": "tokenizer.json"}


@pytest.mark.parametrize("folder", ["", "my-model/"])
def test_plain_directory(make_zip: MakeZip, folder: str) -> None:
    """A Hugging Face directory needs its configuration, its weights and its tokenizer, and nothing else."""
    extra = {"README.md": b"", "pytorch_model.bin": b"", "modeling_x.py": b"", "optimizer.pt": b"", "vocab.txt": b""}
    with Archive(make_zip({folder + name: b"{}" for name in (*PLAIN, *extra)})) as archive:
        assert select(archive, "SAFETENSORS") == {folder + name: name for name in PLAIN}


def test_sentence_transformers(make_zip: MakeZip) -> None:
    """The modules of Sentence-Transformers come along, numbered, the first one wherever it lies."""
    files = {
        "m/modules.json": modules("0_Transformer", "1_Pooling", "2_Dense", "3_Normalize"),
        "m/0_Transformer/config.json": b"{}",
        "m/0_Transformer/model.safetensors": b"",
        "m/0_Transformer/sentence_roberta_config.json": b"{}",
        "m/tokenizer.json": b"{}",
        "m/1_Pooling/config.json": b"{}",
        "m/2_Dense/config.json": b"{}",
        "m/2_Dense/model.safetensors": b"",
    }
    with Archive(make_zip(files)) as archive:
        assert select(archive, "SAFETENSORS") == {
            "m/modules.json": "modules.json",
            "m/0_Transformer/config.json": "config.json",
            "m/0_Transformer/model.safetensors": "model.safetensors",
            "m/0_Transformer/sentence_roberta_config.json": "sentence_bert_config.json",
            "m/tokenizer.json": "tokenizer.json",
            "m/1_Pooling/config.json": "module-1/config.json",
            "m/2_Dense/config.json": "module-2/config.json",
            "m/2_Dense/model.safetensors": "module-2/model.safetensors",
        }


def test_shards(make_zip: MakeZip) -> None:
    """Weights in several files are found through their index."""
    files = {
        **dict.fromkeys(("config.json", "tokenizer.json", "model-1.safetensors", "model-2.safetensors"), b"{}"),
        "model.safetensors.index.json": INDEX,
    }
    with Archive(make_zip(files)) as archive:
        wanted = select(archive, "SAFETENSORS")
    assert set(wanted) == set(files) - {"model.safetensors.index.json"}


@pytest.mark.parametrize(
    ("model_format", "files", "reason"),
    [
        ("TORCH_SCRIPT", {"tokenizer.json": b""}, "Can't find model file"),
        ("TORCH_SCRIPT", {"model.pt": b""}, "No tokenizer file"),
        ("TORCH_SCRIPT", {"a/model.pt": b"", "tokenizer.json": b""}, "No tokenizer file"),
        ("TORCH_SCRIPT", {**TRACED, "b.pt": b""}, "Find multiple model files, but expected only one: model.pt, b.pt"),
        ("TORCH_SCRIPT", {"m.onnx": b"", "tokenizer.json": b""}, "Model format is TORCH_SCRIPT, but find .onnx file"),
        ("TORCH_SCRIPT", PLAIN, "Model format is TORCH_SCRIPT, but find .safetensors file"),
        ("SAFETENSORS", TRACED, "Model format is SAFETENSORS, but find .pt file"),
        ("SAFETENSORS", {**TRACED, "config.json": b"{}"}, "Model format is SAFETENSORS, but find .pt file"),
        ("SAFETENSORS", {"README.md": b""}, "Can't find model file"),
        ("SAFETENSORS", {"config.json": b"{}", "tokenizer.json": b""}, "Can't find model file: model.safetensors"),
        ("SAFETENSORS", {**PLAIN, "config.json": b"{}", "modules.json": b"["}, "modules.json is not valid JSON"),
        ("SAFETENSORS", {**PLAIN, "modules.json": b"{}"}, "modules.json must hold a JSON array"),
        ("SAFETENSORS", {**PLAIN, "modules.json": b"[{}]"}, "modules.json: each module needs"),
        ("SAFETENSORS", {**PLAIN, "modules.json": modules("../x")}, "Can't find model file: ../x/model.safetensors"),
        ("SAFETENSORS", {**PLAIN, "other.safetensors": b""}, "Find multiple model files, but expected only one"),
        (
            "SAFETENSORS",
            {f"{folder}/{name}": b"{}" for folder in "ab" for name in PLAIN},
            "Find multiple model files, but expected only one: there are models in a/, b/",
        ),
        (
            "SAFETENSORS",
            {"config.json": b"{}", "tokenizer.json": b"", "pytorch_model.bin": b""},
            "Can't find model file: model.safetensors is not in the archive; pytorch_model.bin is not read",
        ),
        (
            "SAFETENSORS",
            {**PLAIN, "modules.json": modules("", "2_Dense"), "2_Dense/pytorch_model.bin": b""},
            "Can't find model file: 2_Dense/model.safetensors is not in the archive; 2_Dense/pytorch_model.bin is not",
        ),
        ("SAFETENSORS", {"config.json": b"{}", "model.safetensors": b"", "vocab.txt": b""}, "No tokenizer file"),
        (
            "SAFETENSORS",
            {"config.json": b"{}", "tokenizer.json": b"", "model.safetensors.index.json": INDEX},
            "Can't find model file: model.safetensors.index.json names model-1.safetensors, model-2.safetensors",
        ),
        (
            "SAFETENSORS",
            {"config.json": b"{}", "tokenizer.json": b"", "model.safetensors.index.json": b'{"weight_map": [1]}'},
            "model.safetensors.index.json has no [weight_map]",
        ),
    ],
)
def test_refused(make_zip: MakeZip, model_format: ModelFormat, files: Mapping[str, bytes], reason: str) -> None:
    """What is missing, double or of another format is named, in ML Commons' words where it has some."""
    with Archive(make_zip(files)) as archive, pytest.raises(InvalidModel) as caught:
        select(archive, model_format)
    assert caught.value.reason.startswith(reason)
