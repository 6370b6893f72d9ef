"""The header of `run`, `compare` and their like: which requests, which machine, which policies.

Six lines say what a user would otherwise have to guess, defaults included: how many requests a source without
`--requests` means, and which cache a profile comes with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from rich.console import Console

from experiments.escaping import literally
from experiments.inputs import Inputs, load_in_words, quiet_reading, readings, requests_meant, the_rate
from experiments.scenario import Scenario
from experiments.workload_settings import TraceSettings
from sim.limits import UNITS
from sim.result import RunResult
from traces.errors import SlosimError
from traces.reading import counted

SHOWN = ("prefill_tokens", "decode_tokens", "context_tokens")
"""The aggregates of a batch whose measured range the header names."""


MEANT = " (the paper's number; --requests N for others)"


def print_header(
    out: Console, scenario: Scenario, inputs: Inputs, rates: Sequence[float] = (), runs: int = 1, jobs: int = 1
) -> None:
    """Prints what is about to run; `rates` are the loads of all runs, requests/s (none: as recorded)."""
    for name, text in header(scenario, inputs, rates, runs, jobs).items():
        out.print(f"{name:9} {text}", markup=False, soft_wrap=name == "read")
    out.print()


def header(scenario: Scenario, inputs: Inputs, rates: Sequence[float], runs: int, jobs: int) -> dict[str, str]:
    """The lines of the header by name."""
    cores = min(jobs, runs)
    read = [f"{reading.path}: {reading.describe()}" for reading in readings(scenario.trace)]
    return {
        "trace": _requests(scenario, inputs),
        **({"read": "\n          ".join(read)} if read else {}),
        "loads": _loads(scenario, rates),
        "profile": _profile(inputs),
        "KV cache": _cache(scenario, inputs),
        "policies": "; ".join(literally(policy.title) for policy in scenario.policies),
        "work": f"{runs} {'run' if runs == 1 else 'runs'} on {cores} {'core' if cores == 1 else 'cores'}",
    }


def files_read(workloads: Iterable[TraceSettings]) -> Iterator[str]:
    """What was read of each file of these workloads, once; the runs report a file that cannot be read."""
    told = set()
    for settings in workloads:
        with quiet_reading(), suppress(SlosimError):
            for reading in readings(settings):
                told.add((reading.path, reading.describe()))
    yield from (f"{path}: {what}" for path, what in sorted(told))


def numbers_meant(workloads: Iterable[TraceSettings]) -> Iterator[str]:
    """The default number of requests of each generated workload without ``--requests``, once."""
    silent = dict.fromkeys(each.source for each in workloads if each.generated and each.requests is None)
    for source in silent:
        yield f"trace {source}: {requests_meant(TraceSettings(source=source)):,} requests{MEANT}"


def cautions(results: Mapping[str, RunResult]) -> list[str]:
    """Where runs went beyond model, GPU or profile, a line each; what all runs have in common once."""
    of = {title: [str(warning) for warning in result.warnings] for title, result in results.items()}
    lines = []
    for text in dict.fromkeys(text for told in of.values() for text in told):
        titles = [literally(title) for title, told in of.items() if text in told]
        lines.append(f"warning: {text}" if len(titles) == len(of) else f"warning: {', '.join(titles)}: {text}")
    return lines


def number_meant(scenario: Scenario) -> str:
    """Where a generated workload's default number of requests comes from; nothing if the number is given."""
    trace = scenario.trace
    return MEANT if trace.generated and trace.requests is None else ""


def _requests(scenario: Scenario, inputs: Inputs) -> str:
    first = scenario.trace.seed
    seeds = f", {scenario.seeds} seeds from {first}" if scenario.seeds > 1 else f", seed {first}"
    return f"{literally(inputs.trace.name)}: {counted(len(inputs.trace), 'request')}{number_meant(scenario)}{seeds}"


def _loads(scenario: Scenario, rates: Sequence[float]) -> str:
    trace = scenario.trace
    if trace.arrivals == "burst":
        return "all at once"
    if rates:
        return f"{', '.join(f'{rate:g}' for rate in rates)} requests/s"
    if trace.generated:
        return f"{the_rate(trace):g} requests/s (the paper's)"
    told = load_in_words(trace, None)
    return f"{told}; --rate R spreads them" if "no arrivals" in told else "as recorded"


def _profile(inputs: Inputs) -> str:
    profile = inputs.profile
    prior = " (a prior: nothing was measured)" if profile.prior else ""
    pivot = f"S_pf {profile.pivot.forward_size} tokens in {1e3 * profile.pivot.time:.0f} ms"
    known = ", ".join(f"{most:,.0f} {UNITS[name]}" for name, most in profile.measured.items() if name in SHOWN)
    measured = "" if profile.prior else f"; measured to at most {known}" if known else "; measured range unknown"
    return f"{profile.name}{prior}: {pivot}{measured}"


def _cache(scenario: Scenario, inputs: Inputs) -> str:
    tokens = inputs.kv_blocks * inputs.block_size
    replicas = f", on each of {scenario.replicas} replicas ({scenario.router})" if scenario.replicas > 1 else ""
    return f"{inputs.kv_blocks} blocks of {inputs.block_size} = {tokens:,} tokens{replicas}"
