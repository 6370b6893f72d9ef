"""What kind of file this is, told by what is in it."""

import json
import re
from collections.abc import Iterator, Mapping, Set
from math import ceil
from pathlib import Path
from typing import Any

from traces.errors import SlosimError
from traces.readers.delimited import header
from traces.readers.files import is_parquet, opened_text
from traces.readers.own import parquet_names

__all__ = ["detect"]

_COLUMNS: Mapping[str, Set[str]] = {
    "azure": {"TIMESTAMP", "ContextTokens", "GeneratedTokens"},
    "burstgpt": {"Timestamp", "Model", "Request tokens", "Response tokens"},
    "vidur": {"num_prefill_tokens", "num_decode_tokens"},
    "csv": {"prompt_tokens"},
}
_KEYS: Mapping[str, Set[str]] = {
    "sharegpt": {"conversations"},
    "alpaca": {"instruction", "input", "output"},
    "timed": {"timestamp", "input_length", "output_length"},
    "custom": {"prompt"},
}
_KEY = re.compile(r'"(\w+)"\s*:')
_BLOCKS = {"mooncake": 512, "timed_trace": 16}
"""Prompt tokens for each of a row's hash_ids."""
_CHARACTERS = 1 << 16


def detect(path: Path) -> str:
    """Return the name of the format; raise SlosimError saying what was found when it is none of the known ones."""
    if path.is_dir():
        return "text"
    if is_parquet(path):
        return _matching(set(parquet_names(path)), {"alpaca": _KEYS["alpaca"]}) or "parquet"
    with opened_text(path, errors="replace") as text:
        head = text.read(_CHARACTERS)
    if head.lstrip()[:1] in ("[", "{"):
        return _json_format(path, head)
    if path.name.endswith((".txt", ".txt.gz")):
        return "text"
    names = header(path)
    return _matching(set(names), _COLUMNS) or _unknown(path, f"its first line is {','.join(names)[:200]!r}")


def _json_format(path: Path, head: str) -> str:
    keys = _KEY.findall(head)
    name = _matching(set(keys), _KEYS)
    if name == "timed":
        return _timed_format(path, head)
    return name or _unknown(path, f"its first keys are {', '.join(dict.fromkeys(keys))[:200] or 'none'}")


def _timed_format(path: Path, head: str) -> str:
    """Tell milliseconds (Mooncake) from seconds by the size of the hash blocks, the only difference in the rows."""
    for row in _rows(head):
        fits = [name for name, size in _BLOCKS.items() if len(row["hash_ids"]) == ceil(row["input_length"] / size)]
        if len(fits) == 1:
            return fits[0]
    raise SlosimError(
        f"{path}: its timestamps may be milliseconds or seconds; say which: format='mooncake' or format='timed_trace'"
    )


def _rows(head: str) -> Iterator[dict[str, Any]]:
    for line in head.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            return
        if isinstance(row, dict) and isinstance(row.get("hash_ids"), list) and isinstance(row.get("input_length"), int):
            yield row


def _matching(found: Set[str], known: Mapping[str, Set[str]]) -> str | None:
    return next((name for name, needed in known.items() if needed <= found), None)


def _unknown(path: Path, found: str) -> str:
    from traces.readers import FORMATS

    raise SlosimError(f"{path}: none of the known formats ({', '.join(FORMATS)}): {found}; name one: format=...")
