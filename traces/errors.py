"""What a user sees when an input is wrong: one sentence saying what, where and what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = ["SlosimError", "TraceWarning", "asked_by", "flags_in_hints"]

_LONGEST_MESSAGE = 2000
_FLAGS: ContextVar[bool] = ContextVar("flags_in_hints", default=False)
_OPTIONS = {
    "format": "--format",
    "columns": "--columns",
    "time_unit": "--time-unit",
    "keep_start": "--keep-start",
    "start": "--from",
    "end": "--to",
    "requests": "--requests",
}
"""Arguments of `traces.load` that have a flag of their own."""


class SlosimError(ValueError):
    """The base of every error that a user can mend: a wrong file, field, name or option.

    Its message is one readable line, with an indented line for each of several mistakes; the command line prints it
    as it is and ends with code 2. In text from a file or a user, characters that cannot be printed are
    escaped, and the middle of a long line is left out.
    """

    def __init__(self, message: object = "", *mistakes: object) -> None:
        super().__init__(*(_one_line(str(line)) for line in (message, *mistakes)))

    def __str__(self) -> str:
        return "\n  ".join(self.args)


class TraceWarning(UserWarning):
    """A file could be read, but not all of it: what was left out, and how much was kept."""


def _one_line(message: str) -> str:
    if not message.isprintable():
        message = "".join(sign if sign.isprintable() else _escaped(sign) for sign in message)
    if len(message) <= _LONGEST_MESSAGE:
        return message
    return f"{message[: _LONGEST_MESSAGE // 2]} ... {message[-_LONGEST_MESSAGE // 2 :]}"


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode()


@contextmanager
def flags_in_hints() -> Iterator[None]:
    """Make hints name flags of the command line rather than arguments of Python functions."""
    before = _FLAGS.set(True)
    try:
        yield
    finally:
        _FLAGS.reset(before)


def asked_by(**arguments: Any) -> str:
    """Return these arguments of `traces.load` as the user has to write them: as flags, or as Python arguments.

    >>> asked_by(time_unit="ms", skip_empty=True)
    "time_unit='ms', skip_empty=True"
    """
    if not _FLAGS.get():
        return ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    return " ".join(_as_flag(name, value) for name, value in arguments.items())


def _as_flag(name: str, value: Any) -> str:
    if name not in _OPTIONS:
        return f"--set trace.reader.{name}={json.dumps(value)}"
    if isinstance(value, Mapping):
        value = ",".join(f"{field}={column}" for field, column in value.items())
    text = f"'{value}'" if set(str(value)) & set(' ;|&()$*?<>"\\') else str(value)
    return _OPTIONS[name] if value is True else f"{_OPTIONS[name]} {text}"
