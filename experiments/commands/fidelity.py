"""How well the simulator predicts a real engine: calibrates, simulates, serves for real, compares.

The real engine runs the same schedulers and batches on a device, with a real clock and real arrivals. Without options:
an OPT small enough for any CPU, two schedulers, at 0.7 and 1.05 of what it is predicted to serve.

examples:
  slosim fidelity                                                a few minutes on one core of any CPU
  slosim fidelity --rounds 5 --recalibrate                       on a machine that others use, too
  slosim fidelity -p vllm -p sarathi -p accelgen --seconds 30
  slosim fidelity --model opt-13b --device cuda --kv-blocks 4000 --set trace.max_prompt_tokens=2048

Load 1 is the throughput that the first scheduler is predicted to have with a burst of 200 requests. Ctrl-C stops; the
runs that are finished stay.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from experiments.commands.options import add_output, add_running, add_workload, count, positive, rates, scenario_from

if TYPE_CHECKING:
    from experiments.scenario import Scenario

SMALL: dict[str, Any] = {
    "policies": ["vllm", "sarathi"],
    "trace": {"source": "sharegpt", "max_prompt_tokens": 400},
    "cache": {"kv_blocks": 512, "block_size": 16},
}
"""What fits a tiny model on a CPU."""


def configure(parser: ArgumentParser) -> None:
    """The options."""
    parser.add_argument("-p", "--policy", action="append", metavar="SPEC", help="a scheduler; repeat for more")
    add_workload(parser)
    group = parser.add_argument_group("real engine")
    group.add_argument(
        "--model", dest="size", default="opt-tiny", metavar="NAME", help="opt-tiny (default), opt-125m, ..."
    )
    group.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    group.add_argument(
        "--kv-blocks", type=count, metavar="N", help="size of the key-value cache in blocks (default 512)"
    )
    group.add_argument("--block-size", type=count, metavar="N", help="tokens per block (default 16)")
    group.add_argument("--clock", choices=("processor", "wall"), help="time that this thread computes, or that passes "
                       "(default: processor on a cpu, wall on a GPU)")  # fmt: skip
    group.add_argument(
        "--profile", metavar="FILE", help="of this device, by slosim calibrate; else it is calibrated here"
    )
    group.add_argument("--max-output", type=count, default=100, metavar="N", help="clips outputs (default 100 tokens)")
    group = parser.add_argument_group("experiment")
    group.add_argument("--loads", type=rates, default=[0.7, 1.05], metavar="L,...", help="default 0.7,1.05")
    group.add_argument(
        "--seconds", type=positive, default=20.0, metavar="S", help="of arrivals in each run (default 20)"
    )
    group.add_argument("--rounds", type=count, default=2, metavar="N", help="real runs of each (default 2)")
    group.add_argument("--recalibrate", action="store_true", help="calibrate and predict anew before every round")
    add_running(parser)
    add_output(parser, "results/fidelity")


def main(options: Namespace) -> int:
    """Tries, shows, writes."""
    from costmodel import profile
    from experiments.console import console
    from experiments.fidelity.report import write_report
    from experiments.fidelity.running import Fidelity

    scenario = scenario_from(options, SMALL)
    out = console()
    fidelity = Fidelity(
        scenario,
        _rig(options, scenario),
        options.output,
        out,
        tuple(options.loads),
        options.seconds,
        options.rounds,
        options.recalibrate,
        options.max_output,
        given=None if options.profile is None else profile(options.profile),
    )
    try:
        fidelity.run()
    finally:
        if cases := fidelity.cases():
            out.print(write_report(fidelity, cases), markup=False, soft_wrap=True)
            out.print(f"Files are in {options.output}", markup=False, style="bold")
    return 0


def _rig(options: Namespace, scenario: Scenario) -> Any:
    from experiments.fidelity.rig import OptRig
    from traces.errors import SlosimError

    prompts, blocks = scenario.trace.max_prompt_tokens, scenario.cache.kv_blocks
    if prompts is None or blocks is None:
        raise SlosimError("a real engine has limits: set trace.max_prompt_tokens and cache.kv_blocks")
    clock = options.clock or ("processor" if options.device == "cpu" else "wall")
    if clock == "processor" and options.device != "cpu":
        raise SlosimError("processor time tells nothing of a GPU: use --clock wall")
    return OptRig.of(
        options.size,
        options.device,
        blocks=blocks,
        block_size=scenario.cache.block_size,
        positions=prompts + options.max_output,
        processor_time=clock == "processor",
    )
