"""Text files as prompts: BookCorpus or any folder of texts, whole or cut into pieces."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from traces.distributions import Distribution
from traces.errors import SlosimError
from traces.fits import BOOKCORPUS_OUTPUTS
from traces.readers.files import opened_text
from traces.readers.outputs import drawn
from traces.tokens import OPT, Tokenizer
from traces.trace import Trace

__all__ = ["text"]

_ENDINGS = (".txt", ".txt.gz")
_CHARACTERS_AT_ONCE, _LONGEST_LINE = 1 << 20, 1 << 16


def text(
    path: Path,
    *,
    tokenizer: Tokenizer = OPT,
    chunk_tokens: int | None = None,
    chunks_per_file: int | None = None,
    outputs: int | Distribution = BOOKCORPUS_OUTPUTS,
    seed: int = 0,
) -> Trace:
    """Read a text file, or every .txt and .txt.gz below a folder in order of their paths: one file is one prompt.

    With `chunk_tokens` a file is cut into consecutive prompts of so many tokens, the leading token included, the last
    one shorter; `chunks_per_file` keeps only the first few of each. Texts have no answers: `outputs` is a length for
    all, or a distribution drawn with `seed`, by default the one fitted to the paper's table for BookCorpus (mean 681).
    Files without any token are left out. All requests come at 0; ids are the paths.
    """
    lengths, ids = [], []
    for file in _files(path):
        pieces = _pieces(_tokens(file, tokenizer), tokenizer.leading, chunk_tokens, chunks_per_file)
        lengths.append(pieces)
        ids += [str(file.relative_to(path)) if path.is_dir() else file.name] * len(pieces)
    prompts = np.concatenate(lengths)
    if not len(prompts):
        raise SlosimError(f"{path}: the texts are empty")
    return Trace.from_columns(None, prompts, drawn(outputs, len(prompts), seed), ids=ids, name=path.name.split(".")[0])


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.name.endswith(_ENDINGS) and file.is_file())
    if not found:
        raise SlosimError(f"{path}: the folder has no file ending in {' or '.join(_ENDINGS)}")
    return found


def _tokens(file: Path, tokenizer: Tokenizer) -> int:
    """Count a text a million characters at a time, up to a line end: exact but for a token or so per million."""
    with opened_text(file, errors="replace") as stream:
        parts = iter(lambda: stream.read(_CHARACTERS_AT_ONCE) + stream.readline(_LONGEST_LINE), "")
        return sum(int(count) for part in parts for count in tokenizer.count([part]))


def _pieces(tokens: int, leading: int, chunk: int | None, most: int | None) -> NDArray[np.int64]:
    if chunk is None or not tokens:
        return np.full(min(tokens, 1), tokens + leading)
    room = chunk - leading
    if room < 1:
        raise SlosimError(f"chunk_tokens: {chunk} leaves no room beside {leading} leading token")
    whole, rest = divmod(tokens, room)
    return np.array(([chunk] * whole + [rest + leading] * (rest > 0))[:most])
