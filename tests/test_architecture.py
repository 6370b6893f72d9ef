"""The house rules that a machine can keep: who imports whom, what loads when, no file that names one machine."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path, PurePath

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("traces", "costmodel", "calibrate", "sim", "experiments")

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "traces": (),
    "costmodel": ("traces.errors",),
    "sim": ("traces", "costmodel"),
    "calibrate": ("traces.errors", "costmodel"),
    "calibrate.engine": ("traces", "costmodel", "sim"),
    "experiments": ("traces", "costmodel", "calibrate", "sim"),
}
"""What of ours each package may import besides itself; the longest matching name rules."""

AT_MODULE_LEVEL: dict[str, set[str]] = {
    "traces": {"numpy"},
    "costmodel": {"numpy"},
    "sim": {"numpy", "simpy"},
}
"""Libraries that the core path may load on import; heavier ones are imported where they are used."""

HEAVY = ("torch", "pandas", "matplotlib", "scipy", "pyarrow")


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def dotted(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


def imported(tree: ast.AST, path: Path) -> Iterator[str]:
    """Full names of all modules that are imported anywhere below a node, inside functions too."""
    home = ".".join(path.relative_to(ROOT).parent.parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), home)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def at_module_level(tree: ast.Module, path: Path) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Try | ast.With):
            yield from imported(node, path)


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def allowed(module: str) -> tuple[str, ...]:
    ruling = max((name for name in MAY_IMPORT if within(module, name)), key=len)
    return (module.split(".")[0], *MAY_IMPORT[ruling])


def violations(module: str, names: Iterator[str]) -> list[str]:
    ours = (name for name in names if name.split(".")[0] in PACKAGES)
    return [f"{module} imports {name}" for name in ours if not any(within(name, may) for may in allowed(module))]


def test_the_rule_catches_a_lazy_import_to_the_right() -> None:
    source = "def f():\n    from sim.engine import simulate\n    from . import rng\n    import traces.errors\n"
    found = list(imported(ast.parse(source), ROOT / "traces" / "made_up.py"))
    assert found == ["sim.engine.simulate", "traces.rng", "traces.errors"]
    assert violations("traces.made_up", iter(found)) == ["traces.made_up imports sim.engine.simulate"]
    assert violations("calibrate.engine.loop", iter(["sim.Server"])) == []
    assert violations("calibrate.grid", iter(["sim.Server"])) == ["calibrate.grid imports sim.Server"]


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_only_left(package: str) -> None:
    found = []
    for path in modules(package):
        found += violations(dotted(path), imported(ast.parse(path.read_text("utf-8")), path))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("package", sorted(AT_MODULE_LEVEL))
def test_the_core_path_loads_only_light_libraries(package: str) -> None:
    free = AT_MODULE_LEVEL[package] | sys.stdlib_module_names | set(PACKAGES)
    found = []
    for path in modules(package):
        names = at_module_level(ast.parse(path.read_text("utf-8")), path)
        found += [f"{dotted(path)} imports {name} at module level" for name in names if name.split(".")[0] not in free]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("package", [package for package in PACKAGES if package != "calibrate"])
def test_only_calibrate_imports_torch(package: str) -> None:
    users = [
        dotted(path)
        for path in modules(package)
        if any(within(name, "torch") for name in imported(ast.parse(path.read_text("utf-8")), path))
    ]
    assert not users


def test_the_pytest_plugin_imports_the_simulator_in_its_fixtures_only() -> None:
    path = ROOT / "slosim_pytest.py"
    tree = ast.parse(path.read_text("utf-8"))
    names = {name.split(".")[0] for name in at_module_level(tree, path)}
    assert names <= sys.stdlib_module_names | {"pytest"}
    assert {name.split(".")[0] for name in imported(tree, path)} & set(PACKAGES) == {"sim", "experiments"}


def test_importing_sim_loads_nothing_heavy() -> None:
    program = f"import sys, sim; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_come_from_one_root_and_are_typed(package: str) -> None:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None, f"{package} has no __init__.py"
    folder = Path(spec.origin).resolve().parent
    assert folder == ROOT / package, "another library of this name comes first on the path"
    assert (folder / "py.typed").is_file()


def tracked_files() -> list[Path]:
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_every_data_file_goes_into_the_package() -> None:
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")
    patterns = settings["options.package_data"]["*"].split()
    data = [path for path in tracked_files() if path.suffix not in (".py", ".md")]
    ours = [path.relative_to(ROOT) for path in data if path.relative_to(ROOT).parts[0] in PACKAGES]
    assert len(ours) >= len(PACKAGES), "each has its py.typed"
    for path in ours:
        homes = [folder for folder in path.parents if (ROOT / folder / "__init__.py").is_file()]
        names = [path.relative_to(folder).as_posix() for folder in homes]
        assert any(
            PurePath(name).match(pattern) and name.count("/") == pattern.count("/")
            for name in names
            for pattern in patterns
        ), f"{path} is in no pattern of setup.cfg"


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path in tracked_files() if path.suffix == ".py"}
    ours = [folder for folder in folders if folder != ROOT and folder.relative_to(ROOT).parts[0] in PACKAGES]
    assert [folder for folder in ours if not (folder / "__init__.py").is_file()] == []


def test_no_file_names_a_place_on_one_machine() -> None:
    place = re.compile(r"(?<![\w.])/(?:work|farm|root|home/\w+|Users/\w+)/\w|bash[_]jobs")
    found = []
    for path in tracked_files():
        text = path.read_bytes()
        if b"\0" not in text:
            lines = text.decode("utf-8", "replace").splitlines()
            found += [f"{path.relative_to(ROOT)}:{at}" for at, line in enumerate(lines, 1) if place.search(line)]
    assert not found, "\n".join(found)
