"""DistServe's data sets (.ds): marshalled or pickled Python data, read without running any code of the file."""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from traces.errors import SlosimError
from traces.readers.files import opened
from traces.readers.json_stream import records
from traces.readers.results import Collected
from traces.trace import Trace

__all__ = ["distserve", "is_python_data"]

_DEEPEST = 50
_REFERENCE = 0x80
_DICT_THEN_KEY = tuple(
    bytes([first, second]) for first in (0x7B, 0xFB) for second in b"uUtTaAzZ\xf5\xf4\xe1\xfa\xda\xc1"
)


def distserve(path: Path, *, keep_start: bool = False) -> Trace:
    """Read a .ds file (marshal or pickle: dataset_name, reqs of prompt, prompt_len, output_len) or results in JSON.

    A data set has no arrivals: all requests come at 0. JSON rows have prompt_len, output_len and, if they are there,
    start_time (s). Only plain containers, numbers and texts are read; a pickle of anything else is refused.
    """
    found = Collected(path, path.name.split(".")[0])
    for number, (start, prompt, output) in enumerate(_requests(path), start=1):
        found.add(f"{path}, request {number}", start, prompt, output, number)
    return found.trace("s" if found.timed() else None, "the format says so", keep_start)


def is_python_data(head: bytes) -> bool:
    """Return whether a file begins as a pickle does, or as a marshalled dict."""
    return (head[:1] == b"\x80" and head[1:2] <= b"\x05") or head[:2] in _DICT_THEN_KEY


def _requests(path: Path) -> list[tuple[Any, Any, Any]]:
    with opened(path) as binary:
        data = binary.read()
    if is_python_data(data[:2]):
        return [_request(each, path) for each in _listed(_plain(data, path), path)]
    rows = [record.content for record in records(path, "request")]
    if len(rows) == 1 and isinstance(rows[0].get("reqs"), list):
        rows = rows[0]["reqs"]
    return [_request(each, path) for each in rows]


def _plain(data: bytes, path: Path) -> Any:
    is_pickle = data[:1] == b"\x80"
    try:
        return _Pickled(data).value() if is_pickle else _Marshalled(data).value(0)
    except _Refused as error:
        told = f"a pickle that holds {error}, which reading it would run or import; save it as JSON Lines with"
        raise SlosimError(f"{path}: {told} prompt_len and output_len") from error
    except Exception as error:  # a damaged stream makes the interpreter's own unpickler raise nearly anything
        kind = "pickle" if is_pickle else "marshalled data"
        raise SlosimError(f"{path}: the {kind} is damaged or of another kind ({type(error).__name__})") from error


def _listed(held: Any, path: Path) -> list[Any]:
    rows = held.get("reqs", held.get(b"reqs")) if isinstance(held, dict) else held
    if not isinstance(rows, list | tuple):
        raise SlosimError(f"{path}: no list reqs of requests, which a data set of DistServe has")
    return list(rows)


def _request(row: Any, path: Path) -> tuple[Any, Any, Any]:
    """Return start, prompt and output length of a request: a dict, or (prompt, prompt_len, output_len)."""
    if isinstance(row, dict):
        return row.get("start_time"), row.get("prompt_len"), row.get("output_len")
    if isinstance(row, list | tuple) and len(row) in (2, 3):
        return None, row[-2], row[-1]
    raise SlosimError(f"{path}: a request of {type(row).__name__}, expected (prompt, prompt_len, output_len)")


class _Refused(Exception):
    """A pickle wants something that is no plain data."""


class _Pickled:
    """Reads a pickle of plain data: containers, numbers, texts; anything else is refused before it is made.

    The interpreter's own unpickler imports and calls what a file names, and lets a few bytes ask for any memory. The
    operations are those of Python's pickletools.
    """

    def __init__(self, data: bytes) -> None:
        self._operations = pickletools.genops(data)
        self._stack: list[Any] = []
        self._known: dict[int, Any] = {}

    def value(self) -> Any:
        """Return the value; raise _Refused for what is no plain data, and other errors for damage."""
        for operation, argument, _ in self._operations:
            if operation.name == "STOP":
                break
            self._carry_out(operation.name, argument)
        (value,) = self._stack
        return value

    def _carry_out(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _VALUES or name in _SIMPLE:
            stack.append(argument if name in _VALUES else _SIMPLE[name]())
        elif name in ("PROTO", "FRAME"):
            pass
        elif name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._known[len(self._known) if argument is None else argument] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._known[argument])
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            stack[-int(name[-1]) :] = [tuple(stack[-int(name[-1]) :])]
        elif name in ("APPEND", "SETITEM"):
            held = [stack.pop() for _ in range(1 + (name == "SETITEM"))]
            self._put_into(stack[-1], held[::-1])
        elif name in ("APPENDS", "SETITEMS"):
            held = self._since_mark()
            self._put_into(stack[-1], held)
        elif name in ("TUPLE", "LIST", "DICT"):
            self._gather(name, self._since_mark())
        else:
            raise _Refused(f"more than plain data ({name})")

    def _gather(self, name: str, held: list[Any]) -> None:
        empty: dict[Any, Any] = {}
        self._stack.append({"TUPLE": tuple(held), "LIST": held, "DICT": empty}[name])
        if name == "DICT":
            self._put_into(empty, held)

    def _since_mark(self) -> list[Any]:
        place = max(at for at, each in enumerate(self._stack) if each is _MARK)
        held = self._stack[place + 1 :]
        del self._stack[place:]
        return held

    @staticmethod
    def _put_into(container: Any, held: list[Any]) -> None:
        if isinstance(container, list):
            container.extend(held)
        else:
            container.update((_checked_key(key), value) for key, value in zip(held[::2], held[1::2], strict=True))


def _checked_key(key: Any) -> Any:
    """Return a key whose hash is quickly found, whatever a file made of it."""
    if not isinstance(key, str | int | bytes | None):
        raise ValueError("a key that is no text or number")
    return key


class _Marshalled:
    """Reads Python's marshal format up to version 4: containers, numbers, texts, and no code.

    The interpreter's own reader is not meant for data from others. The layout is that of CPython's Python/marshal.c.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._known: list[Any] = []

    def value(self, depth: int) -> Any:
        """Return the next value; raise ValueError for what is no plain data."""
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        code = self._take(1)[0]
        kind, keep = bytes([code & ~_REFERENCE]), bool(code & _REFERENCE)
        if kind == b"r":
            return self._known[self._number("<I", 4)]
        if kind in b"([<>{)":
            return self._container(kind, depth, keep)
        value = self._scalar(kind)
        if keep:
            self._known.append(value)
        return value

    def _scalar(self, kind: bytes) -> Any:
        if kind in _CONSTANTS:
            return _CONSTANTS[kind]
        if kind == b"i":
            return self._number("<i", 4)
        if kind == b"g":
            return struct.unpack("<d", self._take(8))[0]
        if kind == b"l":
            return self._long()
        if kind in b"zZ":
            return self._take(self._take(1)[0]).decode("ascii")
        if kind in b"aAut":
            return self._take(self._number("<i", 4)).decode("utf-8", "surrogatepass")
        if kind == b"s":
            return self._take(self._number("<i", 4))
        raise ValueError(f"an object of type {kind!r}")

    def _container(self, kind: bytes, depth: int, keep: bool) -> Any:
        place = len(self._known)
        if keep:
            self._known.append(None)
        held: Any
        if kind == b"{":
            held = {}
            while (key := self.value(depth + 1)) is not _END:
                held[_checked_key(key)] = self.value(depth + 1)
        else:
            count = self._take(1)[0] if kind == b")" else self._number("<i", 4)
            if not 0 <= count <= len(self._data) - self._at:
                raise ValueError("longer than the file")
            held = [self.value(depth + 1) for _ in range(count)]
            held = held if kind == b"[" else tuple(held)
        if keep:
            self._known[place] = held
        return held

    def _long(self) -> int:
        digits = self._number("<i", 4)
        words = struct.unpack(f"<{abs(digits)}H", self._take(2 * abs(digits)))
        value = sum(int(word) << (15 * at) for at, word in enumerate(words[:10]))
        return -value if digits < 0 else value

    def _number(self, form: str, size: int) -> int:
        return int(struct.unpack(form, self._take(size))[0])

    def _take(self, count: int) -> bytes:
        if not 0 <= count <= len(self._data) - self._at:
            raise ValueError("it ends too early")
        self._at += count
        return self._data[self._at - count : self._at]


_END, _MARK = object(), object()
_VALUES = frozenset(
    """INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 STRING
    BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8""".split()  # noqa: SIM905
)
"""Operations that push their argument."""
_SIMPLE: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "MARK": lambda: _MARK,
}
"""Operations that push the same value each time."""
_CONSTANTS: dict[bytes, Any] = {b"0": _END, b"N": None, b"T": True, b"F": False}
