"""A report, whole: what was found, what was asked, every load with its tables and pictures, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from experiments import pictures
from experiments.causes.picture import draw_causes
from experiments.causes.table import causes_table
from experiments.causes.words import differences, why_late
from experiments.drawing import duration
from experiments.grid import load_name
from experiments.report.findings import findings
from experiments.report.gathered import Gathered, Load
from experiments.report.html import bullets, comparison, element, picture, table, text
from experiments.report.latest import HEAD, latest
from experiments.report.style import CSS
from experiments.sweep_picture import SweepPoint, draw_sweep
from experiments.table import Comparison
from sim.parameters import written


def page(gathered: Gathered, baseline: str | None = None) -> str:
    """The HTML of a report; raises SlosimError if the baseline is none of the policies."""
    named = Comparison.of({name: {} for name in gathered.policies}, baseline).baseline
    title = f"slosim: {', '.join(gathered.policies)}"
    loads = "".join(_load(gathered, load, named) for load in gathered.loads)
    links = [(f"#{load_name(load.rate)}", load.title) for load in gathered.loads]
    sweep = _sweep(gathered)
    links += [("#sweep", "From load to load")] if sweep else []
    links += [("#scenario", "Scenario"), ("#provenance", "Provenance")]
    listed = "".join(element("li", text("a", name, href=place)) for place, name in links)
    body = (
        text("h1", title)
        + text("p", _lead(gathered), class_="lead")
        + element("nav", element("ul", listed), aria_label="Sections")
        + element("main", loads + sweep + _scenario(gathered) + _provenance(gathered))
    )
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        + text("title", title)
        + element("style", CSS)
    )
    return "<!DOCTYPE html>\n" + element("html", element("head", head) + element("body", body), lang="en") + "\n"


def _lead(gathered: Gathered) -> str:
    trace = gathered.scenario["trace"]
    seeds = "1 seed, so what is chance is not known" if gathered.seeds == 1 else f"{gathered.seeds} seeds"
    rates = sorted({run.rate for run in gathered.runs if run.rate is not None})
    loads = f"{', '.join(f'{rate:g}' for rate in rates)} requests/s" if rates else "arrivals as recorded"
    return f"{trace['source']}, {_number(gathered):,} requests at {loads}; {gathered.scenario['profile']}; {seeds}."


def _number(gathered: Gathered) -> int:
    return max(int(run.summary["requests"]) for run in gathered.runs)


def _load(gathered: Gathered, load: Load, named: str) -> str:
    name = load_name(load.rate)
    means = gathered.means(load.rate)
    baseline = named if named in means else next(iter(means))  # runs that failed have no row
    applications = {policy: result.by_application() for policy, result in load.results.items()}
    why = [*(why_late(policy, one) for policy, one in load.rolled.items()), *differences(load.rolled, baseline)]
    first = "" if gathered.seeds == 1 else " Causes, applications and pictures are of the first seed."
    parts = (
        text("h2", load.title, id=name),
        bullets(findings(means, gathered.at(load.rate), baseline)),
        text("h3", "Why requests were late"),
        bullets(f"{sentence}." for sentence in why),
        *_pictures(load, means, name),
        text("h3", "Figures"),
        text("p", f"Means over {gathered.seeds} seeds.{first}") if first else "",
        comparison(Comparison.of(means, baseline), f"Metrics at {load.title}"),
        comparison(causes_table(load.rolled, baseline), f"Causes of delay at {load.title}"),
        comparison(Comparison.of_groups(applications, baseline), f"By application at {load.title}"),
        table("The latest first tokens of each policy, and why", HEAD, latest(load)),
    )
    return element("section", "".join(parts), aria_labelledby=name)


def _pictures(load: Load, means: Mapping[str, Mapping[str, float]], name: str) -> Iterator[str]:
    results = load.results
    yield picture(
        f"{name}-causes",
        lambda path: draw_causes(load.rolled, path),
        "What missed SLOs and completion times are made of, in seconds per request.",
        ". ".join(why_late(policy, one) for policy, one in load.rolled.items()),
    )
    shown = (
        ("latency", pictures.draw_latencies, "How long first tokens, gaps between tokens and whole requests took.",
         "p50_ttft", "median time to first token", duration),
        ("attainment", pictures.draw_attainment, "Tokens and requests within their SLOs, by application.",
         "slo_attainment_requests", "requests within all their SLOs", _percent),
        ("goodput", pictures.draw_goodput, "Tokens per second within their SLO over time.",
         "goodput", "tokens per second within their SLO", lambda value: f"{value:.0f}"),
        ("utilization", pictures.draw_utilization, "How busy the GPU was, and what the key-value cache held.",
         "kvc_used", "share of the cache that holds tokens", _percent),
    )  # fmt: skip
    for kind, draw, caption, key, label, form in shown:
        values = [f"{policy} {form(one[key])}" for policy, one in means.items() if isfinite(one[key])]
        described = f"{caption} On average, {label}: {', '.join(values) or 'not defined, for no request has an SLO'}."
        yield picture(f"{name}-{kind}", lambda path, draw=draw: draw(results, path), caption, described)  # type: ignore[misc]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _sweep(gathered: Gathered) -> str:
    points = [SweepPoint(run.policy, run.rate, run.seed, run.summary) for run in gathered.runs if run.rate is not None]
    rates = sorted({point.rate for point in points})
    if len(rates) < 2:
        return ""
    caption = f"Metrics against the arrival rate, from {rates[0]:g} to {rates[-1]:g} requests/s."
    means = gathered.means(rates[-1]).items()
    ends = [(name, share) for name, one in means if isfinite(share := one["slo_attainment_requests"])]
    told = ", ".join(f"{name} {_percent(share)}" for name, share in ends) or "not defined, for no request has an SLO"
    described = f"{caption} Requests within all their SLOs at {rates[-1]:g} requests/s: {told}."
    drawn = picture("sweep", lambda path: draw_sweep(points, path), caption, described)
    return element("section", text("h2", "From load to load", id="sweep") + drawn, aria_labelledby="sweep")


def _scenario(gathered: Gathered) -> str:
    rows = list(_flat(gathered.scenario))
    return element(
        "section",
        text("h2", "Scenario", id="scenario") + table("What was asked for", ("setting", "value"), rows),
        aria_labelledby="scenario",
    )


def _flat(content: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Settings that say something, by their dotted names."""
    for key, value in content.items():
        if key == "folders" and not before:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        elif key == "policies":
            yield "policies", "; ".join(str(_policy(one)) for one in value)
        elif value not in (None, "", [], {}):
            yield before + key, ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _policy(one: Mapping[str, Any]) -> str:
    spec = written(one["name"], one["parameters"])
    return f"{one['label']} = {spec}" if one["label"] else spec


def _provenance(gathered: Gathered) -> str:
    """Who served what, with digests, and when and where it was run."""
    parts = [text("h2", "Provenance", id="provenance")]
    for load in gathered.loads:
        for policy, origin in load.origins.items():
            told = {**origin["run"], **origin["made"]}
            rows = [(key, str(value)) for key, value in told.items() if key != "config" and value is not None]
            shown = table(f"{policy}, {load.title}", ("what", "value"), rows)
            parts.append(element("details", text("summary", f"{policy}, {load.title}") + shown))
    return element("section", "".join(parts), aria_labelledby="provenance")


def write_page(folder: Path, path: Path, baseline: str | None = None) -> Path:
    """Writes the report of a comparison's folder; raises SlosimError if there is none."""
    from experiments.files import write_text

    return write_text(path, page(Gathered.of(folder), baseline))
