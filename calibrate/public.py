"""Derives the A100 profiles from published measurements: `python -m calibrate.public --data DIR`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from calibrate.evidence import (
    Measured,
    composition_errors,
    host_time,
    host_time_of_tokens,
    measured_engine,
    published_engine,
)
from calibrate.fit import FitReport, as_json, fit_points
from calibrate.points import read_points
from calibrate.priors import llama_3_70b, llama_13b
from costmodel.facts import GPUS, MODELS
from costmodel.model import Calibrated
from costmodel.profile import FOLDER, Profile
from traces.errors import SlosimError

KERNELS = {
    "measured_on": "NVIDIA A100-SXM4-80GB",
    "by": "microsoft/vidur (MIT) and ai-dynamo/aiconfigurator (Apache-2.0)",
    "licence": "MIT and Apache-2.0",
    "prior": False,
}
ENGINES = {
    "measured_on": "NVIDIA A100-SXM4-80GB",
    "by": "LLMServe/DistServe @ 82831f16",
    "licence": "Apache-2.0",
    "prior": False,
}
COMPOSED = (
    "composed, not measured (see costmodel.WholeEngine); composition_errors: the same rule on lines through unmixed "
    "kernel times against mixed ones"
)
PAPER = {
    "opt-13b": {"pivot_forward_size": 768, "kvc_bytes": 12e9},
    "opt-175b": {"pivot_forward_size": 1280, "kvc_bytes": 8 * 33.75e9},
}
"""Stated in the paper: 12 GB, and 33.75 GB per GPU; read as powers of ten (inferred)."""
PCIE_4, PCIE_5 = 25e9, 50e9
"""Bytes per second that a GPU copies to its host: what sixteen lanes attain (inferred)."""


def opt_13b(data: Path) -> tuple[Profile, FitReport]:
    """OPT-13B from composed kernel times, with the host time of the paper's engine."""
    kernels = read_points(data / "a100-opt-13b-iterations.csv")
    report = fit_points(kernels, terms=("tile_share",))
    engines = {name: published_engine(data / "a100-opt-13b-engines.json", name) for name in ("vllm", "distserve")}
    times = {name: host_time(engine, kernels) for name, engine in engines.items()}
    evidence = (
        "median by which the published decode iterations of vLLM, the paper's engine, exceed these kernel times below "
        f"95 sequences; DistServe's exceed them by {1000 * times['distserve']:.2f} ms"
    )
    told = {
        **KERNELS,
        "what": "whole OPT-13B iterations composed from separately measured GEMM and attention kernels (GPU time only)",
        "host_time": {"seconds": round(times["vllm"], 6), "evidence": evidence},
    }
    return _kernel_profile(report, told, "opt-13b", 1, times["vllm"]), report


def opt_175b(data: Path) -> tuple[Profile, FitReport]:
    """OPT-175B on eight GPUs from composed kernel times, with the host time of a measured model of its size."""
    report = fit_points(read_points(data / "a100-opt-175b-tp8-iterations.csv"), terms=("tile_share",))
    bloom = Measured.of_file(data / "a100-bloom-176b-tp8-measured.csv")
    host = host_time_of_tokens(bloom, report.cost_model)
    evidence = (
        "median by which the measured token times of BLOOM-176B on the same eight GPUs (one request) exceed the fitted "
        "kernel times; an upper estimate: it holds whatever else differs between the two models and their kernels"
    )
    told = {
        **KERNELS,
        "what": "whole OPT-175B iterations composed from measured GEMM, attention and all-reduce kernels (GPU time)",
        "host_time": {"seconds": round(host, 6), "evidence": evidence},
    }
    return _kernel_profile(report, told, "opt-175b", 8, host), report


def whole_engine(data: Path, name: str) -> Profile:
    """OPT-13B as a published whole engine, host time included."""
    engine = published_engine(data / "a100-opt-13b-engines.json", name)
    composed = composition_errors(read_points(data / "a100-opt-13b-iterations.csv"))
    told = {
        **ENGINES,
        "what": f"coefficients of whole {name} iterations, prompts or decodes, host time included, as published",
        "mixed_iterations": COMPOSED,
        "composition_errors": as_json(composed),
        "kv_tokens_measured": 66144,
    }
    model = MODELS["opt-13b"]
    swapping = replace(engine, per_swapped_token=model.kv_bytes_per_token / PCIE_4)
    return Profile(f"opt-13b@a100-80gb-{name}", swapping, model, GPUS["a100-80gb"], 1, told, PAPER["opt-13b"])


def bloom_176b(data: Path) -> Profile:
    """BLOOM-176B on eight GPUs from measured medians: the stand-in for OPT-175B."""
    engine = measured_engine(Measured.of_file(data / "a100-bloom-176b-tp8-measured.csv"))
    told = {
        "measured_on": "eight NVIDIA A100-SXM4-80GB",
        "by": "Mutinifni/splitwise-sim",
        "licence": "MIT",
        "prior": False,
        "what": "measured prompt and token times, medians: single prompts interpolated, token times fitted",
        "mixed_iterations": "composed, not measured (see costmodel.WholeEngine)",
        "ranges": {"prefill_tokens": 8192, "decode_tokens": 64, "context_tokens": 64 * 512},
    }
    model = MODELS["bloom-176b"]
    swapping = replace(engine, per_swapped_token=model.kv_bytes_per_token / 8 / PCIE_4)
    return Profile("bloom-176b@a100-80gb-tp8", swapping, model, GPUS["a100-80gb"], 8, told)


def h200_prior() -> Profile:
    """OPT-13B on an H200 as expected before any measurement."""
    model = MODELS["opt-13b"]
    expected = Calibrated(
        per_token=0.036e-3,
        weight_time=8.2e-3,
        sharpness=2.6,
        per_pair=1.9e-9,
        per_context_token=2.7e-7,
        per_decode=8e-6,
        host_time=2e-3,
        tile_share=0.28,
        per_swapped_token=model.kv_bytes_per_token / PCIE_5,
    )
    told = {
        "measured_on": "nothing",
        "what": "a prior: compute and weight terms expected of the GPU; cache reads scaled from the A100 by bandwidth",
        "by": "slosim",
        "licence": "Apache-2.0",
        "prior": True,
        "host_time": {"seconds": 2e-3, "evidence": "none; a guess at an engine that replays recorded launches"},
    }
    return Profile("opt-13b@h200", expected, model, GPUS["h200"], 1, told, PAPER["opt-13b"])


def _kernel_profile(report: FitReport, told: dict[str, Any], model: str, gpus: int, host: float) -> Profile:
    facts = MODELS[model]
    return report.profile(
        f"{model}@a100-80gb" + f"-tp{gpus}" * (gpus > 1),
        told,
        model=facts,
        gpu=GPUS["a100-80gb"],
        tensor_parallel=gpus,
        paper=PAPER[model],
        keep_draws=True,
        host_time=host,
        per_swapped_token=facts.kv_bytes_per_token / gpus / PCIE_4,
    )


def _say(profile: Profile, report: FitReport | None = None) -> None:
    size, seconds, exact = profile.pivot
    print(f"{profile.name}: S_pf {size} (from {exact}), T_pf {1000 * seconds:.1f} ms, KVC {profile.kv_tokens()} tokens")
    if "host_time" in profile.provenance:
        host = profile.provenance["host_time"]
        print(f"  host time {1000 * host['seconds']:.2f} ms: {host['evidence']}")
    if "composition_errors" in profile.provenance:
        print(f"  mixed iterations composed; the rule's own error: {profile.provenance['composition_errors']}")
    for line in report.lines() if report else ():
        print(f"  {line}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the profiles and prints their parameters, held-out errors and pivots; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m calibrate.public", description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of the published measurements (a100-*.csv, .json)"
    )
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the profiles")
    options = parser.parse_args(arguments)
    try:
        _derive(options.data, options.output)
    except SlosimError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _derive(data: Path, output: Path) -> None:
    fitted: tuple[Callable[[Path], tuple[Profile, FitReport]], ...] = (opt_13b, opt_175b)
    results: list[tuple[Profile, FitReport | None]] = [make(data) for make in fitted]
    results += [(whole_engine(data, name), None) for name in ("vllm", "distserve")]
    results += [(bloom_176b(data), None), (h200_prior(), None)]
    single, sharded = (profile for profile, report in results if report)
    results += [(llama_13b(single), None), (llama_3_70b(single, sharded), None)]
    for profile, report in results:
        profile.save(output / f"{profile.name}.json")
        _say(profile, report)


if __name__ == "__main__":
    sys.exit(main())
