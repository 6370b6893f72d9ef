"""Files opened for reading, compressed or not; every failure is a SlosimError that names what the file is."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from traces.errors import SlosimError

__all__ = ["files_below", "first_bytes", "is_parquet", "opened", "opened_text", "parquet_source", "regular"]

_HEAD = 512
_BYTES_AT_ONCE, _BUFFER = 1 << 20, 1 << 16
_MOST_LAYERS = 3
"""Compressions inside one another that are undone, such as a .csv.gz in a zip archive."""
_ALWAYS_UNPACKED, _MOST_RATIO = 256 << 20, 100
"""Bytes that any file may unpack to, and how many times its own size a larger one may; beyond is a decompression bomb.
CSV traces compress 3 to 20 times."""
_MOST_XZ_MEMORY = 512 << 20
_PARQUET_MAGIC = b"PAR1"
_NOT_READ = (
    (b"version https://git-lfs.github.com/", "a Git LFS pointer, not the file itself; run git lfs pull"),
    (b"/annex/objects/", "a git-annex pointer, not the file itself; run git annex get"),
    (b"\x04\x22\x4d\x18", "lz4, which is not read; unpack it first (lz4 -d)"),
    (b"\x1f\x9d", "compress (.Z), which is not read; unpack it first (uncompress)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive, which is not read; unpack it first"),
    (b"Rar!\x1a\x07", "a rar archive, which is not read; unpack it first"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook (.xls); save its sheet as CSV"),
    (b"SQLite format 3\0", "an SQLite database; export its table as CSV"),
    (b"ARROW1", "an Arrow or Feather file; save it as Parquet"),
    (b"FEA1", "a Feather file; save it as Parquet"),
    (b"ORC", "an ORC file; save it as Parquet"),
    (b"Obj\x01", "an Avro file; save it as Parquet or JSON Lines"),
    (b"\x89HDF", "an HDF5 file; save its table as Parquet or CSV"),
    (b"\x93NUMPY", "a numpy array; save it as CSV with named columns"),
    (b"%PDF", "a PDF document"),
    (b"\xff\xfe\0\0", "UTF-32 text; convert it: iconv -f UTF-32 -t UTF-8"),
    (b"\0\0\xfe\xff", "UTF-32 text; convert it: iconv -f UTF-32 -t UTF-8"),
    (b"\xff\xfe", "UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8"),
)
"""How files begin that are recognised and not read, what they are, and what to do."""
_SPECIAL: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISFIFO, "a FIFO (named pipe), not a file; save what it gives to a file first"),
    (stat.S_ISSOCK, "a socket, not a file; save what it gives to a file first"),
    (stat.S_ISCHR, "a device, not a file; save what it gives to a file first"),
    (stat.S_ISBLK, "a block device, not a file"),
    (stat.S_ISDIR, "a folder, where a file is wanted"),
)


class _Damaged(Exception):
    """Compressed data that cannot be unpacked; its text says which and why."""


def regular(path: Path) -> None:
    """Raise SlosimError unless the path is a file of finite length: not a FIFO, socket, device or folder."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise SlosimError(f"{path}: no such file or folder") from error
    except (OSError, ValueError) as error:
        raise SlosimError(f"{path}: cannot read: {getattr(error, 'strerror', None) or error}") from error
    kind = next((kind for test, kind in _SPECIAL if test(mode)), None)
    if kind is not None:
        raise SlosimError(f"{path}: {kind}")


def files_below(folder: Path) -> list[Path]:
    """Return the files in a folder and in its folders, in order of path; links to folders are not followed."""
    found: list[Path] = []
    waiting = [folder]
    try:
        while waiting:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(Path(entry.path))
                    elif entry.is_file():
                        found.append(Path(entry.path))
    except OSError as error:
        raise SlosimError(f"{folder}: cannot read: {error.strerror or error}") from error
    return sorted(found)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Give the bytes of a file, unpacked if its contents are gzip, bzip2, xz, zip or zstd, whatever its name.

    Raises SlosimError for special files, for kinds that are recognised and not read, and while the file is read: for
    damaged data and for decompression bombs, naming the compression.
    """
    regular(path)
    try:
        with path.open("rb") as raw:
            stream = _unpacked(raw, path)
            _refuse_others(cast(io.BufferedReader, stream).peek(_HEAD)[:_HEAD], path)
            yield stream
    except (EOFError, _Damaged) as error:
        raise SlosimError(f"{path}: {error}") from error
    except OSError as error:
        raise SlosimError(f"{path}: cannot read: {error.strerror or error}") from error


@contextmanager
def opened_text(path: Path, errors: str = "strict") -> Iterator[TextIO]:
    """Give the text of a UTF-8 file, with or without a byte-order mark, line ends as they are."""
    with opened(path) as binary:
        head = cast(io.BufferedReader, binary).peek(_HEAD)[:_HEAD]
        if b"\0" in head:
            raise SlosimError(f"{path}: {_with_zeros(head)}")
        with io.TextIOWrapper(binary, encoding="utf-8-sig", errors=errors, newline="") as text:
            try:
                yield text
            except UnicodeDecodeError as error:
                at = binary.tell() - len(error.object) + error.start
                told = f"not UTF-8 text (byte {at:,} is 0x{error.object[error.start]:02x}: {error.reason})"
                raise SlosimError(f"{path}: {told}; convert it, such as iconv -f LATIN1 -t UTF-8") from error


def first_bytes(path: Path, count: int = _HEAD) -> bytes:
    """Return the first bytes of a file, unpacked."""
    with opened(path) as binary:
        return binary.read(count)


def is_parquet(path: Path) -> bool:
    """Return whether the file, unpacked, begins as Parquet does."""
    return first_bytes(path, 4) == _PARQUET_MAGIC


def parquet_source(path: Path) -> Path | BinaryIO:
    """Return what a reader of Parquet can seek in: the file, or its bytes where it is compressed as a whole."""
    regular(path)
    with path.open("rb") as raw:
        if raw.read(4) == _PARQUET_MAGIC:
            return path
    with opened(path) as binary:
        return io.BytesIO(binary.read())


def _unpacked(raw: BinaryIO, path: Path) -> BinaryIO:
    """Return the stream with its compressions undone, one after the other."""
    stream = raw
    for _ in range(_MOST_LAYERS + 1):
        head = cast(io.BufferedReader, stream).peek(_HEAD)[:_HEAD]
        name = next((name for magic, name in _MAGICS if head.startswith(magic)), None)
        if name is None:
            return stream
        inner = _UNPACKERS[name](stream, path)
        stream = cast(BinaryIO, io.BufferedReader(_Bounded(inner, name, path), _BUFFER))
    raise SlosimError(f"{path}: compressed more than {_MOST_LAYERS} times over; unpack it first")


def _refuse_others(head: bytes, path: Path) -> None:
    kind = next((kind for magic, kind in _NOT_READ if head.startswith(magic)), None)
    if kind is None and head[257:262] == b"ustar":
        kind = "a tar archive; unpack it, and give the file or the folder"
    if kind is None and head.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        kind = "an HTML page, such as a server's answer in place of a download"
    if kind is not None:
        raise SlosimError(f"{path}: {kind}")


def _with_zeros(head: bytes) -> str:
    even, odd = head[::2], head[1::2]
    if min(even.count(0), odd.count(0)) == 0 and max(even.count(0), odd.count(0)) * 3 > len(head):
        return "UTF-16 text without a byte-order mark; convert it: iconv -f UTF-16LE (or BE) -t UTF-8"
    if not head.strip(b"\0"):
        return "begins with zero bytes only: damaged, or not a trace"
    return "binary data, neither text nor Parquet nor a compression that is read (gz, bz2, xz, zip, zst)"


class _Bounded(io.RawIOBase):
    """An unpacked stream that names its compression when it is damaged, and ends a decompression bomb."""

    def __init__(self, inner: Any, name: str, path: Path) -> None:
        self._inner = inner
        self._name = name
        self._given = 0
        self._most = max(_ALWAYS_UNPACKED, _MOST_RATIO * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._given

    def readinto(self, buffer: Any) -> int:
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return self.readall()
        piece = self._piece(size)
        self._given += len(piece)
        if self._given > self._most:
            told = f"unpacks to more than {self._most >> 20:,} MiB, {_MOST_RATIO} times its size"
            raise _Damaged(f"the {self._name} file {told}: a decompression bomb? Unpack it first if it is meant so")
        return piece

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.read(_BYTES_AT_ONCE), b""))

    def _piece(self, size: int) -> bytes:
        told = f"the {self._name} file is damaged or cut off"
        try:
            return bytes(self._inner.read(size))
        except EOFError as error:
            raise EOFError(f"{told} ({str(error) or 'it ends too early'})") from error
        except OSError as error:
            if "runcated" in str(error):
                raise EOFError(f"{told} ({error})") from error
            raise _Damaged(f"{told} ({error})") from error
        except (zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, ValueError, NotImplementedError) as error:
            raise _Damaged(f"{told} ({error})") from error


class _Frames(io.RawIOBase):
    """Compressed frames one after the other; what follows a frame has to be another one, or zero bytes."""

    def __init__(self, raw: BinaryIO, new: Callable[[], Any]) -> None:
        self._raw = raw
        self._new = new
        self._frame = new()

    def read(self, size: int = -1) -> bytes:
        while True:
            data = b""
            if self._frame.eof:
                data = (self._frame.unused_data or self._raw.read(_BYTES_AT_ONCE)).lstrip(b"\0")
                if not data:
                    return b""
                self._frame = self._new()
            elif self._frame.needs_input:
                data = self._raw.read(_BYTES_AT_ONCE)
                if not data:
                    raise EOFError("it ends too early")
            piece = self._frame.decompress(data, size)
            if piece:
                return bytes(piece)


def _bz2(raw: BinaryIO, path: Path) -> Any:
    return _Frames(raw, bz2.BZ2Decompressor)


def _xz(raw: BinaryIO, path: Path) -> Any:
    return _Frames(raw, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _MOST_XZ_MEMORY))


def _gzip(raw: BinaryIO, path: Path) -> Any:
    return gzip.GzipFile(fileobj=raw)


def _zstd(raw: BinaryIO, path: Path) -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise SlosimError(f"{path}: zstd files need pyarrow: pip install pyarrow, or unpack it (zstd -d)") from error
    return pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, "r"), "zstd")


def _zip(raw: BinaryIO, path: Path) -> Any:
    """Open the only file of an archive; SlosimError where there are several, or none."""
    if not raw.seekable():
        raise SlosimError(f"{path}: a zip archive inside another compression; unpack it first")
    try:
        archive = zipfile.ZipFile(raw)
        members = [each for each in archive.infolist() if not each.is_dir() and not _is_clutter(each.filename)]
        names = [each.filename for each in members]
        if any(name.startswith("xl/") for name in names):
            raise SlosimError(f"{path}: an Excel workbook (.xlsx); save its sheet as CSV")
        if len(members) != 1:
            held = (
                f"{len(names):,} files ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
                if names
                else "no file"
            )
            raise SlosimError(f"{path}: the zip archive holds {held}; unpack it, and give one file or the folder")
        if members[0].flag_bits & 1:
            raise SlosimError(f"{path}: the zip archive is encrypted; unpack it first")
        return archive.open(members[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError) as error:
        raise _Damaged(f"the zip file is damaged or cut off ({error})") from error


def _is_clutter(name: str) -> bool:
    return name.startswith("__MACOSX/") or name.rsplit("/", 1)[-1].startswith(".")


_UNPACKERS: dict[str, Callable[[BinaryIO, Path], Any]] = {
    "gzip": _gzip,
    "bzip2": _bz2,
    "xz": _xz,
    "zip": _zip,
    "zstd": _zstd,
}
_MAGICS: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "gzip"),
    *((b"BZh%d" % level + block, "bzip2") for level in range(1, 10) for block in (b"1AY&SY", b"\x17rE8P\x90")),
    (b"\xfd7zXZ\0", "xz"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    *((bytes([0x50 + each]) + b"\x2a\x4d\x18", "zstd") for each in range(16)),
)
"""How compressed data begins. The sixteen skippable frames of zstd come before a real one."""
