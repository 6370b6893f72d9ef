"""For pytest, loaded by itself where slosim is installed: fixtures that simulate a policy and refuse a regression.

def test_my_policy(assert_no_regression):
    assert_no_regression("my_package:MyPolicy", baseline="vllm", max={"p99_ttft": "+2%"}, min={"goodput": "-1%"})

The module has a name of its own and imports the simulator only when a fixture is used, so that a repository whose own
packages are called `sim` or `experiments` runs its tests as if slosim were not installed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sim.result import RunResult

PACKAGES = ("traces", "costmodel", "calibrate", "sim", "experiments")
"""What the fixtures import; all stand in one folder with this module."""


@pytest.fixture
def simulate() -> Callable[..., RunResult]:
    """``simulate(policy, **settings)``: a run of a scenario; settings by name, as in a scenario file or dotted.

    Without any, 100 requests of the paper's mix at 0.6 per second.
    """
    _refuse_strangers()

    def run(policy: str, **settings: Any) -> RunResult:
        from experiments import inputs
        from experiments.regress.settings import scenario_for

        scenario = scenario_for(settings, requests=100, rates=(0.6,))
        return inputs.run(scenario.at(scenario.rates[0] if scenario.rates else None), policy)

    return run


@pytest.fixture
def assert_no_regression() -> Callable[..., None]:
    """``assert_no_regression(policy, baseline=..., max={...}, min={...}, seeds=8, **settings)``.

    Fails with the table if the policy is worse than its baseline (a policy, or a file of ``slosim regress --write``) by
    more than a margin, or if that is not decided by ``most_seeds`` seeds, unless ``allow_inconclusive``.
    """
    _refuse_strangers()

    def check(
        policy: str,
        baseline: str,
        max: Mapping[str, str] | None = None,
        min: Mapping[str, str] | None = None,
        seeds: int = 8,
        most_seeds: int = 32,
        allow_inconclusive: bool = False,
        **settings: Any,
    ) -> None:
        from experiments.regress.gate import DEFAULT_MARGINS, RATES, REQUESTS, verdict
        from experiments.regress.margins import Margin
        from experiments.regress.report import markdown
        from experiments.regress.settings import gate_of, scenario_for

        margins = [Margin.of_text(f"{name}:{size}", "max") for name, size in (max or {}).items()]
        margins += [Margin.of_text(f"{name}:{size}", "min") for name, size in (min or {}).items()]
        scenario = scenario_for(settings, requests=REQUESTS, rates=RATES)
        gate = gate_of(scenario, policy, baseline, margins or DEFAULT_MARGINS, seeds, most_seeds)
        found = gate.run()
        if verdict(found) not in ("pass", "inconclusive" if allow_inconclusive else "pass"):
            pytest.fail(markdown(found, policy, baseline), pytrace=False)

    return check


def _refuse_strangers() -> None:
    """Fails the test in one line if another package has the name of one of slosim's and comes before it."""
    home = Path(__file__).resolve().parent
    strangers = {name: place for name in PACKAGES if (place := _place(name)) != home / name}
    if strangers:
        told = ", ".join(f"{name} ({place or 'not found'})" for name, place in strangers.items())
        pytest.fail(
            f"slosim's fixtures need slosim's packages in {home}, but others of the same name come first on sys.path: "
            f"{told}; rename these, or run the tests that use slosim from a folder without them",
            pytrace=False,
        )


def _place(name: str) -> Path | None:
    """The folder of a package that is loaded, or would be; None if there is none."""
    try:
        spec = getattr(sys.modules.get(name), "__spec__", None) or find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.origin is not None:
        file = Path(spec.origin).resolve()
        return file.parent if file.name == "__init__.py" else file
    return next((Path(place).resolve() for place in spec.submodule_search_locations or ()), None)
