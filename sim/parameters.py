"""Parameters of policies and predictors as data: written as text, read, and checked by what their class declares.

A class declares types as any dataclass does, and bounds where a type says too little:

    @dataclass(frozen=True)
    class Mine(Scheduler):
        chunk: Count = 512
        overlap: Annotated[int, Within(ge=0, lt=512)] = 0
        times: tuple[Seconds, ...] = ()

Bounds of `annotated_types`, of pydantic's `Field` and of `field(metadata={"ge": 1})` count as well.
"""

from __future__ import annotations

import ast
import math
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from numbers import Integral, Real
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from traces.errors import SlosimError

LIMITS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
LARGEST = 2**63
"""Whole numbers beyond this, either way, fit no counter."""
SHOWN = 80
"""Characters of a value that a message shows."""


@dataclass(frozen=True)
class Within:
    """Bounds of a number: at least, above, at most, below."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None


Count = Annotated[int, Within(ge=1)]
"""A whole number of 1 or more."""
Whole = Annotated[int, Within(ge=0)]
"""A whole number of 0 or more."""
Share = Annotated[float, Within(ge=0, le=1)]
"""A number from 0 to 1."""
PartShare = Annotated[float, Within(ge=0, lt=1)]
"""A number from 0 to below 1."""
Positive = Annotated[float, Within(gt=0, le=1e15)]
"""A number above 0, and not so large that products of it overflow."""
NotNegative = Annotated[float, Within(ge=0, le=1e15)]
"""A number of 0 or more, and not so large that products of it overflow."""


class Unfit(ValueError):
    """A value is not what its declaration asks for; the text says what would be."""


# -- text ---------------------------------------------------------------------------------------------------------


def split(text: str) -> tuple[str, dict[str, str]]:
    """The name and the texts of ``name,key=value,...``; commas inside of brackets and quotes do not separate.

    >>> split("fastserve,prefill_times=[0.1, 0.2],policy=mlfq")
    ('fastserve', {'prefill_times': '[0.1, 0.2]', 'policy': 'mlfq'})
    """
    name, *settings = (part.strip() for part in _parts(text))
    found: dict[str, str] = {}
    for setting in settings:
        key, equals, value = (part.strip() for part in setting.partition("="))
        if not equals or not key:
            raise SlosimError(f"{shown(setting)} is not a parameter; write key=value")
        if key in found:
            raise SlosimError(f"parameter {shown(key)} is given twice; keep one")
        found[key] = value
    return name, found


def _parts(text: str) -> Iterator[str]:
    """A text cut at its commas. Brackets and quotes count from where a value begins with one until they close."""
    begin, depth, quote, last = 0, 0, "", ""
    for place, sign in enumerate(text):
        if quote:
            quote = "" if sign == quote and last != "\\" else quote
        elif sign in "'\"" and (last == "=" or (depth and last in "[({,:")):
            quote = sign
        elif sign in "[({" and (depth or last == "="):
            depth += 1
        elif sign in "])}" and depth:
            depth -= 1
        elif sign == "," and not depth:
            yield text[begin:place]
            begin = place + 1
        last = "" if quote and last == "\\" == sign else sign if not sign.isspace() else last
    if quote or depth:
        raise SlosimError(f"{shown(text)}: a {'quote' if quote else 'bracket'} is not closed")
    yield text[begin:]


def read(text: str, hint: Any = Any, means: Callable[[str], Any] | None = None) -> Any:
    """What a text means where a value of such a type is wanted: a word as it stands, else what ``means`` (`literal`)
    takes it for, if that fits, else the text.

    >>> read("none", Literal["paper", "none"]), read("none", int | None), read("5", str), read("5", int)
    ('none', None, '5', 5)
    """
    value = (means or literal)(text)
    if hint is Any:
        return value
    for candidate in (text, value) if text in _words(hint) else (value, text):
        try:
            fit(hint, candidate, strict=True)
        except Unfit:
            continue
        return candidate
    return value


def literal(text: str) -> Any:
    """A number, truth value, list or table as Python and TOML write them; anything else is a text.

    >>> literal("[1, 2]"), literal("true"), literal("inf"), literal("none"), literal("some words")
    ([1, 2], True, inf, None, 'some words')
    """
    known = {"true": True, "false": False, "none": None, "inf": math.inf, "+inf": math.inf, "-inf": -math.inf}
    lower = text.strip().lower()
    if lower in known:
        return known[lower]
    if lower in ("nan", "+nan", "-nan"):
        return math.nan
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes in a text that is no literal
            return plain(ast.literal_eval(text.strip()))
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return text


def plain(value: Any) -> Any:
    """Data with lists for tuples, as files have it; raises Unfit if it is no data."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, Mapping):
        return {plain(key): plain(each) for key, each in value.items()}
    raise Unfit(f"data: numbers, texts, truth values, lists or tables, not {type(value).__name__}")


def written(name: str, parameters: Mapping[str, Any]) -> str:
    """The text that `split` and `read` understand as this name and these parameters.

    >>> written("fastserve", {"prefill_times": [0.1, 0.2], "policy": "mlfq", "proactive": True})
    'fastserve,prefill_times=[0.1, 0.2],policy=mlfq,proactive=True'
    """
    return ",".join([name, *(f"{key}={_written(value)}" for key, value in parameters.items())])


def _written(value: Any, inside: bool = False) -> str:
    if isinstance(value, str):
        bare = not inside and value and value == value.strip() and value[0] not in "[({'\"" and "," not in value
        return value if bare and literal(value) == value else repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_written(each, True) for each in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_written(key, True)}: {_written(each, True)}' for key, each in value.items())}}}"
    if isinstance(value, float) and math.isinf(value) and inside:
        return "1e999" if value > 0 else "-1e999"
    return str(value)


def cut(text: str) -> str:
    """A text for a message, on one line and not too long."""
    text = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text[: SHOWN + 1])
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 4]} ..."


def shown(value: Any) -> str:
    """A value for a message: as Python writes it, on one line, not too long."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        text = "a number of too many digits"
    return cut(text)


# -- types and bounds ------------------------------------------------------------------------------------------------


def fit(hint: Any, value: Any, strict: bool = False) -> Any:
    """The value as a type wants it (a list as the tuple, 256.0 as the whole number); raises Unfit if it is none such.

    Numbers are finite. Types that are not known here take any value, unless ``strict``.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        found = fit(inner[0], value, strict)
        _within(inner[1:], found)
        return found
    if origin in (Union, types.UnionType):
        return _one_of(inner, value)
    if origin is Literal:
        if not any(value == word and type(value) is type(word) for word in inner):
            raise Unfit(f"one of {', '.join(map(str, inner))}")
        return value
    kind = origin or hint
    if kind in PLAIN:
        return PLAIN[kind](value)
    if isinstance(kind, type) and issubclass(kind, tuple | list | Sequence | set | frozenset) and _data(kind):
        return _sequence(kind, inner, value)
    return _other(hint, value, strict)


def _data(kind: type) -> bool:
    return kind in (tuple, list, set, frozenset) or kind.__module__ == "collections.abc"


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise Unfit("a number")
    try:
        known = math.isfinite(float(value))
    except OverflowError:
        known = False
    if not known:
        raise Unfit("a finite number")
    return value


def _whole(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise Unfit("a whole number")
    if not isinstance(value, Integral):
        if not float(value).is_integer():
            raise Unfit("a whole number")
        value = int(float(value))
    if not -LARGEST < int(value) < LARGEST:
        raise Unfit("a whole number of at most 18 digits")
    return value


def _truth(value: Any) -> Any:
    if not isinstance(value, bool):
        raise Unfit("true or false")
    return value


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        raise Unfit("a text")
    return value


def _anything(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        raise Unfit("a number")
    return value


def _nothing(value: Any) -> Any:
    if value is not None:
        raise Unfit("none")
    return value


PLAIN: dict[Any, Callable[[Any], Any]] = {
    int: _whole,
    float: _number,
    bool: _truth,
    str: _text,
    None: _nothing,
    types.NoneType: _nothing,
    Any: _anything,
}
"""The types that need no further reading."""


def _one_of(hints: Sequence[Any], value: Any) -> Any:
    """The value as the first of some types that it fits."""
    wanted = []
    for hint in hints:
        try:
            return fit(hint, value, strict=True)
        except Unfit as unfit:
            wanted.append((hint, str(unfit)))
    words = [text for hint, text in wanted if isinstance(value, str) and _words(hint)]
    raise Unfit(" or ".join(words or [text for _, text in wanted]))


def _words(hint: Any) -> list[str]:
    """The words that a type consists of, also in a union; none if any text will do."""
    kinds = [hint, *get_args(hint)]
    words = [word for each in kinds if get_origin(each) is Literal for word in get_args(each)]
    return [] if str in kinds else [word for word in words if isinstance(word, str)]


def _sequence(kind: Any, inner: Sequence[Any], value: Any) -> Any:
    if isinstance(value, str) or not isinstance(value, list | tuple | set | frozenset):
        raise Unfit("a list, such as [1, 2]")
    each = list(inner) if kind is tuple and inner and inner[-1] is not Ellipsis else []
    if each and len(each) != len(value):
        raise Unfit(f"a list of {len(each)}")
    hints = each or [inner[0] if inner else Any] * len(value)
    try:
        found = [fit(hint, one) for hint, one in zip(hints, value, strict=True)]
    except Unfit as unfit:
        raise Unfit(f"a list in which each is {unfit}") from None
    return found if kind is list else (kind(found) if kind in (set, frozenset) else tuple(found))


def _other(hint: Any, value: Any, strict: bool) -> Any:
    """A value of a user's own type."""
    try:
        if strict and isinstance(hint, type) and not isinstance(value, hint):
            raise Unfit(f"a {hint.__name__}")
        _anything(value)
    except TypeError:  # a protocol, or another type that does not know its members
        pass
    return value


def _within(limits: Sequence[Any], value: Any) -> None:
    """Raises Unfit, with all bounds in words, if a number is outside of one."""
    known = list(_bounds(limits))
    holds: dict[str, Callable[[Any, Any], bool]] = {
        "ge": lambda one, other: one >= other, "gt": lambda one, other: one > other,
        "le": lambda one, other: one <= other, "lt": lambda one, other: one < other,
    }  # fmt: skip
    if isinstance(value, Real) and not all(holds[name](value, limit) for name, limit in known):
        raise Unfit(f"a number {' and '.join(f'{LIMITS[name]} {limit:g}' for name, limit in known)}")


def _bounds(limits: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    for each in limits:
        yield from _bounds(getattr(each, "metadata", ()))  # of pydantic's Field
        for name in LIMITS:
            limit = each.get(name) if isinstance(each, Mapping) else getattr(each, name, None)
            if isinstance(limit, Real):
                yield name, limit


# -- classes ---------------------------------------------------------------------------------------------------------


def parameters_of(kind: Any) -> dict[str, Field[Any]] | None:
    """The fields that may be given to a class; None if it does not say (it is no dataclass)."""
    return {field.name: field for field in fields(kind) if field.init} if is_dataclass(kind) else None


@lru_cache(maxsize=256)
def hints_of(kind: Any) -> Mapping[str, Any]:
    """The types of a class's fields by name; those whose names cannot be found are left out."""
    try:
        return get_type_hints(kind, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return dict(_hints_one_by_one(kind))


def _hints_one_by_one(kind: Any) -> Iterator[tuple[str, Any]]:
    for base in reversed(kind.__mro__):
        names = vars(sys.modules.get(base.__module__, sys)), dict(vars(base))
        for name, annotation in vars(base).get("__annotations__", {}).items():
            one = types.SimpleNamespace(__annotations__={name: annotation})
            try:
                yield name, get_type_hints(one, *names, include_extras=True)[name]
            except (NameError, TypeError, AttributeError):
                continue


def texts_read(kind: Any, texts: Mapping[str, str]) -> dict[str, Any]:
    """Parameters given as texts, read as the class's fields want them."""
    hints = hints_of(kind)
    return {key: read(text, hints.get(key, Any)) for key, text in texts.items()}


def fitted(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters for a class, each as its field wants it; raises SlosimError for the first that there is not."""
    known = parameters_of(kind)
    for key in values:
        if known is not None and key not in known:
            raise SlosimError(f"no parameter {shown(key)}; {meant(key, known, 'it has')}")
    return {key: _fitted(kind, key, value) for key, value in values.items()}


def checked(made: Any) -> Any:
    """A policy or predictor whose fields are as they are declared; raises SlosimError naming the first that is not."""
    kind = type(made)
    known = parameters_of(kind) or {}
    now = {name: getattr(made, name) for name in known if hasattr(made, name)}
    try:
        changed = {name: new for name, old in now.items() if _changed(new := _fitted(kind, name, old), old)}
    except SlosimError as error:
        raise SlosimError(f"{kind.__name__}: {error}") from None
    return replace(made, **changed) if changed else made


def _changed(new: Any, old: Any) -> bool:
    """Whether a field is changed: an equal list stays the object that a policy may share with its owner."""
    return new is not old and not (isinstance(old, list | dict | set) and type(new) is type(old) and new == old)


def _fitted(kind: Any, name: str, value: Any) -> Any:
    """One parameter; its default is as good as declared."""
    field = (parameters_of(kind) or {}).get(name)
    if field is None:
        return value
    if field.default is not MISSING and type(field.default) is type(value) and field.default == value:
        return value
    hint = hints_of(kind).get(name, Any)
    return sensible(name, value, Annotated[hint, field.metadata] if field.metadata else hint)


def sensible(name: str, value: Any, hint: Any) -> Any:
    """An argument as a type wants it; raises SlosimError if it is none such."""
    try:
        return fit(hint, value)
    except Unfit as unfit:
        raise SlosimError(f"{name} = {shown(value)}: write {unfit}") from None


def meant(word: str, known: Mapping[str, Any] | Sequence[str], there_are: str = "there are") -> str:
    """A suggestion for a word that is not known, and all that are.

    >>> meant("gama", ["gamma", "pivot"], "it has")
    "did you mean 'gamma'? it has gamma, pivot"
    """
    near = get_close_matches(word, list(known), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}{there_are} {', '.join(known) or 'none'}"
