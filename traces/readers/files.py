"""Files opened for reading, gzipped or not, with every failure told as a SlosimError."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from traces.errors import SlosimError

__all__ = ["is_parquet", "opened", "opened_text"]

_GZIP_MAGIC = b"\x1f\x8b"
_PARQUET_MAGIC = b"PAR1"


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Give the bytes of a file, unzipped if its contents are gzip, whatever its name."""
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            yield cast(BinaryIO, gzip.GzipFile(fileobj=raw) if zipped else raw)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SlosimError(f"{path}: the gzip file is damaged or cut off ({error})") from error
    except UnicodeDecodeError as error:
        raise SlosimError(f"{path}: not UTF-8 text (byte {error.start}: {error.reason})") from error
    except OSError as error:
        raise SlosimError(f"{path}: cannot read: {error.strerror or error}") from error


@contextmanager
def opened_text(path: Path, errors: str = "strict") -> Iterator[TextIO]:
    """Give the text of a UTF-8 file, with or without a byte-order mark, line ends as they are."""
    with opened(path) as binary, io.TextIOWrapper(binary, encoding="utf-8-sig", errors=errors, newline="") as text:
        yield text


def is_parquet(path: Path) -> bool:
    """Say whether the file begins as Parquet does."""
    with opened(path) as binary:
        return binary.read(4) == _PARQUET_MAGIC
