"""Recorded steps of real schedulers, replayed through our policies: equal, all of them; and no other policy passes."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyarrow import parquet

from experiments.recorded_files import DIGEST, digest, read_files, shipped
from experiments.recordings import POLICIES, NotModelled, read_recording
from experiments.steps import Difference, check_steps
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
    "vllm_v1_0.33.0_watermark05_noreserve",
)
NOT_MODELLED = {
    "async_tight": "async_scheduling",
    "interval4": "prefill_schedule_interval",
    "mix_fcfs": "prefix_caching",
    "mix_prefix_interval": "prefill_schedule_interval prefix_caching",
    "mix_prefix_noreserve_async": "async_scheduling prefix_caching",
    "mix_prefix_wm_bs8": "prefix_caching",
    "mix_prefix_wm_thr": "prefix_caching",
    "mix_prio_prefix": "policy prefix_caching",
    "mix_spec_tight": "num_speculative_tokens",
    "prefix_ample": "prefix_caching",
    "prefix_nothing_shared_tight": "prefix_caching",
    "prefix_sessions_async_tight": "async_scheduling prefix_caching",
    "prefix_sessions_vtight": "prefix_caching",
    "priority_tight": "policy",
    "spec3_ample": "num_speculative_tokens",
    "thr256_adaptive": "long_prefill_token_threshold_adaptive",
}
"""Recordings of vLLM V1 that no policy can replay yet, and the settings that are the reason."""


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_step_is_equal(recordings: Path, name: str) -> None:
    path = recordings / "steps" / f"{name}.parquet"
    assert check_steps(path) == len(read_recording(path).steps) > 1000


@pytest.mark.parametrize("name", NOT_MODELLED)
def test_what_no_policy_models_is_refused(recordings: Path, name: str) -> None:
    path = recordings / "steps" / f"vllm_v1_0.33.0_{name}.parquet"
    reasons = [f"{setting}: not modelled" for setting in NOT_MODELLED[name].split()]
    with pytest.raises(NotModelled, match=f": {'; '.join(reasons)}$"):
        check_steps(path)


def test_none_is_left_out() -> None:
    beyond = {f"vllm_v1_0.33.0_{name}" for name in NOT_MODELLED}
    assert {path.stem for path in shipped()} == {*RECORDINGS, *beyond}


def test_nothing_of_the_recordings_is_lost() -> None:
    """The digest in each footer is that of the JSON lines which the recorder wrote."""
    for path in shipped():
        footer = parquet.read_schema(path).metadata
        recorded = read_files(path)
        assert footer[DIGEST].decode() == digest(recorded.steps)
        assert len(recorded.requests) == len(recorded.trace) > 100
        assert len(recorded.steps) >= recorded.meta["steps"] > 1000


def test_the_recordings_are_small(recordings: Path) -> None:
    assert sum(path.stat().st_size for path in recordings.rglob("*")) < 2.5e6


def test_another_policy_is_found(recordings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recordings / "steps" / "vllm_v0_0.4.3_swap_tight.parquet"
    kind = read_recording(path).meta["scheduler"]
    modelled = POLICIES[kind]
    other = modelled._replace(policy=lambda settings: Vllm(watermark=0.02, preemption="swap"))
    monkeypatch.setitem(POLICIES, kind, other)
    with pytest.raises(Difference, match=r"step \d+: the batches differ: r\S+ gets \d+ tokens here, \d+ there"):
        check_steps(path)
    monkeypatch.setitem(POLICIES, kind, modelled._replace(policy=lambda settings: Sarathi()))
    with pytest.raises(Difference, match=r"step \d+: "):
        check_steps(path)
