"""Small models to convert, and a plain way to run what comes out."""

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from mlcommons_py.artifacts.manifest import Manifest, Step
from mlcommons_py.artifacts.torchscript.module import Module

TRACED = Path(__file__).parent.parent / "data" / "traced"

Vectors = NDArray[np.float32]
Embed = Callable[[Path, list[str]], Vectors]
MakeZip = Callable[[Mapping[str, bytes]], Path]
Tensors = dict[str, NDArray[Any]]


@pytest.fixture(scope="session")
def traced() -> Path:
    """The directory of the traced archives."""
    return TRACED


@pytest.fixture(scope="session")
def embed() -> Embed:
    """Embeds texts one at a time with a converted model, as its manifest says, with nothing but numpy."""

    def run(directory: Path, texts: list[str]) -> Vectors:
        manifest = Manifest.read(directory)
        tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.enable_truncation(manifest.max_length)
        encoder = ctranslate2.Encoder(str(directory), compute_type=manifest.compute_type, intra_threads=2)
        vectors = []
        for text in texts:
            ids = tokenizer.encode(text).ids
            start = manifest.positions_as_types
            types = {} if start is None else {"token_type_ids": [list(range(start, start + len(ids)))]}
            states = np.array(encoder.forward_batch([ids], **types).last_hidden_state)[0]
            vector = states
            for step in manifest.steps:
                vector = _apply(directory, step, vector)
            vectors.append(vector)
        return np.stack(vectors)

    return run


def _apply(directory: Path, step: Step, vector: Vectors) -> Vectors:
    if step.kind == "normalize":
        return vector / np.linalg.norm(vector)
    if step.kind == "dense":
        result = np.load(directory / str(step.weight)) @ vector + np.load(directory / str(step.bias))
        assert step.activation in ("identity", "tanh")
        return np.asarray(np.tanh(result) if step.activation == "tanh" else result)
    pooled = {"mean": lambda: vector.mean(axis=0), "max": lambda: vector.max(axis=0), "cls": lambda: vector[0]}
    return np.asarray(pooled[str(step.mode)]())


@pytest.fixture
def make_zip(tmp_path: Path) -> MakeZip:
    """Writes files, given by name, into a zip file."""

    def make(files: Mapping[str, bytes]) -> Path:
        path = tmp_path / f"archive-{len(list(tmp_path.glob('archive-*')))}.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path

    return make


def save_tensors(tensors: Mapping[str, NDArray[Any]], bfloat16: frozenset[str] = frozenset()) -> bytes:
    """Return arrays as a .safetensors file; those named are cut to bfloat16."""
    codes = {"float32": "F32", "float16": "F16", "float64": "F64", "int64": "I64"}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = io.BytesIO()
    for name, array in tensors.items():
        start = body.tell()
        if name in bfloat16:
            body.write((np.ascontiguousarray(array, np.float32).view(np.uint32) >> 16).astype(np.uint16).tobytes())
        else:
            body.write(np.ascontiguousarray(array).tobytes())
        code = "BF16" if name in bfloat16 else codes[array.dtype.name]
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [start, body.tell()]}
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body.getvalue()


class SavedModel:
    """A traced archive's model as Sentence-Transformers would save it, to be changed and zipped.

    Attributes:
        tensors: weights of the encoder, without a prefix.
        config: ``config.json``.
        files: all other files by name.
    """

    def __init__(self, name: str, tmp_path: Path, **config: object) -> None:
        described = json.loads((TRACED / f"{name}.json").read_text())
        with zipfile.ZipFile(TRACED / f"{name}.zip") as archive:
            tokenizer = archive.read("tokenizer.json")
            (tmp_path / "model.pt").write_bytes(archive.read(f"{name}.pt"))
        with Module(tmp_path / "model.pt") as module:
            arrays = {key: np.array(array) for key, array in module.tensors.items()}
        self.expected = described["expected"]
        self.tensors: Tensors = {
            key.removeprefix("model."): array for key, array in arrays.items() if key.startswith("model.")
        }
        self.config: dict[str, Any] = {**json.loads(described["model_config"]["all_config"]), **config}
        self.modules = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
        self.pooling: dict[str, Any] = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
        self.files: dict[str, bytes] = {"tokenizer.json": tokenizer}

    def zipped_files(self) -> dict[str, bytes]:
        """Return all files by name."""
        modules = [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for number, (kind, path) in enumerate(self.modules)
        ]
        return {
            "modules.json": json.dumps(modules).encode(),
            "config.json": json.dumps(self.config).encode(),
            "1_Pooling/config.json": json.dumps(self.pooling).encode(),
            "model.safetensors": save_tensors(self.tensors),
            **self.files,
        }


SaveModel = Callable[..., SavedModel]


@pytest.fixture
def save_model(tmp_path: Path) -> SaveModel:
    """Returns a traced archive's model, by name, as a directory; further arguments change its config.json."""
    return lambda name="bert-mean-normalized", **config: SavedModel(name, tmp_path, **config)


@pytest.fixture
def tensors_file() -> Callable[..., bytes]:
    """Writes arrays as a .safetensors file."""
    return save_tensors
