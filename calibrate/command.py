"""Measures an OPT model on this machine's device and makes a profile of it, with a report: `slosim calibrate`.

Weights are random and of the exact shapes unless --model names a checkpoint's folder. Finished measurements are kept
as they come: after an interrupt, or when the minutes are over, the same command goes on where it stopped. Needs torch:
pip install 'slosim[calibrate]'.

writes into the output folder:
  points.parquet     every batch and pass: shape, median, spread and laps (also what `slosim fit` takes)
  MODEL@DEVICE.json  the profile: parameters, intervals, draws, host time, copies, held-out errors, hardware
  report.pdf         measured against predicted, throughput and S_pf, Equation (4) beside it, residuals, preemption

examples:
  slosim calibrate --model opt-13b --device cuda --minutes 8
  slosim calibrate --model opt-175b --shards 8               one of eight tensor-parallel shards
  slosim calibrate --model opt-tiny --device cpu --minutes 2  tries the whole path anywhere
"""

from __future__ import annotations

import importlib.util
import math
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from traces.errors import SlosimError

if TYPE_CHECKING:
    from calibrate.calibration import Settings
    from calibrate.measure import Progress


def configure(parser: ArgumentParser) -> None:
    """The options."""
    parser.add_argument("--model", default="opt-13b", help="OPT size by name, or a checkpoint's folder (opt-13b)")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, ... or cpu (cuda)")
    parser.add_argument("--dtype", default="", help="bfloat16, float16, float32 (bfloat16 on cuda, float32 on cpu)")
    parser.add_argument("--shards", type=int, default=1, metavar="N", help="measure one of N tensor-parallel shards")
    parser.add_argument("--minutes", type=float, default=8.0, help="be done after about so long (8)")
    parser.add_argument("--forward", type=int, default=4096, metavar="TOKENS", help="largest forward size (4096)")
    parser.add_argument("--context", type=int, default=6144, metavar="TOKENS", help="longest sequence (6144)")
    parser.add_argument("--sequences", type=int, default=256, metavar="N", help="most sequences at once (256)")
    parser.add_argument("--cache", type=int, metavar="TOKENS", help="tokens of cache (cuda: what fits; cpu: 16384)")
    parser.add_argument("--mixed", type=int, default=60, metavar="N", help="mixed batches to fit to (60)")
    parser.add_argument("--held-out", type=int, default=60, metavar="N", help="random batches to test on (60)")
    parser.add_argument("--seed", type=int, default=0, help="of the random batches, their order and the draws (0)")
    parser.add_argument("--draws", type=int, default=100, metavar="N", help="refits for intervals and draws (100)")
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="where (calibration/MODEL-DEVICE)")
    parser.add_argument("--by", default="not stated", help="who measured")
    parser.add_argument("--licence", default="not stated", help="licence of the measurements")


def main(options: Namespace) -> int:
    """Measures, fits, writes, prints."""
    if importlib.util.find_spec("torch") is None:
        raise SlosimError("measuring needs torch: pip install 'slosim[calibrate]'")
    from calibrate.calibration import calibrate

    chosen = settings(options)
    show = shown(sys.stderr.isatty())
    try:
        made = calibrate(chosen, show)
    except KeyboardInterrupt:
        print(f"\nstopped: what is finished is kept in {chosen.output}; the same command goes on", file=sys.stderr)
        raise
    print("\n".join(made.lines()))
    done, planned = sum(map(len, made.measurements.batches)), made.measurements.about["rows_planned"]
    if done < planned:
        print(f"{planned - done} of {planned} measurements are missing: time is over; the same command goes on")
    cache = "" if made.profile.gpu else " --set cache.kv_blocks=1000"  # whose memory nobody knows
    print(f"written to {chosen.output}; try: slosim compare --profile {chosen.output / made.profile.name}.json{cache}")
    return 0


def settings(options: Namespace) -> Settings:
    """The settings that the options say; raises SlosimError for one that cannot be."""
    from calibrate.calibration import Settings

    counts = ("shards", "minutes", "forward", "context", "sequences", "mixed", "held_out", "draws")
    for name in counts:
        value = getattr(options, name)
        if not (math.isfinite(value) and value > 0):
            raise SlosimError(f"--{name.replace('_', '-')} must be a positive number, not {value}")
    if options.draws < 2:
        raise SlosimError(f"--draws must be 2 or more, not {options.draws}: intervals come from their spread")
    base = Settings()
    limits = replace(
        base.limits,
        forward=options.forward,
        context=options.context,
        sequences=options.sequences,
        cache=options.cache or base.limits.cache,
        mixed=options.mixed,
        held_out=options.held_out,
    )
    home = Path("calibration") / f"{Path(options.model).name}-{options.device.replace(':', '')}"
    return Settings(
        options.model,
        options.device,
        options.dtype,
        options.shards,
        options.minutes,
        limits,
        base.repeats,
        options.output or (home if options.shards == 1 else home.with_name(f"{home.name}-tp{options.shards}")),
        options.by,
        options.licence,
        options.seed,
        options.draws,
    )


def shown(terminal: bool) -> Callable[[str, Progress], None]:
    """Shows progress on standard error: on a terminal a line per task that changes, else one for each twentieth."""
    last, unfinished = "", False

    def show(what: str, progress: Progress) -> None:
        nonlocal last, unfinished
        share = progress.done / max(progress.total, 1)
        left = "" if math.isnan(progress.seconds_left) else f", {_time(progress.seconds_left)} left"
        line = f"{what}: {progress.done} of {progress.total}{left}"
        if terminal:
            begin = "\n" if unfinished and what != last else "\r"
            last, unfinished = what, progress.done < progress.total
            print(f"{begin}{line}   ", end="" if unfinished else "\n", file=sys.stderr, flush=True)
        elif (mark := f"{what} {int(20 * share)}") != last:
            last = mark
            print(line, file=sys.stderr, flush=True)

    return show


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
