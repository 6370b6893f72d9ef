"""Recorded steps of real schedulers, replayed through our policies: equal, all of them; and no other policy passes."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments import steps
from experiments.steps import Difference, check_steps, read_recording
from sim.schedulers.sarathi import Sarathi
from sim.schedulers.vllm import Vllm

RECORDINGS = (
    "fastgen_ample",
    "fastgen_b512_tight",
    "fastgen_tight",
    "fastgen_tight_immediate",
    "fastserve_fcfs_tight",
    "fastserve_mlfq_tight",
    "fastserve_sjmlfq_ample",
    "fastserve_sjmlfq_noproactive_tight",
    "fastserve_sjmlfq_tight",
    "orca_ample",
    "orca_tight",
    "sarathi_c2048_tight",
    "sarathi_c256_tight",
    "sarathi_c512_ample",
    "sarathi_c512_seqs16_ample",
    "sarathi_c512_tight",
    "vllm_v0_0.2.7_ample",
    "vllm_v0_0.2.7_tight",
    "vllm_v0_0.2.7_vtight",
    "vllm_v0_0.4.3_ample",
    "vllm_v0_0.4.3_chunk512_tight",
    "vllm_v0_0.4.3_swap_tight",
    "vllm_v0_0.4.3_tight",
    "vllm_v1_0.33.0_ample",
    "vllm_v1_0.33.0_b512_tight",
    "vllm_v1_0.33.0_seqs16_ample",
    "vllm_v1_0.33.0_tight",
    "vllm_v1_0.33.0_vtight",
)


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_step_is_equal(shared: Path, name: str) -> None:
    path = shared / "golden" / "steps" / f"{name}.meta.json"
    assert check_steps(path) == len(read_recording(path).steps) > 1000


def test_none_is_left_out(shared: Path) -> None:
    assert {path.name.split(".meta")[0] for path in (shared / "golden" / "steps").glob("*.meta.json")} == {*RECORDINGS}


def test_another_policy_is_found(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shared / "golden" / "steps" / "vllm_v0_0.4.3_swap_tight.meta.json"
    kind = read_recording(path).meta["scheduler"]
    monkeypatch.setitem(steps.POLICIES, kind, lambda settings: Vllm(watermark=0.02, preemption="swap"))
    with pytest.raises(Difference, match=r"step \d+: the batches differ: r\S+ gets \d+ tokens here, \d+ there"):
        check_steps(path)
    monkeypatch.setitem(steps.POLICIES, kind, lambda settings: Sarathi())
    with pytest.raises(Difference, match=r"step \d+: "):
        check_steps(path)
