"""Predicts a run that was measured on a real engine, and says how far off the prediction is.

DIR holds engine.json (the engine's settings), requests.csv (as measured) and iterations.csv (iterations of that engine,
to calibrate with). The cost model is fitted to some of the iterations; host time is the only quantity set on the trace.

examples:
  slosim check-engine validation/rtx-pro-6000-llama-3.1-8b
  slosim check-engine DIR --json > prediction.json
  slosim check-engine DIR --host-time 0.0015              nothing is set on the trace
  slosim check-engine DIR --ignore prefix_caching         predict although this setting is not modelled

Settings that no policy models end the command; so does tensor parallelism, unless engine.json says that the iterations
were measured with its communication ("iterations_include_communication": true).
"""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING

from experiments.commands.options import count, not_negative, whole
from experiments.escaping import say
from traces.reading import counted

if TYPE_CHECKING:
    from experiments.prediction import Pair, Prediction


def configure(parser: ArgumentParser) -> None:
    """The options."""
    parser.add_argument("folder", metavar="DIR", help="the folder of the measured run")
    parser.add_argument("--points", type=count, default=160, metavar="N", help="iterations to fit to (default 160)")
    parser.add_argument("--draws", type=count, default=5, metavar="N", help="fits that are averaged (default 5)")
    parser.add_argument(
        "--host-time", type=not_negative, metavar="S", help="seconds; given, it is not set on the trace"
    )
    parser.add_argument("--seed", type=whole, default=0, metavar="N", help="which points are drawn")
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="NAME", help="predict without this setting; repeat for more"
    )
    parser.add_argument("--json", action="store_true", help="print an object of numbers instead of tables")


def main(options: Namespace) -> int:
    """Predicts and prints."""
    from experiments.engine_case import read_case
    from experiments.files import without_nan
    from experiments.prediction import predict

    case, draws = read_case(options.folder), (options.points, options.draws)
    found = predict(case, *draws, options.host_time, options.seed, options.ignore)
    if options.json:
        say(json.dumps(without_nan(found.as_json()), indent=2))
    else:
        say("\n".join(_lines(found, options.host_time is None)))
    return 0


def _lines(found: Prediction, host_time_was_set: bool) -> Iterator[str]:
    case = found.case
    model, gpu, engine = (case.settings.get(name, f"{name} not said") for name in ("model", "gpu", "engine"))
    yield f"{case.name}: {model} on {gpu}, {engine}"
    unlimited = " (cache assumed unlimited)" if case.cache_unlimited else ""
    left_out = f"; {case.failed} that failed are left out" if case.failed else ""
    requests = counted(len(case.trace), "request")
    yield f"{requests}{left_out}; {case.kv_blocks} blocks of {case.block_size} tokens{unlimited}"
    yield f"{case.policy()!r}"
    yield ""
    yield from found.report.lines()
    how = "the only quantity set on the trace (by its mean latency)" if host_time_was_set else "given"
    yield f"host time {1e3 * found.host_time:.3f} ms per iteration: {how}"
    yield ""
    yield f"{'':14}{'predicted':>12}{'real':>12}{'error':>9}"
    for metric in ("ttft", "tpot", "latency"):
        for name, pair in found.figures(metric).items():
            yield _line(f"{metric} {name}", pair)
    yield _line("makespan", found.makespan)
    yield ""
    yield "errors request by request (size):  mean   median      p95"
    for metric in ("ttft", "tpot", "latency"):
        errors = found.request_errors(metric)
        yield f"  {metric:30}" + "".join(f"{errors[name]:>9.1%}" for name in ("mean", "median", "p95"))
    yield f"preemptions in the simulation: {found.preemptions}"
    yield from (f"warning: {text}" for text in found.warnings)


def _line(label: str, pair: Pair) -> str:
    return f"{label:14}{pair.predicted:>10.4f} s{pair.real:>10.4f} s{pair.error:>+9.1%}"
