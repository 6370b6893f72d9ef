"""Fits a profile to measured iterations and says how far to believe it, on iterations that were not fitted.

POINTS.csv has a row per iteration: prefill_tokens, prefill_sequences, attention_pairs (sum of q (c + q/2) over chunks
of q tokens with c tokens in the cache), decode_tokens, context_tokens, iteration_ms; and kind (decode, prefill, mixed)
if it is known.

examples:
  slosim fit points.csv -o my-gpu.json
  slosim fit points.csv --test others.csv --model opt-13b --gpu a100-80gb --by "our lab" -o opt-13b.json
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from experiments.commands.options import count, not_negative
from experiments.escaping import say


def configure(parser: ArgumentParser) -> None:
    """The options."""
    parser.add_argument("points", metavar="POINTS.csv", help="iterations to fit to (CSV or Parquet)")
    parser.add_argument(
        "--test", metavar="OTHER.csv", help="iterations to test on; else cross-validation within POINTS"
    )
    parser.add_argument("-o", "--output", required=True, metavar="PROFILE.json", help="where the profile goes")
    parser.add_argument("--name", default="", help="name of the profile (default: of the points' file)")
    parser.add_argument("--model", help="model by name, which tells cache size and operations")
    parser.add_argument("--gpu", help="GPU by name, which tells memory and peak rate")
    parser.add_argument("--tensor-parallel", type=count, default=1, metavar="N", help="GPUs of a replica (default 1)")
    parser.add_argument(
        "--host-time",
        type=not_negative,
        default=0.0,
        metavar="S",
        help="seconds per iteration that GPU times leave out",
    )
    parser.add_argument("--by", default="not stated", help="who measured")
    parser.add_argument("--licence", default="not stated", help="licence of the measurements")


def main(options: Namespace) -> int:
    """Fits, prints, writes."""
    from calibrate.fit import fit_file

    report, profile = fit_file(
        options.points,
        test=options.test,
        name=options.name,
        model=options.model,
        gpu=options.gpu,
        tensor_parallel=options.tensor_parallel,
        host_time=options.host_time,
        by=options.by,
        licence=options.licence,
    )
    profile.save(options.output)
    say("\n".join(report.lines()))
    pivot = profile.pivot
    say(f"S_pf {pivot.forward_size} tokens, T_pf {1e3 * pivot.time:.1f} ms (host time {1e3 * options.host_time:g} ms)")
    say(f"written to {options.output}; try: slosim compare --profile {options.output}")
    return 0
