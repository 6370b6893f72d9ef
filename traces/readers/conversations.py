"""Conversations as one request each: ShareGPT, LMSYS-Chat-1M, WildChat and OpenAI messages, counted as OPT tokens."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.errors import SlosimError, TraceWarning
from traces.readers.files import is_parquet
from traces.readers.headers import looks_like_time
from traces.readers.json_stream import Record, not_an_object, shown, values
from traces.readers.parquet import parquet_names, parquet_records
from traces.reading import Reading, counted
from traces.tokens import OPT, Tokenizer
from traces.trace import Trace

__all__ = ["MESSAGES", "sharegpt"]

MESSAGES = ("conversations", "conversation", "messages", "items")
"""Keys under which the messages of a conversation are found."""
_NAMES = ("id", "conversation_id", "conversation_hash")
_HUMAN = ("human", "user")
_SYSTEM = ("system", "developer")
_TURNS_AT_ONCE = 1024
_SHOWN = 60


def sharegpt(
    path: Path,
    *,
    tokenizer: Tokenizer = OPT,
    min_len: int = 4,
    max_prompt_len: int | None = 1024,
    max_total_len: int | None = 2048,
    human_first: bool = False,
    shuffle_seed: int | None = None,
    requests: int | None = None,
) -> Trace:
    """Read conversations, as JSON, JSON Lines or Parquet: [{"id", "conversations": [{"from", "value"}, ...]}, ...].

    The messages are under conversations, conversation, messages or items; a message has a speaker (from or role) and a
    text (value, or content, which may be a list of parts). As vLLM's benchmark does, each conversation of two messages
    or more gives one request: its first message is the prompt, the second one the output, whatever their speakers;
    system messages before the first one are part of the prompt. `human_first` takes the first human message that is
    answered instead, and leaves out conversations without one. The limits are the benchmark's, in tokens, by default:
    `min_len` for prompt and output, `max_prompt_len`, and `max_total_len` for both together (None: no limit).
    `shuffle_seed` puts the requests in the order that the benchmark has for this seed. `requests` ends the reading
    after so many requests, unless they are shuffled.

    A broken conversation is left out and counted. A file that is cut off gives its whole conversations, and a note says
    how many. All requests come at 0.
    """
    chats = _Chats(path, human_first)
    limits = _Limits(min_len, max_prompt_len, max_total_len)
    enough = requests if shuffle_seed is None else None
    turns = chats.turns()
    lengths = _lengths(turns, tokenizer, limits, enough)
    chats.stopped = next(turns, None) is not None
    order = list(range(len(lengths)))
    if shuffle_seed is not None:
        Random(shuffle_seed).shuffle(order)
    prompts, outputs = lengths[order].T
    valid = limits.met(prompts, outputs)
    if not valid.any():
        raise _nothing(path, chats, len(lengths))
    kept = [chats.names[order[index]] for index in np.flatnonzero(valid).tolist()]
    reading = chats.reading(limits.broken(prompts, outputs))
    return Trace.from_columns(None, prompts[valid], outputs[valid], ids=kept, name="sharegpt", reading=reading)


class _Limits(NamedTuple):
    """What lengths a request may have, in tokens."""

    least: int
    prompt: int | None
    total: int | None

    def met(self, prompts: NDArray[np.int32], outputs: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return which requests are within the limits."""
        valid = (prompts >= self.least) & (outputs >= self.least)
        within: NDArray[np.bool_] = prompts <= (self.prompt or np.inf)
        return valid & within & (prompts.astype(np.int64) + outputs <= (self.total or np.inf))

    def broken(self, prompts: NDArray[np.int32], outputs: NDArray[np.int32]) -> dict[str, int]:
        """Return how many requests each limit leaves out, the first one that does."""
        short = (prompts < self.least) | (outputs < self.least)
        long = ~short & (prompts > (self.prompt or np.inf))
        total = ~self.met(prompts, outputs) & ~short & ~long
        reasons = {
            f"prompt or output below min_len={self.least}": short,
            f"prompt above max_prompt_len={self.prompt}": long,
            f"prompt and output above max_total_len={self.total}": total,
        }
        return {reason: int(which.sum()) for reason, which in reasons.items() if which.any()}


class _Broken(Exception):
    """A conversation that gives no request: why, in general, and where and what exactly."""

    def __init__(self, reason: str, told: str) -> None:
        super().__init__(reason, told)
        self.reason = reason
        self.told = told


class _Chats:
    """The first turns of the conversations of a file, and a count of everything else in it."""

    def __init__(self, path: Path, human_first: bool) -> None:
        self.path = path
        self.human_first = human_first
        self.names: list[str] = []
        """What the conversations are called that gave a turn."""
        self.rows = 0
        self.left_out: Counter[str] = Counter()
        self.problem = ""
        """The first broken conversation, in words."""
        self.cut: list[str] = []
        self.ignored: Counter[str] = Counter()
        self.systems = self.later = 0
        self.stopped = False
        """Whether conversations were left unread, since there were enough."""

    def turns(self) -> Iterator[tuple[str, str]]:
        """Give prompt and output of each conversation that has them."""
        for record in self._records():
            self.rows += 1
            try:
                turn = self._turn(record)
            except _Broken as broken:
                self.left_out[broken.reason] += 1
                self.problem = self.problem or broken.told
            else:
                yield turn

    def reading(self, filtered: dict[str, int]) -> Reading:
        """Return the record of what was read; `filtered` are the turns that the limits left out."""
        notes = list(self.cut)
        if self.systems:
            notes.append(
                f"{counted(self.systems, 'conversation')} with a system message first, counted as part of the prompt"
            )
        if self.problem:
            notes.append(f"the first broken one: {self.problem}")
        facts = [f"first turns only: {counted(self.later, 'later message')} not used"] if self.later else []
        if self.stopped:
            facts.append(f"stopped after {counted(self.rows, 'conversation')}")
        ignored = tuple(f"{name} ({counted(count, 'time')})" for name, count in sorted(self.ignored.items()))
        return Reading(
            rows=self.rows,
            left_out={**self.left_out, **filtered},
            ignored=ignored,
            facts=tuple(facts),
            notes=tuple(notes),
        )

    def _records(self) -> Iterator[Record]:
        if not is_parquet(self.path):
            yield from values(self.path, "conversation", self.cut)
            return
        names = parquet_names(self.path)
        key = next((key for key in MESSAGES if key in names), None)
        if key is None:
            raise SlosimError(f"{self.path}: no column {' or '.join(MESSAGES)} among {', '.join(names)[:200]}")
        columns = [key, *(name for name in names if name in _NAMES), *(name for name in names if looks_like_time(name))]
        for number, row in enumerate(parquet_records(self.path, list(dict.fromkeys(columns))), start=1):
            yield Record(number, number, row)

    def _turn(self, record: Record) -> tuple[str, str]:
        if not isinstance(record.content, dict):
            raise _Broken("not an object", not_an_object(self.path, record))
        where = f"{self.path}, conversation {record.number}, line {record.line}"
        messages = self._messages(record.content, where)
        before = next((at for at, message in enumerate(messages) if _speaker(message) not in _SYSTEM), len(messages))
        start = _human_turn(messages) if self.human_first else before
        if start is None or start + 1 >= len(messages):
            few = "no answered human message" if self.human_first else "fewer than two messages"
            raise _Broken(few, "")
        texts = [self._text(message, where) for message in [*messages[:before], *messages[start : start + 2]]]
        self._note(record, before, len(messages) - start - 2)
        return "\n".join(texts[:-1]), texts[-1]

    def _messages(self, content: dict[str, Any], where: str) -> list[Any]:
        key = next((key for key in MESSAGES if key in content), None)
        if key is None:
            told = f"{where}: no {' or '.join(MESSAGES)} among {shown(', '.join(content))}"
            raise _Broken("no messages", told)
        messages = content[key]
        if not isinstance(messages, list):
            told = f"{where}, field {key}: expected a list of messages, got {shown(messages)}"
            raise _Broken("the messages are not a list", told)
        return messages

    def _text(self, message: Any, where: str) -> str:
        """Return a message's text: that of its parts joined by line ends; parts without text are counted."""
        key = "value" if isinstance(message, dict) and "value" in message else "content"
        value = message.get(key) if isinstance(message, dict) else None
        if isinstance(value, list) and value:
            parts = [_part(part) for part in value]
            self.ignored.update(kind for kind, text in parts if text is None)
            value = "\n".join(text for _, text in parts if text is not None)
        if not isinstance(value, str):
            field = key if isinstance(message, dict) and key in message else "value"
            told = f"{where}, field {field}: expected a message with a text, got {shown(message)}"
            raise _Broken("a message without text", told)
        if not _is_unicode(value):
            told = f"{where}, field {key}: a text with lone surrogates or bytes that are not UTF-8"
            raise _Broken("a text that is not Unicode", told)
        return value

    def _note(self, record: Record, systems: int, later: int) -> None:
        name = next((record.content[name] for name in _NAMES if record.content.get(name) is not None), record.number)
        self.names.append(str(name).encode("utf-8", "replace").decode())
        self.systems += systems > 0
        self.later += later
        self.ignored.update(key for key in record.content if looks_like_time(str(key)) or key in ("tools", "functions"))


def _lengths(
    turns: Iterator[tuple[str, str]], tokenizer: Tokenizer, limits: _Limits, enough: int | None
) -> NDArray[np.int32]:
    """Return prompt and output tokens of the turns, or of the first ones until enough are within the limits."""
    lengths, found = [np.empty((0, 2), dtype=np.int32)], 0
    while enough is None or found < enough:
        batch = tokenizer.lengths(islice(turns, _TURNS_AT_ONCE))
        if not len(batch):
            break
        lengths.append(batch)
        found += int(limits.met(*batch.T).sum())
    return np.concatenate(lengths)


def _nothing(path: Path, chats: _Chats, turns: int) -> SlosimError:
    """Return the error of a file without any request; warn where it is cut off, since no trace carries the note."""
    for told in chats.cut:
        warnings.warn(f"{path}: {told}", TraceWarning, stacklevel=3)
    if chats.problem:
        return SlosimError(f"{chats.problem}; no request from {counted(turns, 'conversation')}")
    return SlosimError(f"{path}: no request from {counted(turns, 'conversation')} is within the limits on lengths")


def _human_turn(messages: Sequence[Any]) -> int | None:
    turns = enumerate(pairwise(map(_speaker, messages)))
    return next((place for place, (asks, answers) in turns if asks in _HUMAN and answers not in _HUMAN), None)


def _speaker(message: Any) -> Any:
    speaker = message.get("from", message.get("role")) if isinstance(message, dict) else None
    return speaker.lower() if isinstance(speaker, str) else None


def _part(part: Any) -> tuple[str, str | None]:
    """Return what a part of a message is, and its text if it is one."""
    if isinstance(part, str):
        return "text", part
    text = part.get("text") if isinstance(part, dict) else None
    if isinstance(text, str):
        return "text", text
    kind = part.get("type") if isinstance(part, dict) else None
    return str(kind or "parts without text")[:_SHOWN], None


def _is_unicode(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False
