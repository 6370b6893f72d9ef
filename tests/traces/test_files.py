"""Files that are compressed, damaged, of another kind, or no files at all: read, or refused in one line."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import socket
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from traces import SlosimError, load
from traces.readers import files
from traces.readers.files import opened, opened_text

CASES = Path(__file__).parent / "cases"


def zipped(data: bytes, name: str = "trace.csv") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def zstd(data: bytes) -> bytes:
    return bytes(pyarrow.compress(data, codec="zstd", asbytes=True))


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zip": zipped,
    "zstd": zstd,
}
KINDS = sorted(PACKERS)


def rows(count: int) -> bytes:
    """A CSV trace of noisy numbers, so that it does not compress to nothing."""
    noise = random.Random(7)
    lines = (f"{at},{noise.randrange(1, 9999)},{noise.randrange(1, 999)}" for at in range(count))
    return "\n".join(["arrived_at,prompt_tokens,output_tokens", *lines]).encode() + b"\n"


def saved(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def read_in_pieces(path: Path) -> None:
    with opened_text(path) as text:
        while text.read(1000):
            pass


def refusal(path: Path, format: str | None = None) -> str:
    with pytest.raises(SlosimError) as caught:
        load(path, format)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_each_compression_is_read_whatever_the_name(tmp_path: Path, kind: str) -> None:
    data = rows(3000)
    whole = load(saved(tmp_path / "plain", data))
    assert load(saved(tmp_path / "packed", PACKERS[kind](data))).digest == whole.digest
    assert len(load(saved(tmp_path / "packed", PACKERS[kind](data)), requests=10)) == 10


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zstd"])
def test_files_joined_of_several_frames_are_read_to_the_end(tmp_path: Path, kind: str) -> None:
    data = rows(2000)
    half = len(data) // 2
    joined = PACKERS[kind](data[:half]) + PACKERS[kind](data[half:])
    assert load(saved(tmp_path / "joined", joined)).digest == load(saved(tmp_path / "plain", data)).digest
    damaged = joined + b"not a frame at all"
    assert f"the {kind} file is damaged or cut off" in refusal(saved(tmp_path / "tail", damaged))


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_named_with_the_compression(tmp_path: Path, kind: str) -> None:
    packed = PACKERS[kind](rows(20_000))
    for cut in (len(packed) // 2, len(packed) - 9):
        assert f"the {kind} file is damaged or cut off" in refusal(saved(tmp_path / "cut", packed[:cut]))
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 0xFF
    refusal(saved(tmp_path / "flipped", bytes(flipped)))


def test_a_compressed_parquet_file_is_read(tmp_path: Path) -> None:
    table = pyarrow.table({"prompt_tokens": [5, 6], "output_tokens": [7, 8]})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    packed = saved(tmp_path / "x.parquet.gz", gzip.compress((tmp_path / "x.parquet").read_bytes()))
    assert load(packed).prompt_tokens.tolist() == [5, 6]


def test_the_cases_in_compression() -> None:
    expected = load(CASES / "z05_azure.csv.zst")
    assert load(CASES / "z02_azure.csv.bz2").digest == expected.digest
    assert len(expected) == 3


def test_archives_of_several_files_are_refused_with_their_names(tmp_path: Path) -> None:
    path = tmp_path / "two.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "prompt_tokens,output_tokens\n1,2\n")
        archive.writestr("__MACOSX/._a.csv", "clutter")
    assert len(load(path)) == 1
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("b.csv", "prompt_tokens,output_tokens\n1,2\n")
    assert "the zip archive holds 2 files (a.csv, b.csv); unpack it" in refusal(path)
    with zipfile.ZipFile(path, "w"):
        pass
    assert "holds no file" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("[Content_Types].xml", "")
        archive.writestr("xl/workbook.xml", "")
    assert "an Excel workbook" in refusal(path)


def test_a_zip_archive_with_a_password(tmp_path: Path) -> None:
    packed = bytearray(zipped(rows(10)))
    for at in (packed.index(b"PK\x03\x04") + 6, packed.index(b"PK\x01\x02") + 8):
        packed[at] |= 1
    assert "the zip archive is encrypted" in refusal(saved(tmp_path / "secret.zip", bytes(packed)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_decompression_bomb_ends_in_one_line(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_ALWAYS_UNPACKED", 4 << 20)
    bomb = b"prompt_tokens,output_tokens\n" + b"1,2\n" * 1_200_000
    path = saved(tmp_path / "bomb.csv", PACKERS[kind](bomb))
    assert f"the {kind} file unpacks to more than" in refusal(path)
    assert len(load(path, requests=100)) == 100, "what is asked for is read"


def test_blanks_without_end_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_ALWAYS_UNPACKED", 4 << 20)
    assert "decompression bomb" in refusal(saved(tmp_path / "blank.gz", gzip.compress(b" " * (8 << 20))))


def test_compressions_within_compressions_have_a_limit(tmp_path: Path) -> None:
    data = rows(10)
    for _ in range(3):
        data = gzip.compress(data)
    assert len(load(saved(tmp_path / "three", data))) == 10
    assert "more than 3 times over" in refusal(saved(tmp_path / "four", gzip.compress(data)))
    inside = gzip.compress(zipped(rows(10)))
    assert "a zip archive inside another compression" in refusal(saved(tmp_path / "zip.gz", inside))


KNOWN = [
    (b"\x04\x22\x4d\x18....", "lz4, which is not read"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07\x00", "a rar archive"),
    (b"\x1f\x9d\x90", "compress"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"ARROW1\0\0", "an Arrow or Feather file"),
    (b"/annex/objects/SHA256E-s3--aa.csv\n", "a git-annex pointer"),
    (b"<!DOCTYPE html>\n<html>404</html>", "an HTML page"),
    (b"\x00" * 600, "begins with zero bytes only"),
    (b"a,b\x00\x01\x02\n", "binary data"),
    ("prompt_tokens\tx\n1\t2\n".encode("utf-16"), "UTF-16 text; convert it: iconv -f UTF-16"),
    ("prompt_tokens\tx\n1\t2\n".encode("utf-16-be"), "UTF-16 text without a byte-order mark"),
    ("prompt_tokens,x\n1,2\n".encode("utf-32"), "UTF-32 text"),
]


@pytest.mark.parametrize(("data", "told"), KNOWN, ids=[told for _, told in KNOWN])
def test_other_kinds_of_files_are_named(tmp_path: Path, data: bytes, told: str) -> None:
    assert told in refusal(saved(tmp_path / "x.csv", data))
    assert told in refusal(saved(tmp_path / "x.csv", gzip.compress(data)))
    assert told in refusal(saved(tmp_path / "x.csv", data), "sharegpt")


def test_a_tar_archive_is_named(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        archive.add(saved(tmp_path / "a.csv", rows(3)), "a.csv")
    assert "a tar archive; unpack it" in refusal(tmp_path / "x.tar.gz")


def test_a_git_lfs_pointer_is_named() -> None:
    assert "a Git LFS pointer, not the file itself; run git lfs pull" in refusal(CASES / "b04_burstgpt_lfs_pointer.csv")


@pytest.mark.parametrize("place", [3, 9000, 70_000])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstd], ids=["plain", "gzip", "zstd"])
def test_the_byte_that_is_not_utf_8_is_named(tmp_path: Path, place: int, pack: Callable[[bytes], bytes]) -> None:
    data = bytearray(b"x" * 80_000)
    data[place] = 0xE9
    path = saved(tmp_path / "latin", pack(bytes(data)))
    told = rf"not UTF-8 text \(byte {place:,} is 0xe9: .*iconv -f LATIN1"
    with pytest.raises(SlosimError, match=told):
        read_in_pieces(path)


@pytest.mark.parametrize("format", [None, "csv", "sharegpt", "parquet", "text"])
def test_what_is_no_file_is_refused_at_once(
    tmp_path: Path, format: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "a FIFO (named pipe), not a file; save" in refusal(tmp_path / "pipe", format)
    assert "a device, not a file" in refusal(Path("/dev/zero"), format)
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # a socket has a short name
        server.bind("door")
        assert "a socket, not a file" in refusal(tmp_path / "door", format)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert "cannot read" in refusal(tmp_path / "loop", format)
    assert "no such file or folder" in refusal(tmp_path / "missing", format)
    assert "cannot read" in refusal(tmp_path / ("x" * 5000), format)


def test_a_folder_that_contains_itself(tmp_path: Path) -> None:
    (tmp_path / "inner").symlink_to(tmp_path, target_is_directory=True)
    saved(tmp_path / "a.csv", rows(4))
    assert len(load(tmp_path)) == 4


@pytest.mark.parametrize(("format", "name"), [(None, "x.csv"), ("text", "x.txt")])
def test_folders_nested_a_thousand_deep(
    tmp_path: Path, format: str | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / "deep"
    deep.mkdir()
    monkeypatch.chdir(deep)
    for _ in range(1200):
        os.mkdir("a")
        os.chdir("a")
    Path(name).write_bytes(rows(4))
    monkeypatch.chdir(tmp_path)
    try:
        assert len(load(Path("deep"), format)) == (4 if format is None else 1)
    finally:
        subprocess.run(["rm", "-r", "deep"], check=True)  # which the standard library removes by recursion


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(SlosimError, match="a folder, where a file is wanted"), opened(tmp_path):
        pass
