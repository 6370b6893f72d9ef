"""Policies by name: built-in, by module, by entry point; mistakes are answered with what is meant."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from sim import registry
from sim.errors import UnknownScheduler
from sim.registry import scheduler, schedulers
from sim.schedulers.accelgen import AccelGen
from sim.schedulers.sarathi import Sarathi
from sim.schedulers.vllm import Vllm
from traces.errors import SlosimError


def test_names_lead_to_policies() -> None:
    assert scheduler("vllm") == Vllm()
    assert scheduler("accelgen") == AccelGen()
    assert {"vllm", "vllm-v1", "sarathi", "accelgen", "oracle", "orca", "fastgen", "fastserve"} | {
        "econoserve",
        "cacheopt",
    } <= schedulers().keys()
    for name in schedulers():
        assert repr(scheduler(name))


def test_a_policy_is_itself() -> None:
    policy = Sarathi(chunk_size=7)
    assert scheduler(policy) is policy


def test_parameters() -> None:
    assert scheduler("sarathi,chunk_size=64, max_num_seqs = 8") == Sarathi(chunk_size=64, max_num_seqs=8)
    assert scheduler("vllm,preemption=swap,chunked_prefill=true") == Vllm(preemption="swap", chunked_prefill=True)
    assert scheduler("vllm,preemption='swap',max_model_len=None") == Vllm(preemption="swap")
    assert scheduler("vllm,max_model_len=none,watermark=0.5") == Vllm(watermark=0.5)
    assert scheduler("accelgen,exclusive=false,pivot=paper") == AccelGen(exclusive=False, pivot="paper")


def test_module_and_class() -> None:
    assert scheduler("sim.schedulers.sarathi:Sarathi,chunk_size=9") == Sarathi(chunk_size=9)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            "sarahti",
            "no scheduler 'sarahti'; did you mean 'sarathi'. there are accelgen, .*sarathi, vllm, vllm-v1",
        ),
        ("zzz", "no scheduler 'zzz'; there are accelgen"),
        ("vllm,swap", "'swap' is not a parameter; write key=value with a key of max_num_batched_tokens"),
        ("vllm,chunks=5", "no parameter 'chunks'; it has max_num_batched_tokens"),
        ("accelgen,overdue=lst", "'accelgen': overdue = 'lst': write one of late, urgent, last$"),
        ("accelgen,pivot=mesured", "pivot = 'mesured': write one of measured, paper$"),
        ("no_such_module:Policy", "scheduler 'no_such_module:Policy': No module named 'no_such_module'"),
        ("sim.schedulers.vllm:Nothing", "has no attribute 'Nothing'"),
        ("traces.types:SLO,ttft=1", "has no schedule.server. method"),
        ("traces.types:SLO,1", "write key=value with a key of its parameters"),
    ],
)
def test_mistakes(spec: str, words: str) -> None:
    with pytest.raises(UnknownScheduler, match=words) as raised:
        scheduler(spec)
    assert isinstance(raised.value, SlosimError)


def test_entry_points_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = EntryPoints(
        [
            EntryPoint("mine", "sim.schedulers.sarathi:Sarathi", registry.GROUP),
            EntryPoint("vllm", "sim.schedulers.sarathi:Sarathi", registry.GROUP),
        ]
    )
    monkeypatch.setattr(registry, "entry_points", lambda group: mine.select(group=group))
    assert scheduler("mine,chunk_size=5") == Sarathi(chunk_size=5)
    assert scheduler("vllm") == Sarathi()
    assert schedulers()["mine"] == "sim.schedulers.sarathi:Sarathi"
