"""A baseline in a file: one policy's metrics, seed by seed, and what they were measured on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.files import write_json
from experiments.named import split_spec
from experiments.provenance import made, slosim_version, source_digest
from experiments.regress.gate import Run, Runs
from experiments.scenario import PolicySettings, Scenario
from traces.errors import SlosimError

FORMAT = "slosim baseline 1"


def write(path: Path, runs: Runs) -> Path:
    """Writes what was run."""
    content = {
        "format": FORMAT,
        "policy": runs.policy.spec,
        "scenario": _asked(runs.scenario),
        "runs": [
            {"rate": rate, "seed": seed, "digests": run.digests, "metrics": run.summary}
            for (rate, seed), run in sorted(runs.known.items(), key=lambda each: (each[0][0] or 0.0, each[0][1]))
        ],
        "version": slosim_version(),
        "source_digest": source_digest(),
        "made": made(),
    }
    return write_json(path, content)


def read(path: Path, scenario: Scenario, jobs: int = 1) -> Runs:
    """The runs of a file, for a gate on ``scenario``; raises SlosimError if they are of another one, or no baseline.

    More seeds than the file holds are run anew, by the policy that it names.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if content["format"] != FORMAT:
            raise KeyError("format")
        policy = PolicySettings.model_validate(split_spec(content["policy"]))
        known = dict(_run(each) for each in content["runs"])
        settings = dict(content["scenario"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise SlosimError(
            f"{path}: is not a baseline ({why}); make one with slosim regress POLICY --write {path}"
        ) from error
    asked = _asked(scenario)
    for name, value in settings.items():
        if asked.get(name) != value:
            raise SlosimError(
                f"{path}: was made with {name} = {json.dumps(value)}, not {json.dumps(asked.get(name))}: "
                "ask for the same, or make it anew with --write"
            )
    return Runs(scenario, policy, jobs, known=known)


def _run(each: Mapping[str, Any]) -> tuple[tuple[float | None, int], Run]:
    """One run of a file by its load and seed; raises what Python raises if it is none."""
    rate, seed = each["rate"], each["seed"]
    if type(seed) is not int:
        raise TypeError(f"seed {seed!r:.40}")
    metrics = {name: float("nan") if value is None else _number(value) for name, value in each["metrics"].items()}
    digests = {name: str(value) for name, value in each["digests"].items()}
    return (rate if rate is None else _number(rate), seed), Run(metrics, digests)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r:.40} where a number belongs")
    return float(value)


def _asked(scenario: Scenario) -> dict[str, Any]:
    """What must be the same for two policies to be compared, as JSON has it."""
    fields = scenario.model_dump(mode="json")
    for name in ("policies", "seeds", "sweep"):
        del fields[name]
    return dict(json.loads(json.dumps(fields)))
