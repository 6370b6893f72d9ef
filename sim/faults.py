"""Names the policy and the line of its own code when it raises, ends the program, or returns no decision."""

from __future__ import annotations

import dis
import os
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from numbers import Integral
from reprlib import Repr
from types import CodeType, FrameType, TracebackType
from typing import Any, TypeVar

from sim.batch import Batch
from sim.errors import PolicyFault
from sim.patience import TookTooLong, is_library, is_ours
from sim.server import Server
from traces.errors import SlosimError

Sent = TypeVar("Sent")
Yielded = TypeVar("Yielded")


@contextmanager
def accusing(who: str, top: str) -> Iterator[None]:
    """Raises PolicyFault, with the policy and its line, for whatever the policy's code raises in this context.

    ``who`` is the policy as a user writes it, ``top`` the top-level name of its module. A real Ctrl-C passes through,
    and so do errors in which no line of the policy has a part.
    """
    try:
        yield
    except PolicyFault:
        raise
    except BaseException as error:
        if interrupted(error):
            raise
        frames = list(_own(error, top))
        if not frames and isinstance(error, TookTooLong):
            raise PolicyFault(f"policy {who} {error}{error.hint}") from error
        if not frames:
            raise
        raise PolicyFault(f"policy {who}: {_deed(error, frames)} at {_place(frames)}{_reason(error)}") from error


@contextmanager
def blaming(policy: Any) -> Iterator[None]:
    """`accusing` for a policy that is made; an answer of it that the engine cannot use is a fault, too."""
    who, top = title(policy), _kind(policy).__module__.partition(".")[0]
    with accusing(who, top):
        try:
            yield
        except (SlosimError, MemoryError):
            raise
        except Exception as error:
            if not is_foreign(policy) or any(_own(error, top)):
                raise
            raise PolicyFault(
                f"policy {who}: what it returned cannot be used ({type(error).__name__}: {_text(error)})"
                f"{defined(policy)}; slosim check {who} names the rule that it breaks"
            ) from error


def guarded(policy: Any, process: Generator[Yielded, Sent, None]) -> Generator[Yielded, Sent, None]:
    """The same process of the engine; what the policy does wrong in it is a PolicyFault."""
    with blaming(policy):
        yield from process


def title(policy: Any) -> str:
    """A policy as a user writes it: ``module:Class``."""
    kind = _kind(policy)
    return f"{kind.__module__}:{kind.__qualname__}"


def is_foreign(policy: Any) -> bool:
    """Whether a policy is defined outside of the simulator."""
    module = sys.modules.get(_kind(policy).__module__)
    return not is_ours(getattr(module, "__file__", None) or "")


def defined(policy: Any) -> str:
    """Where a user's policy defines ``schedule``, as "; its schedule is at FILE:LINE"; nothing for another."""
    code = getattr(getattr(_kind(policy), "schedule", None), "__code__", None)
    if not isinstance(code, CodeType) or is_ours(code.co_filename):
        return ""
    return f"; its schedule is at {_short(code.co_filename)}:{code.co_firstlineno}"


def rubbish(batch: object, server: Server) -> str:
    """Why the answer of ``schedule`` cannot be applied, or nothing. Quick: it is asked before every iteration."""
    if not isinstance(batch, Batch):
        return f"schedule returned {_shown(batch)}: make a batch with server.new_batch(...) and return it"
    if batch.server is not server:
        return "schedule returned a batch of another server: make one of its own with server.new_batch(...)"
    for request, tokens in batch.prefills.items():
        if not _is_number(tokens) or tokens < 1:
            return (
                f"schedule gives {request!r} {_shown(tokens)} tokens of its prompt: use batch.prefill and batch.admit"
            )
    if not _is_number(batch.tokens) or batch.tokens < 0:
        return f"schedule returned a batch of {_shown(batch.tokens)} tokens: leave the tables of the batch alone"
    return ""


def _is_number(value: Any) -> bool:
    return type(value) is int or isinstance(value, Integral)


def interrupted(error: BaseException) -> bool:
    """Whether an error comes from the user's Ctrl-C or from the end of a process, not from a ``raise`` of a policy."""
    if not isinstance(error, KeyboardInterrupt | GeneratorExit):
        return False
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None or is_ours(file := last.tb_frame.f_code.co_filename) or is_library(file):
        return True
    return dis.opname[last.tb_frame.f_code.co_code[last.tb_lasti]] != "RAISE_VARARGS"


def _kind(policy: Any) -> type:
    """The class of a policy, or of the one that an inspector watches."""
    return type(getattr(policy, "inspected", policy))


def _own(error: BaseException, top: str) -> Iterator[tuple[str, int, str]]:
    """The policy's lines in a traceback and its causes, from the engine inwards: file, line, function."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        found = [
            (frame.f_code.co_filename, line, frame.f_code.co_name)
            for frame, line in _lines(each.__traceback__)
            if _is_own(frame, top)
        ]
        if isinstance(each, SyntaxError) and each.filename and each.lineno and not is_ours(each.filename):
            found.append((each.filename, each.lineno, "<module>"))
        if found:
            yield from found
            return
        waiting += [each.__context__, each.__cause__]


def _lines(trace: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


def _is_own(frame: FrameType, top: str) -> bool:
    file = frame.f_code.co_filename
    if is_ours(file):
        return False
    return not is_library(file) or str(frame.f_globals.get("__name__", "")).partition(".")[0] == top


def _deed(error: BaseException, frames: list[tuple[str, int, str]]) -> str:
    """What happened in the call that the engine made, in words."""
    call = {"<module>": "its module"}.get(frames[0][2], frames[0][2])
    if isinstance(error, SystemExit):
        return f"{call} called sys.exit({'' if error.code is None else _shown(error.code)})"
    if isinstance(error, TookTooLong):
        return f"{call} {error}"
    if isinstance(error, SlosimError):
        return f"{call} failed"
    text = " ".join(_text(error).split())
    return f"{call} raised {type(error).__name__}{': ' if text else ''}{text}"


def _reason(error: BaseException) -> str:
    """The end of the message, after the file and line: the hint of a call that took too long, or the error itself."""
    return error.hint if isinstance(error, TookTooLong) else f": {error}" if isinstance(error, SlosimError) else ""


def _place(frames: list[tuple[str, int, str]]) -> str:
    """The innermost line of the policy; where it is a helper's, the policy's own line, too."""
    outer = [each for each in frames if each[0] == frames[0][0]][-1]
    place = f"{_short(frames[-1][0])}:{frames[-1][1]}"
    return place if outer[0] == frames[-1][0] else f"{place}, called from {_short(outer[0])}:{outer[1]}"


def _short(file: str) -> str:
    """A file's path as short as it is clear: relative where it lies below the current folder."""
    try:
        return os.path.relpath(file) if file.startswith(os.getcwd() + os.sep) else file
    except OSError:
        return file


def _text(error: BaseException) -> str:
    return _safely(lambda: str(error))[:300]


def _shown(value: object) -> str:
    shown = Repr()
    shown.maxother = shown.maxstring = 80
    return _safely(lambda: " ".join(shown.repr(value).split()))


def _safely(told: Callable[[], str]) -> str:
    """Calls a user's ``__str__`` or ``__repr__``; an error in it must not hide the fault to report."""
    try:
        return told()
    except Exception:
        return "(it cannot be printed)"
