"""Turns an archive into a converted model; to be run where it can do no harm, see :mod:`.sandbox`."""

import hashlib
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import orjson
from tokenizers import Tokenizer

from mlcommons_py.artifacts import encoders, hugging_face
from mlcommons_py.artifacts.archive import Archive, Unpacked
from mlcommons_py.artifacts.arriving import Arriving, unpack
from mlcommons_py.artifacts.checkpoint import Checkpoint
from mlcommons_py.artifacts.encoders import Encoder
from mlcommons_py.artifacts.layout import read_json, select
from mlcommons_py.artifacts.manifest import NAME, Manifest, ModelFormat
from mlcommons_py.artifacts.torchscript import describe
from mlcommons_py.artifacts.trial import measure, open_tokenizer

_SLACK = 64 << 20
_WIDENING = 4
"""How much larger than its file a model may get: half-precision weights double, the rest is room."""


def convert(
    archive: Path, model_format: ModelFormat, directory: Path, compute_type: str, lines: BinaryIO | None = None
) -> Manifest:
    """Unpack an archive, convert the model in it into ``directory``, prove it, and write its manifest last.

    With ``lines`` the archive may still be arriving, see :class:`~mlcommons_py.artifacts.arriving.Arriving`.

    Raises:
        InvalidModel: it cannot be served; the text names the file or the tensor at fault.
        EOFError: it does not come to its end.
    """
    unpacked, early = directory / "unpacked", directory / "early"
    directory.mkdir(parents=True)
    ready: Mapping[int, Unpacked] = {}
    if lines is not None:
        with Arriving(archive, lines) as arriving:
            ready = unpack(arriving, early)
            arriving.wait()
    with Archive(archive) as opened:
        opened.unpack(select(opened, model_format), unpacked, ready)
    shutil.rmtree(early, ignore_errors=True)
    checkpoint = describe.read(unpacked / "model.pt") if model_format == "TORCH_SCRIPT" else hugging_face.read(unpacked)
    with ThreadPoolExecutor(1) as beside:
        opening = beside.submit(_write_tokenizer, unpacked, directory, lower_case=checkpoint.lower_case)
        encoder = _write(checkpoint, unpacked, directory, compute_type)
        tokenizer = opening.result()
        manifest = _describe(checkpoint, encoder, tokenizer, compute_type)
        del checkpoint, encoder
        files = beside.submit(_digests_alone, directory, unpacked)
        dimension = measure(directory, manifest, tokenizer)
    manifest = replace(manifest, dimension=dimension, files=files.result())
    manifest.write(directory)
    return manifest


def _digests_alone(directory: Path, unpacked: Path) -> dict[str, str]:
    """Remove what a model was converted from, and return the digests of the rest."""
    shutil.rmtree(unpacked)
    return digests(directory)


def digests(directory: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a converted model but its manifest, in hex, by name."""
    found = {}
    for path in sorted(directory.iterdir()):
        if path.name != NAME:
            with path.open("rb") as file:
                found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _write(checkpoint: Checkpoint, unpacked: Path, directory: Path, compute_type: str) -> Encoder:
    """Write the weights, and return them."""
    encoder = encoders.build(
        checkpoint.architecture, checkpoint.tensors, checkpoint.prefix, writable=compute_type == "int8"
    )
    size = sum(path.stat().st_size for path in unpacked.iterdir() if path.suffix in (".pt", ".safetensors"))
    encoders.save(encoder, directory, compute_type, _WIDENING * size + _SLACK)
    for name, array in checkpoint.arrays.items():
        np.save(directory / name, np.ascontiguousarray(array, np.float32), allow_pickle=False)
    return encoder


def _describe(checkpoint: Checkpoint, encoder: Encoder, tokenizer: Tokenizer, compute_type: str) -> Manifest:
    """Return the manifest, without what is to be measured."""
    return Manifest(
        family=checkpoint.architecture.family,
        inside=checkpoint.inside,
        steps=checkpoint.steps,
        dimension=0,
        hidden_size=encoder.hidden_size,
        vocab_size=encoder.vocab_size,
        max_positions=encoder.max_positions,
        max_length=_max_length(checkpoint, encoder, tokenizer),
        token_types=encoder.token_types,
        positions_as_types=encoder.positions_as_types,
        pad_id=checkpoint.architecture.pad_id,
        compute_type=compute_type,
    )


def _max_length(checkpoint: Checkpoint, encoder: Encoder, tokenizer: Tokenizer) -> int:
    """Return the tokens at which a text is cut: what the model says, else the tokenizer, within the positions."""
    truncation = tokenizer.truncation or {}
    wished = checkpoint.max_length or truncation.get("max_length") or encoder.max_positions
    return min(wished, checkpoint.longest or encoder.max_positions, encoder.max_positions)


def _write_tokenizer(unpacked: Path, directory: Path, *, lower_case: bool) -> Tokenizer:
    """Write the tokenizer, and return it as it was written."""
    source, target = (place / "tokenizer.json" for place in (unpacked, directory))
    if not lower_case:
        shutil.copyfile(source, target)
        return open_tokenizer(target)
    tokenizer = read_json(source.read_bytes(), "tokenizer.json", dict)
    normalizers = [{"type": "Lowercase"}, *filter(None, [tokenizer.get("normalizer")])]
    tokenizer["normalizer"] = {"type": "Sequence", "normalizers": normalizers}
    target.write_bytes(orjson.dumps(tokenizer))
    return open_tokenizer(target)
