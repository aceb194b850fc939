"""A TorchScript archive as a tree of modules: their classes, their printed code and their tensors.

The archive is a zip file with ``data.pkl`` (the tree), ``data/N`` (bytes of tensors), ``constants.pkl`` and ``code/``
(a module's ``forward`` as Python-like text). Tensors are views of the mapped file.
"""

import mmap
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mlcommons_py.artifacts.archive import Archive, Bounds
from mlcommons_py.artifacts.safetensors import widen
from mlcommons_py.artifacts.torchscript import pickle
from mlcommons_py.artifacts.torchscript.pickle import Instance, Malformed, Name

BOUNDS = Bounds(entries=50_000, directory=8 << 20, ratio=1_000)
_MAX_PICKLE = 8 << 20
_MAX_CODE = 8 << 20
_MAX_DEPTH = 64
_MAX_PATHS = 200_000
_STORAGES: dict[str, str] = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}


@dataclass(frozen=True, slots=True)
class _Storage:
    kind: str
    array: NDArray[Any]


class Module:
    """The root module of an archive.

    Attributes:
        tensors: parameters and buffers by dotted path, as in a state dict.
        classes: full class name of each module by dotted path, ``""`` for the root.
    """

    def __init__(self, path: Path) -> None:
        """Read an archive.

        Raises:
            InvalidModel: it is not a TorchScript archive, is damaged, or asks for more than TorchScript needs.
        """
        with ExitStack() as stack:
            self._archive = stack.enter_context(Archive(path, BOUNDS))
            with path.open("rb") as file:
                self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._storages: dict[str, _Storage] = {}
            self._root = self._find_root()
            tree = pickle.load(self._archive.read(self._root + "data.pkl", _MAX_PICKLE), self._storage, self._tensor)
            if not isinstance(tree, Instance):
                raise Malformed("it holds no module")
            self.tensors: dict[str, NDArray[Any]] = {}
            self.classes: dict[str, str] = {}
            self._walk(tree)
            self._sources: dict[str, str] = {}
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    def kind(self, path: str) -> str:
        """Return the class of a module without its package, such as ``BertModel``."""
        return self.classes[path].rsplit(".", 1)[-1]

    def source(self, path: str) -> str:
        """Return the printed code of a module's class; empty where it has none."""
        kind = self.classes[path]
        if kind not in self._sources:
            package, _, name = kind.rpartition(".")
            text = self._text(package)
            found = re.search(rf"^class {re.escape(name)}\(.*?(?=^class |\Z)", text, re.DOTALL | re.MULTILINE)
            self._sources[kind] = found.group(0) if found else ""
        return self._sources[kind]

    def children(self, path: str) -> Iterator[str]:
        """Yield the paths of the modules directly in a module, in its order."""
        prefix = path + "." if path else ""
        for other in self.classes:
            if other and other.startswith(prefix) and "." not in other[len(prefix) :]:
                yield other

    def _text(self, package: str) -> str:
        name = f"{self._root}code/{package.replace('.', '/')}.py"
        if name not in self._archive:
            raise Malformed(f"{name} is missing")
        try:
            return self._archive.read(name, _MAX_CODE).decode()
        except UnicodeDecodeError as fault:
            raise Malformed(f"{name} is not UTF-8") from fault

    def _find_root(self) -> str:
        trees = [name for name in self._archive.names if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(trees) != 1:
            raise Malformed(f"it has {len(trees)} data.pkl, not one")
        root = trees[0].removesuffix("data.pkl")
        if root + "constants.pkl" not in self._archive:
            raise Malformed("constants.pkl is missing; a file of torch.save is not TorchScript, use torch.jit.save")
        order = root + "byteorder"
        if order in self._archive and self._archive.read(order, 16) != b"little":
            raise Malformed("its numbers are big-endian")
        return root

    def _storage(self, reference: Any) -> _Storage:
        """Return the storage of a persistent id: ``("storage", type, key, device, number of elements)``."""
        if type(reference) is not tuple or len(reference) != 5 or reference[0] != "storage":
            raise Malformed("a storage is referred to in an unknown way")
        _, name, key, _, length = reference
        kind = name.path.removeprefix("torch.") if type(name) is Name else ""
        if kind not in _STORAGES:
            raise Malformed(f"storages of type {kind[:100]!r} are not supported")
        if (
            type(key) is not str
            or not re.fullmatch(r"[0-9A-Za-z_]{1,64}", key)
            or type(length) is not int
            or length < 0
        ):
            raise Malformed("a storage is referred to in an unknown way")
        storage = self._storages.get(key)
        if storage is None:
            storage = self._storages[key] = self._map(kind, key, length)
        if storage.kind != kind or storage.array.size < length:
            raise Malformed(f"storage {key} is used in two ways")
        return storage

    def _map(self, kind: str, key: str, length: int) -> _Storage:
        name = f"{self._root}data/{key}"
        if name not in self._archive:
            raise Malformed(f"storage {key} is missing")
        start, size = self._archive.position(name)
        dtype = np.dtype(_STORAGES[kind])
        if length * dtype.itemsize > size:
            raise Malformed(f"storage {key} has {size} bytes, {length} elements of {kind} need more")
        return _Storage(kind, np.frombuffer(self._mapped, dtype, length, start))

    def _tensor(self, arguments: tuple[Any, ...]) -> NDArray[Any]:
        """Return the view of a storage that ``(storage, offset, size, stride, ...)`` describes."""
        if len(arguments) < 4:
            raise Malformed("a tensor is described in an unknown way")
        storage, offset, size, stride = arguments[:4]
        numbers = (offset, *size, *stride) if type(size) is tuple and type(stride) is tuple else (None,)
        if (
            type(storage) is not _Storage
            or not all(type(number) is int and 0 <= number < 1 << 40 for number in numbers)
            or len(size) != len(stride)
            or len(size) > 8
        ):
            raise Malformed("a tensor is described in an unknown way")
        count, array = prod(size), storage.array
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True)) if count else offset
        if last >= array.size + (0 if count else 1):
            raise Malformed("a tensor reaches outside its storage")
        if count > array.size:
            raise Malformed("a tensor is larger than its storage")
        strides = [step * array.itemsize for step in stride]
        view = np.lib.stride_tricks.as_strided(array[offset:], size, strides, writeable=False)
        return widen(np.ascontiguousarray(view)) if storage.kind == "BFloat16Storage" else view

    def _walk(self, tree: Instance) -> None:
        """Note classes and tensors by path; a module that is used twice has two paths."""
        pending: list[tuple[str, object, int]] = [("", tree, 0)]
        for _ in range(_MAX_PATHS):
            if not pending:
                return
            path, value, depth = pending.pop()
            if depth > _MAX_DEPTH or len(path) > 1_000:
                raise Malformed("its modules are nested too deeply")
            if isinstance(value, np.ndarray):
                self.tensors[path] = value
            elif isinstance(value, Instance):
                self.classes[path] = value.class_name
                prefix = path + "." if path else ""
                inner = [(prefix + name, one, depth + 1) for name, one in value.attributes.items()]
                pending.extend(reversed(inner))
        raise Malformed("it has too many modules")
