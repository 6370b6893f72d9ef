"""Figures and studies by name: each is held by a module of its own, which is loaded only when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from traces.errors import SlosimError


def held(package: str, kind: str, name: str, known: Mapping[str, str]) -> Any:
    """What module `name` of a package holds as `KIND`; raises SlosimError with a suggestion if it is not known."""
    if name not in known:
        near = get_close_matches(name, known, n=1)
        meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}, and all"
        raise SlosimError(f"there is no {kind} {name!r}; {meant}")
    return getattr(import_module(f"{package}.{name}"), kind.upper())
