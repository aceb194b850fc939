"""Zip files from strangers."""

import io
import stat
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcommons_py.artifacts.archive import Archive, Bounds
from mlcommons_py.errors import InvalidModel

MakeZip = Callable[[Mapping[str, bytes]], Path]


def with_entry(path: Path, entry: zipfile.ZipInfo, content: bytes = b"x") -> Path:
    """Write an archive of one good file and the entry given."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.json", b"{}")
        archive.writestr(entry, content)
    return path


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("../evil", "'..' part"),
        ("a/../../evil", "'..' part"),
        ("a/..", "'..' part"),
        ("/etc/evil", "absolute path"),
        ("//host/evil", "absolute path"),
        ("C:/evil", "drive letter"),
        ("c:evil", "drive letter"),
        ("..\\evil", "backslash"),
        ("a\\b", "backslash"),
        ("a//b", "empty"),
        ("./a", "'.'"),
        ("a\nb", "control character"),
        ("a\x1b[31mb", "control character"),
        ("a" * 600, "too long"),
    ],
)
def test_unsafe_names(tmp_path: Path, name: str, rule: str) -> None:
    """A name that could lead outside, or deceive, is refused with the name and the rule."""
    path = with_entry(tmp_path / "a.zip", zipfile.ZipInfo(name))
    with pytest.raises(InvalidModel, match="unsafe path") as caught:
        Archive(path)
    assert rule in caught.value.reason
    assert repr(name[:200]) in caught.value.reason


def test_nul_in_a_name(tmp_path: Path) -> None:
    """A NUL, at which zipfile would silently cut the name, is refused."""
    path = with_entry(tmp_path / "a.zip", zipfile.ZipInfo("aXb"))
    path.write_bytes(path.read_bytes().replace(b"aXb", b"a\0b"))
    with pytest.raises(InvalidModel, match="NUL"):
        Archive(path)


@pytest.mark.parametrize(
    ("mode", "word"),
    [
        (stat.S_IFLNK, "symbolic link"),
        (stat.S_IFIFO, "special file"),
        (stat.S_IFCHR, "special file"),
        (stat.S_IFSOCK, "special file"),
        (stat.S_IFDIR, "special file"),
    ],
)
def test_special_files(tmp_path: Path, mode: int, word: str) -> None:
    """An entry that would unpack to anything but a file is refused by its name."""
    entry = zipfile.ZipInfo("model.pt")
    entry.external_attr = (mode | 0o777) << 16
    with pytest.raises(InvalidModel, match=f"'model.pt' is a {word}"):
        Archive(with_entry(tmp_path / "a.zip", entry, b"/etc/passwd"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["model.pt", "MODEL.pt", "Model.PT"])
def test_duplicate_names(tmp_path: Path, second: str) -> None:
    """Two entries that are one on some file system are refused."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model.pt", b"1")
        archive.writestr(second, b"2")
    with pytest.raises(InvalidModel, match="is there twice"):
        Archive(path)


def test_file_that_is_a_directory(make_zip: MakeZip) -> None:
    """A name that is a file and a directory is refused."""
    with pytest.raises(InvalidModel, match="'a/b' lies under a file"):
        Archive(make_zip({"a": b"", "a/b": b""}))


def test_encrypted(make_zip: MakeZip) -> None:
    """An encrypted entry is refused by its name."""
    path = make_zip({"model.pt": b"x"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(InvalidModel, match=r"'model\.pt' is encrypted"):
        Archive(path)


def test_rare_compression(tmp_path: Path) -> None:
    """Methods that pack tighter than deflate are refused."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("model.pt", b"x" * 100)
    with pytest.raises(InvalidModel, match="method 14"):
        Archive(path)


@pytest.mark.parametrize(
    "name", ["libs/evil.jar", "Evil.class", "libx.so", "libx.so.1.2", "LIBX.SO", "x.dylib", "x.dll"]
)
def test_executables(make_zip: MakeZip, name: str) -> None:
    """Files that ML Commons takes for executable are refused in its words."""
    with pytest.raises(InvalidModel) as caught:
        Archive(make_zip({"model.pt": b"", name: b""}))
    assert caught.value.reason == f"Model archive contains a disallowed executable file: {name}"


def test_bomb_of_zeros(tmp_path: Path) -> None:
    """A gigabyte of zeros is refused by its ratio, before anything is written."""
    path = tmp_path / "a.zip"
    zeros = b"\0" * (1 << 24)
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("model.pt", "w", force_zip64=True) as file,
    ):
        for _ in range(64):
            file.write(zeros)
    with pytest.raises(InvalidModel, match=r"'model\.pt' unpacks from .* zip bomb"):
        Archive(path)
    assert list(tmp_path.iterdir()) == [path]


def test_total_size(make_zip: MakeZip) -> None:
    """Files that are each small enough are refused where their sum is too large."""
    path = make_zip({f"{number}.json": bytes(1000) for number in range(20)})
    with pytest.raises(InvalidModel, match=r"unpacks to more than 10000 bytes at entry 10\.json"):
        Archive(path, Bounds(total=10_000))


def test_too_many_entries(make_zip: MakeZip) -> None:
    """More entries than a model has files are refused with both numbers."""
    path = make_zip({str(number): b"" for number in range(30)})
    with pytest.raises(InvalidModel, match="has 30 entries; at most 20"):
        Archive(path, Bounds(entries=20))


def empty_entries(path: Path, count: int) -> Path:
    """Write an archive of nothing but so many empty entries."""
    header = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0)
    directory = b"".join(header + b"%07d" % number for number in range(count))
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), 0)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(directory), 1)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(directory + end64 + locator + end)
    return path


def test_million_entries(tmp_path: Path) -> None:
    """A million empty entries are refused before a list of them is made."""
    with zipfile.ZipFile(empty_entries(tmp_path / "few.zip", 1000)) as archive:
        assert len(archive.namelist()) == 1000
    path = empty_entries(tmp_path / "a.zip", 1_000_000)
    with pytest.raises(InvalidModel, match="list of entries takes more than 1048576 bytes"):
        Archive(path)


def test_lying_size(make_zip: MakeZip, tmp_path: Path) -> None:
    """A file that unpacks to more than its entry says is refused when it is unpacked."""
    path = make_zip({"model.pt": bytes(5000)})
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
        data[data.index(mark) + offset : data.index(mark) + offset + 4] = (100).to_bytes(4, "little")
    path.write_bytes(data)
    with Archive(path) as archive, pytest.raises(InvalidModel, match=r"model\.pt is"):
        archive.unpack({"model.pt": "model.pt"}, tmp_path / "out")
    assert sum(file.stat().st_size for file in (tmp_path / "out").iterdir()) <= 100


def test_no_zip(tmp_path: Path) -> None:
    """What is no zip file is called so by its name."""
    path = tmp_path / "model.zip"
    path.write_bytes(b"not a zip file" * 100)
    with pytest.raises(InvalidModel, match=r"model\.zip is damaged or not a zip file"):
        Archive(path)


def test_unpacks_what_is_wanted(make_zip: MakeZip, tmp_path: Path) -> None:
    """Only the files asked for are written, under the names asked for, and only into a directory of its own."""
    path = make_zip({"m/model.pt": b"weights", "m/tokenizer.json": b"{}", "m/README.md": b"#", "__MACOSX/._m": b"?"})
    with Archive(path) as archive:
        assert archive.names == ("m/model.pt", "m/tokenizer.json", "m/README.md")
        archive.unpack({"m/model.pt": "model.pt", "m/tokenizer.json": "a/b.json"}, tmp_path / "out")
        with pytest.raises(FileExistsError):
            archive.unpack({}, tmp_path / "out")
    written = {str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*") if file.is_file()}
    assert written == {"model.pt", "a/b.json"}
    assert (tmp_path / "out" / "model.pt").read_bytes() == b"weights"


def test_small_files_only(make_zip: MakeZip) -> None:
    """A file that is read into memory has a limit."""
    with Archive(make_zip({"config.json": bytes(1000)})) as archive:
        assert archive.read("config.json") == bytes(1000)
        with pytest.raises(InvalidModel, match=r"config\.json has 1000 bytes; at most 999"):
            archive.read("config.json", 999)


def _sample() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m/model.pt", bytes(range(256)) * 8)
        archive.writestr("m/tokenizer.json", b'{"version": "1.0"}')
    return buffer.getvalue()


SAMPLE = _sample()


@given(st.lists(st.tuples(st.integers(0, len(SAMPLE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damage(tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]) -> None:
    """An archive with changed bytes is read right or refused; it raises nothing else and writes nothing outside."""
    data = bytearray(SAMPLE)
    for position, value in changes:
        data[position] = value
    folder = tmp_path_factory.mktemp("damaged")
    path = folder / "a.zip"
    path.write_bytes(data)
    try:
        with Archive(path) as archive:
            archive.unpack({name: name for name in archive.names}, folder / "out")
    except InvalidModel:
        pass
    assert {file.name for file in folder.iterdir()} <= {"a.zip", "out"}
