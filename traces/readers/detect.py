"""What kind of file this is, told by what is in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path

from traces.errors import SlosimError, asked_by
from traces.readers.blis import is_header
from traces.readers.conversations import MESSAGES
from traces.readers.distserve import is_python_data
from traces.readers.files import first_bytes, is_parquet, opened_text
from traces.readers.headers import mapping_hint, plain
from traces.readers.json_kinds import json_kind
from traces.readers.rows import first_character, listed, shards
from traces.readers.table import opened_rows

__all__ = ["container", "detect"]

_COLUMNS: Mapping[str, Set[str]] = {
    "azure": {"TIMESTAMP", "ContextTokens", "GeneratedTokens"},
    "burstgpt": {"Timestamp", "Model", "Request tokens", "Response tokens"},
    "mooncake": {"timestamp", "input_length", "output_length"},
    "vidur": {"num_prefill_tokens", "num_decode_tokens"},
    "blis": {"input_tokens", "output_tokens", "arrival_time_us"},
    "splitwise": {"arrival_timestamp", "prompt_size", "token_size"},
    "servegen": {"timestamp", "input_tokens", "output_tokens"},
    "alpaca": {"instruction", "input", "output"},
}
"""Formats of rows by the columns that they need, in whatever spelling and container."""
_KEYS: Mapping[str, Set[str]] = {
    "alpaca": {"instruction", "input", "output"},
    "mooncake": {"timestamp", "input_length", "output_length"},
    "jsonl": {"prompt_tokens"},
    "custom": {"prompt"},
}
_KEY = re.compile(r'"((?:[^"\\]|\\.)*)"\s*:')
_CHARACTERS = 1 << 16
_PROSE = (".txt", ".text", ".md")


def detect(path: Path) -> str:
    """Return the name of the format; raise SlosimError saying what was found when it is none of the known ones."""
    if path.is_dir():
        return _of_shards(path)
    if is_python_data(first_bytes(path)):
        return "distserve"
    if is_header(path):
        return "blis"
    if is_parquet(path):
        names = opened_rows(path).names
        return "sharegpt" if set(MESSAGES) & set(names) else _of_columns(names) or "parquet"
    if first_character(path) in ("[", "{"):
        return _of_keys(path)
    return _of_text(path)


def container(path: Path) -> str:
    """Return which of the formats of plain columns fits a file, or a folder's first one: csv, jsonl or parquet."""
    if path.is_dir():
        files, _ = shards(path)
        path = files[0] if files else path
    if is_parquet(path):
        return "parquet"
    return "jsonl" if first_character(path) in ("[", "{") else "csv"


def _of_shards(folder: Path) -> str:
    files, others = shards(folder)
    if not files:
        texts = f"; its texts are read as prompts with {asked_by(format='text')}" if others else ""
        raise SlosimError(f"{folder}: the folder has no CSV, JSON Lines or Parquet file{texts}")
    formats = {path: detect(path) for path in files}
    other = next((path for path in files if formats[path] != formats[files[0]]), None)
    if other is not None:
        told = f"{files[0].name} is {formats[files[0]]}, {other.name} is {formats[other]}"
        raise SlosimError(f"{folder}: files of several formats ({told}); give a folder with one, or a single file")
    return formats[files[0]]


def _of_keys(path: Path) -> str:
    with opened_text(path, errors="replace") as text:
        head = text.read(_CHARACTERS)
    keys = list(dict.fromkeys(_KEY.findall(head)))
    return (
        json_kind(path, head)
        or _matching(set(keys), _KEYS)
        or _unknown(path, keys, f"its first keys are {listed(keys) or 'none'}")
    )


def _of_text(path: Path) -> str:
    prose = any(ending in path.suffixes for ending in _PROSE)
    try:
        names = opened_rows(path).names
    except SlosimError:
        if prose:
            names = []
        else:
            raise
    found = _of_columns(names)
    if found is None and "prompttokens" in {plain(name) for name in names}:
        return "csv"
    if found is not None:
        return found
    if prose:
        hint = mapping_hint(names)
        asks = asked_by(format="text") + (f"; if it is a table: {hint}" if hint else "")
        raise SlosimError(f"{path}: a text, which is read as prose only when asked to: {asks}")
    return _unknown(path, names, f"its first line is {','.join(names)[:200]!r}")


def _of_columns(names: Sequence[str]) -> str | None:
    return _matching({plain(name) for name in names}, _COLUMNS, plain)


def _matching(found: Set[str], known: Mapping[str, Set[str]], spelled: Callable[[str], str] = str) -> str | None:
    return next((name for name, needed in known.items() if {spelled(each) for each in needed} <= found), None)


def _unknown(path: Path, names: Sequence[str], found: str) -> str:
    from traces.readers import FORMATS

    hint = mapping_hint(names)
    if hint:
        raise SlosimError(f"{path}: none of the known formats: {found}; say which column is which: {hint}")
    asks = asked_by(format="...")
    raise SlosimError(f"{path}: none of the known formats ({', '.join(FORMATS)}): {found}; name one: {asks}")
