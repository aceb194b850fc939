"""Zip files from strangers: looked through before anything is written, unpacked within bounds.

Everything is decided from the central directory, before a byte is unpacked; what is then unpacked is counted once
more, because a directory can lie. One bad entry spoils the whole archive, whether the entry is needed or not.
"""

import errno
import io
import os
import re
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import BinaryIO, Self

from mlcommons_py.errors import InvalidModel

EXECUTABLES = (".jar", ".class", ".so", ".dylib", ".dll")
"""What ML Commons' ``ModelHelper`` refuses, and so do we: nothing here would run it, but no model needs it."""

SMALL_FILE = 16 << 20
"""Most bytes of a file that is read into memory whole."""

FREE_OF_RATIO = 1 << 20
"""Bytes that a file may have, however small its packed form is."""

_CHUNK = 1 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1 | 0x40 | 0x2000


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much an archive may hold.

    Attributes:
        entries: files and directories.
        directory: bytes of the central directory, which is read whole.
        total: bytes of all files, unpacked.
        ratio: how much larger than its packed form a file of more than 1 MiB may be.
    """

    entries: int = 2_000
    directory: int = 1 << 20
    total: int = 16 << 30
    ratio: int = 100


MODEL_BOUNDS = Bounds()


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What was unpacked of an archive before its end was there.

    Attributes:
        path: where it is.
        method: how it was packed, as zip files number it.
        packed, size: bytes before and after.
        crc: CRC-32 of what is at ``path``.
    """

    path: Path
    method: int
    packed: int
    size: int
    crc: int

    def is_of(self, entry: zipfile.ZipInfo) -> bool:
        """Return whether it is what an entry of the archive's directory says."""
        told = entry.compress_type, entry.compress_size, entry.file_size, entry.CRC
        return told == (self.method, self.packed, self.size, self.crc)


class Archive:
    """A zip file whose every entry is harmless.

    Attributes:
        names: the files in it, directories and what macOS adds left out, in the order of the archive.
        size: bytes of the zip file.
    """

    def __init__(self, path: Path, bounds: Bounds = MODEL_BOUNDS) -> None:
        """Open and look through an archive.

        Raises:
            InvalidModel: it is not a zip file, or an entry breaks a rule; the text names the entry and the rule.
        """
        self._bounds = bounds
        self._file = path.open("rb")
        try:
            self.size = os.fstat(self._file.fileno()).st_size
            with _faults(path.name):
                reader = _Guarded(self._file, bounds.directory)
                self._zip = zipfile.ZipFile(reader)
                reader.limit = None
            entries = self._zip.infolist()
            _check(entries, bounds)
        except BaseException:
            self._file.close()
            raise
        self._entries = {entry.filename: entry for entry in entries if not entry.is_dir()}
        self.names = tuple(name for name in self._entries if not _is_debris(name))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._zip.close()
        self._file.close()

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def read(self, name: str, limit: int = SMALL_FILE) -> bytes:
        """Return a small file's content.

        Raises:
            InvalidModel: it is damaged, or longer than ``limit``.
        """
        entry = self._entries[name]
        if entry.file_size > limit:
            raise InvalidModel(f"{name} has {entry.file_size} bytes; at most {limit} are allowed")
        return b"".join(self._chunks(entry))

    def unpack(self, wanted: Mapping[str, str], directory: Path, ready: Mapping[int, Unpacked] | None = None) -> None:
        """Write files under a directory that does not exist yet; ``wanted`` maps names to the names they get there.

        What is ``ready``, by the offset of its header, is moved there if it is what the archive's directory says.

        Raises:
            InvalidModel: a file is damaged, or longer than its entry says.
            OSError: the disk is full, or a limit on file sizes is reached.
        """
        directory.mkdir()
        there = dict(ready or {})
        for name, target in wanted.items():
            path = directory.joinpath(*PurePosixPath(target).parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            entry = self._entries[name]
            unpacked = there.pop(entry.header_offset, None)
            if unpacked is not None and unpacked.is_of(entry):
                self._check_header(entry)
                unpacked.path.rename(path)
                continue
            with path.open("xb") as file:
                for chunk in self._chunks(entry):
                    file.write(chunk)

    def _check_header(self, entry: zipfile.ZipInfo) -> None:
        """Compare what stands before an entry's bytes with what the directory says of it, as reading it does."""
        with _faults(entry.filename), self._zip.open(entry):
            pass

    def position(self, name: str) -> tuple[int, int]:
        """Return where in the zip file a stored (not compressed) entry's bytes begin, and how many there are.

        Raises:
            InvalidModel: the entry is compressed, or its header is damaged.
        """
        entry = self._entries[name]
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise InvalidModel(f"{name} is compressed; arrays must be stored as they are")
        header = os.pread(self._file.fileno(), 30, entry.header_offset)
        if len(header) != 30 or header[:4] != b"PK\3\4":
            raise InvalidModel(f"{name} has a damaged header")
        start = (
            entry.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:], "little")
        )
        if start + entry.file_size > self.size:
            raise InvalidModel(f"{name} reaches beyond the end of the archive")
        return start, entry.file_size

    def _chunks(self, entry: zipfile.ZipInfo) -> Iterator[bytes]:
        left = entry.file_size
        with _faults(entry.filename), self._zip.open(entry) as file:
            while chunk := file.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise InvalidModel(f"{entry.filename} is longer than the {entry.file_size} bytes it says")
                yield chunk
        if left:
            raise InvalidModel(f"{entry.filename} is shorter than the {entry.file_size} bytes it says")


class _Guarded(io.RawIOBase):
    """A file that refuses to be read in one piece beyond a limit: ``zipfile`` reads the central directory whole."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file = file
        self.limit: int | None = limit

    def read(self, size: int = -1, /) -> bytes:
        if self.limit is None:
            return self._file.read(size)
        data = self._file.read(self.limit + 1 if size < 0 else min(size, self.limit + 1))
        if len(data) > self.limit:
            raise InvalidModel(
                f"the archive's list of entries takes more than {self.limit} bytes; a model has a few dozen files"
            )
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


@contextmanager
def _faults(name: str) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as fault:
        raise InvalidModel(f"{name} is damaged or not a zip file: {fault}") from fault
    except OSError as fault:
        if fault.errno not in (None, errno.EINVAL):  # EINVAL: an offset that is no offset
            raise
        raise InvalidModel(f"{name} is damaged: {fault}") from fault


def _is_debris(name: str) -> bool:
    path = PurePosixPath(name)
    return path.parts[0] == "__MACOSX" or path.name.startswith("._") or path.name == ".DS_Store"


def _check(entries: list[zipfile.ZipInfo], bounds: Bounds) -> None:
    if len(entries) > bounds.entries:
        raise InvalidModel(f"the archive has {len(entries)} entries; at most {bounds.entries} are allowed")
    seen: dict[str, str] = {}
    total = 0
    for entry in entries:
        _check_name(entry.orig_filename)
        _check_kind(entry)
        _check_size(entry, bounds)
        total += entry.file_size
        if total > bounds.total:
            raise InvalidModel(f"the archive unpacks to more than {bounds.total} bytes at entry {entry.filename}")
        folded = unicodedata.normalize("NFC", entry.filename.rstrip("/")).casefold()
        if folded in seen:
            raise InvalidModel(f"entry {entry.filename!r} is there twice (as {seen[folded]!r}); names must be unique")
        seen[folded] = entry.filename
    files = {folded for folded, name in seen.items() if not name.endswith("/")}
    for folded, name in seen.items():
        if any(str(parent) in files for parent in PurePosixPath(folded).parents):
            raise InvalidModel(f"entry {name!r} lies under a file; a name is a file or a directory, not both")


def _check_name(name: str) -> None:
    rule = None
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        rule = "has a NUL or another control character"
    elif "\\" in name:
        rule = "has a backslash"
    elif name.startswith("/"):
        rule = "is an absolute path"
    elif re.match(r"[A-Za-z]:", name):
        rule = "begins with a drive letter"
    elif not name or any(part in ("", ".", "..") for part in name.removesuffix("/").split("/")):
        rule = "has an empty, '.' or '..' part in its path"
    elif len(name) > 512 or any(len(part.encode()) > 255 for part in name.split("/")):
        rule = "is too long"
    if rule is not None:
        raise InvalidModel(f"unsafe path in the archive: entry {name[:200]!r} {rule}")


def _check_kind(entry: zipfile.ZipInfo) -> None:
    name, mode = entry.filename, entry.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if kind not in (0, stat.S_IFDIR if entry.is_dir() else stat.S_IFREG):
        special = "a symbolic link" if stat.S_ISLNK(mode) else "a special file"
        raise InvalidModel(f"entry {name!r} is {special}; only files and directories are allowed")
    if entry.flag_bits & _ENCRYPTED:
        raise InvalidModel(f"entry {name!r} is encrypted; zip the model without a password")
    if entry.compress_type not in _METHODS:
        raise InvalidModel(f"entry {name!r} is compressed by method {entry.compress_type}; use store or deflate")
    if not entry.is_dir() and re.search(rf"({'|'.join(map(re.escape, EXECUTABLES))})(\.\d+)*$", name.lower()):
        raise InvalidModel(f"Model archive contains a disallowed executable file: {name}")


def _check_size(entry: zipfile.ZipInfo, bounds: Bounds) -> None:
    if entry.is_dir() and entry.file_size:
        raise InvalidModel(f"entry {entry.filename!r} is a directory with content")
    if entry.file_size > max(FREE_OF_RATIO, bounds.ratio * entry.compress_size):
        raise InvalidModel(
            f"entry {entry.filename!r} unpacks from {entry.compress_size} to {entry.file_size} bytes, more than"
            f" {bounds.ratio} times as many; that is a zip bomb"
        )
