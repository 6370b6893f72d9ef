"""Options that several commands share: a scenario file, the common settings as flags, and any setting by name."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator, Mapping
from math import inf, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.parameters import shown

if TYPE_CHECKING:
    from experiments.scenario import Scenario
    from experiments.settings import Override

FLAGS = {
    "trace": "trace.source",
    "format": "trace.format",
    "columns": "trace.columns",
    "time_unit": "trace.time_unit",
    "keep_start": "trace.keep_start",
    "window_start": "trace.start",
    "window_end": "trace.end",
    "requests": "trace.requests",
    "seed": "trace.seed",
    "profile": "profile",
    "model": "model",
    "kv_blocks": "cache.kv_blocks",
    "block_size": "cache.block_size",
    "predictor": "predictor",
    "replicas": "replicas",
    "router": "router",
    "max_model_len": "max_model_len",
    "horizon": "horizon",
    "warmup": "warmup",
    "seeds": "seeds",
    "policy": "policies",
    "rate": "rates",
    "sweep": "sweep",
}
"""Flags and the settings that they are short for."""


def count(text: str, least: int = 1) -> int:
    """A whole number of 1 or more, from a flag."""
    try:
        found = int(text)
    except ValueError:
        found = least - 1
    if not least <= found < 2**63:
        raise ArgumentTypeError(f"{shown(text)} is not a whole number of {least} or more")
    return found


def whole(text: str) -> int:
    """A whole number of 0 or more, from a flag."""
    return count(text, 0)


def positive(text: str, zero: bool = False) -> float:
    """A finite number above 0, from a flag."""
    try:
        found = float(text)
    except ValueError:
        found = nan
    if not (0 <= found < inf if zero else 0 < found < inf):
        raise ArgumentTypeError(f"{shown(text)} is not a number {'of 0 or more' if zero else 'above 0'}")
    return found


def not_negative(text: str) -> float:
    """A finite number of 0 or more, from a flag."""
    return positive(text, zero=True)


def add_workload(parser: ArgumentParser) -> None:
    """Which requests come."""
    group = parser.add_argument_group("workload")
    group.add_argument("--trace", metavar="SOURCE", help="paper_mix, alpaca, sharegpt, bookcorpus, or a trace file")
    add_reading(group)
    group.add_argument("--requests", type=count, metavar="N", help="how many requests (of a file: the first ones)")
    group.add_argument("--seed", type=whole, metavar="N", help="seed of everything random (default 0)")


def add_reading(group: Any) -> None:
    """How a trace file is read."""
    group.add_argument("--format", help="format of a trace file, where it is not recognised (slosim list formats)")
    group.add_argument(
        "--columns",
        metavar="FIELD=COLUMN,...",
        help="which column holds arrived_at, prompt_tokens, output_tokens, application, id; arrived_at=none: no column",
    )
    group.add_argument(
        "--time-unit", choices=["s", "ms", "us", "ns"], help="what the times of a file count, where it is not clear"
    )
    group.add_argument(
        "--keep-start",
        action="store_const",
        const=True,
        help="keep the zero of the file's clock; else time starts at the first arrival",
    )
    for flag, what in {"from": "start", "to": "end"}.items():
        group.add_argument(
            f"--{flag}",
            dest=f"window_{what}",
            type=moment,
            metavar="WHEN",
            help=f"{what} of a window of the file: seconds after its first arrival, or a date if it has dates",
        )


def moment(text: str) -> float | str:
    """Seconds, or a date as it is written."""
    try:
        return float(text)
    except ValueError:
        return text


def add_machine(parser: ArgumentParser) -> None:
    """What serves them."""
    group = parser.add_argument_group("machine")
    group.add_argument("--profile", metavar="NAME", help="a profile (slosim list profiles) or a .json file of one")
    group.add_argument("--model", help="insist on this model: a profile of another one is an error")
    group.add_argument("--kv-blocks", type=count, metavar="N", help="size of the key-value cache in blocks")
    group.add_argument("--block-size", type=count, metavar="N", help="tokens per block (default 32, the paper's)")
    group.add_argument("--replicas", type=count, metavar="N", help="replicas behind a router")
    group.add_argument(
        "--router", metavar="NAME", help="round_robin (default), least_loaded, shortest_queue, or module:Class"
    )
    group.add_argument(
        "--max-model-len",
        type=count,
        metavar="N",
        help="reject requests of more tokens, prompt and output (default: none)",
    )


def add_running(parser: ArgumentParser) -> None:
    """How it is run."""
    group = parser.add_argument_group("run")
    group.add_argument(
        "--predictor", metavar="SPEC", help="what policies are told of output lengths, e.g. noisy,sigma=0.3"
    )
    group.add_argument("--horizon", type=positive, metavar="S", help="stop after so many simulated seconds")
    group.add_argument(
        "--warmup", type=not_negative, metavar="SHARE", help="share of the arrivals' time left out of the metrics"
    )
    group.add_argument("--set", action="append", default=[], metavar="A.B=VALUE", help="any setting, e.g. slos.scale=2")


def rates(text: str) -> list[float]:
    """A list of arrival rates: `0.5,1,8`; `none` is empty."""
    if text == "none":
        return []
    try:
        return [positive(part) for part in text.split(",")]
    except ArgumentTypeError:
        raise ArgumentTypeError(f"{shown(text)} is not a list of requests per second such as 0.5,1,8") from None


def scenario_from(options: Namespace, defaults: Mapping[str, Any] | None = None) -> Scenario:
    """The scenario that file, flags and --set together mean; --set is the strongest."""
    from experiments.named import check_names
    from experiments.settings import scenario_of

    return check_names(scenario_of(getattr(options, "scenario", None), overrides(options), defaults))


def overrides(options: Namespace) -> Iterator[Override]:
    """What flags and --set change, the strongest last."""
    from experiments.settings import Override

    given = {flag: getattr(options, flag, None) for flag in FLAGS}
    for flag, value in given.items():
        if value is not None:
            yield Override(FLAGS[flag], value)
    yield from (Override.of_text(text) for text in options.set)


def add_output(parser: ArgumentParser, default: str) -> None:
    """Where files go."""
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path(default),
        metavar="FOLDER",
        help=f"folder of the files (default: {default})",
    )


def add_named(parser: ArgumentParser, kind: str, folder: str) -> None:
    """Which figures or studies, and how much work."""
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"a {kind}, several, or all (default: list them)")
    parser.add_argument("--seeds", type=count, metavar="N", help=f"replications (default: the {kind}'s)")
    parser.add_argument("--requests", type=count, metavar="N", help=f"requests of each run (default: the {kind}'s)")
    parser.add_argument("--quick", action="store_true", help="hardly any work: shows that it runs")
    add_output(parser, folder)


def named(options: Namespace, known: Mapping[str, str]) -> list[str]:
    """Which of them are asked for; lists what there is if none is."""
    from experiments.console import console

    if not options.names:
        for name, what in known.items():
            console().print(f"{name:{max(map(len, known)) + 1}}{what}", markup=False)
    return list(known) if options.names == ["all"] else list(options.names)
