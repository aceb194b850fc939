"""The zip that is uploaded, made from what the user has: a directory, a zip, or a TorchScript file."""

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlcommons_py.errors import InvalidModel, Unavailable

CHUNK_SIZE = 10_000_000
"""Bytes of one uploaded chunk (``MLModel`` upstream)."""

SAFETENSORS = "SAFETENSORS"
TORCH_SCRIPT = "TORCH_SCRIPT"

_NEEDED = {
    "config.json": "save the model with save_pretrained()",
    "tokenizer.json": "save a fast tokenizer beside it: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)",
    "model.safetensors": "save the weights with save_pretrained(DIR, safe_serialization=True)",
}
_SHIPPED = {".json", ".safetensors", ".txt", ".model"}
_PIECE = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)

Report = Callable[[int, int], None]
"""Called with the bytes done and the bytes there are."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A zip that is ready to be sent.

    Attributes:
        path: where it is; a temporary file if it was made from a directory.
        size: in bytes.
        sha256: of the whole file, in hex.
        model_format: ``SAFETENSORS`` or ``TORCH_SCRIPT``, by what is in it.
    """

    path: Path
    size: int
    sha256: str
    model_format: str

    @property
    def total_chunks(self) -> int:
        """How many chunks it takes."""
        return -(-self.size // CHUNK_SIZE)

    def chunk_size(self, number: int) -> int:
        """Return how many bytes a chunk has."""
        return min(CHUNK_SIZE, self.size - number * CHUNK_SIZE)

    def pieces(self, number: int, length: int = 1 << 18) -> Iterator[bytes]:
        """Yield a chunk in short pieces, so that memory never holds the whole of it."""
        with self.path.open("rb") as file:
            file.seek(number * CHUNK_SIZE)
            left = self.chunk_size(number)
            while left and (piece := file.read(min(length, left))):
                left -= len(piece)
                yield piece


@contextmanager
def packed(source: Path, report: Report) -> Iterator[Archive]:
    """Yield the archive of a directory, a zip or a ``.pt`` file; a file that had to be made is removed afterwards.

    The same files give the same bytes, so an upload can be resumed later.

    Raises:
        InvalidModel: what is needed is not there; the text names it and how to get it.
    """
    if not source.exists():
        raise InvalidModel(f"there is no {source}")
    if source.is_file() and zipfile.is_zipfile(source) and source.suffix != ".pt":
        yield _described(source, _format_of(source), report)
        return
    members = _members(source)
    model_format = TORCH_SCRIPT if any(name.endswith(".pt") for name in members) else SAFETENSORS
    handle, name = tempfile.mkstemp(prefix="mlcommons-", suffix=".zip")
    made = Path(name)
    try:
        try:
            with os.fdopen(handle, "wb") as file:
                digest = _write(file.fileno(), made, members, report)
        except OSError as fault:
            whole = sum(path.stat().st_size for path in members.values()) >> 20
            raise Unavailable(
                f"cannot write the archive of {whole} MiB to {made.parent}: {fault}; TMPDIR names another directory"
            ) from fault
        yield Archive(made, made.stat().st_size, digest, model_format)
    finally:
        made.unlink(missing_ok=True)


def _members(source: Path) -> dict[str, Path]:
    """Return the files to ship by their names in the zip."""
    if source.is_file():
        if source.suffix == ".safetensors":
            return _members(source.parent)
        if source.suffix != ".pt":
            raise InvalidModel(f"{source} is neither a directory, nor a zip, nor a .pt or .safetensors file")
        tokenizer = source.with_name("tokenizer.json")
        if not tokenizer.is_file():
            raise InvalidModel(f"there is no tokenizer.json beside {source.name}; a TorchScript model needs it")
        return {source.name: source, "tokenizer.json": tokenizer}
    found = {path.relative_to(source).as_posix(): path for path in sorted(source.rglob("*")) if path.is_file()}
    visible = {name: path for name, path in found.items() if not any(part[0] == "." for part in name.split("/"))}
    traced = [name for name in visible if name.endswith(".pt") and "/" not in name]
    if traced and "model.safetensors" not in visible:
        if len(traced) > 1:
            raise InvalidModel(f"{source} has several .pt files, {', '.join(traced)}; name the one to register")
        return _members(source / traced[0])
    names = {path.name for path in visible.values()}
    for name, fix in _NEEDED.items():
        sharded = name == "model.safetensors" and any(one.endswith(".safetensors") for one in names)
        if name not in names and not sharded:
            raise InvalidModel(f"there is no {name} in {source}; {fix}")
    return {name: path for name, path in visible.items() if path.suffix in _SHIPPED or _is_head(name, visible)}


def _is_head(name: str, files: dict[str, Path]) -> bool:
    """Whether a file holds the weights of a small module that has none in safetensors, such as ``2_Dense``."""
    directory, _, last = name.rpartition("/")
    return bool(directory) and last == "pytorch_model.bin" and f"{directory}/model.safetensors" not in files


def _write(descriptor: int, made: Path, members: dict[str, Path], report: Report) -> str:
    whole = sum(path.stat().st_size for path in members.values())
    done = 0
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name, path in sorted(members.items()):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o644 << 16
            size = path.stat().st_size
            with path.open("rb") as file, archive.open(info, "w", force_zip64=size >= 1 << 31) as member:
                while piece := file.read(_PIECE):
                    member.write(piece)
                    done += len(piece)
                    report(done, 2 * whole)
    os.fsync(descriptor)
    return _hash(made, lambda hashed, _: report(whole + min(hashed, whole), 2 * whole))


def _described(path: Path, model_format: str, report: Report) -> Archive:
    return Archive(path, path.stat().st_size, _hash(path, report), model_format)


def _hash(path: Path, report: Report) -> str:
    digest, done, size = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            done += len(piece)
            report(done, size)
    return digest.hexdigest()


def _format_of(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as fault:
        raise InvalidModel(f"{path} is a damaged zip: {fault}") from fault
    if any(name.endswith(".safetensors") for name in names):
        return SAFETENSORS
    if any(name.endswith(".pt") for name in names):
        return TORCH_SCRIPT
    raise InvalidModel(
        f"{path} holds neither a .safetensors file nor a .pt file; what it holds: {', '.join(names[:8])}"
    )
