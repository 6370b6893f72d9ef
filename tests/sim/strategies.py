"""Random policies and workloads for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from sim.schedulers.accelgen import AccelGen
from sim.schedulers.cacheopt.policy import CacheOpt
from sim.schedulers.econoserve import EconoServe
from sim.schedulers.fastgen import FastGen
from sim.schedulers.oracle import Oracle
from sim.schedulers.orca import Orca
from sim.schedulers.planned import Agenda, Planned
from sim.schedulers.sarathi import Sarathi
from sim.schedulers.vllm import Vllm
from sim.schedulers.vllm_v1 import VllmV1
from tests.sim.stories import Whimsical, little_trace

POLICIES = st.one_of(
    st.builds(
        Vllm,
        st.sampled_from((None, 100, 300)),
        st.integers(1, 20),
        st.sampled_from((None, 100)),
        st.booleans(),
        st.sampled_from(("recompute", "swap")),
        st.sampled_from((None, None, 20)),
        st.sampled_from((0.0, 0.01, 0.1)),
    ),
    st.builds(VllmV1, st.integers(5, 80), st.integers(1, 20), st.just(True), st.sampled_from((0, 0, 5)), st.booleans()),
    st.builds(
        Sarathi, st.integers(20, 80), st.integers(1, 20), st.sampled_from((None, 75)), st.sampled_from((0.0, 0.1))
    ),
    st.builds(
        AccelGen,
        token_budget=st.sampled_from(("eq6", "inverse")),
        pivot=st.sampled_from((16, 64, 200)),
        gamma=st.sampled_from((0.0, 0.1, 0.75)),
        dynamic_chunking=st.booleans(),
        static_chunk=st.integers(20, 80),
        slo_ordering=st.booleans(),
        multi_resource=st.booleans(),
        exclusive=st.booleans(),
        overdue=st.sampled_from(("late", "urgent")),
        admission=st.sampled_from(("prompt", "chunk")),
        normalized=st.booleans(),
        candidates=st.sampled_from((2, 64)),
    ),
    st.builds(Oracle, st.sampled_from(("tokens", "requests")), st.sampled_from((1, 3, 6))),
    st.builds(
        Planned,
        st.builds(
            Agenda,
            st.permutations(range(10)).map(tuple),
            st.lists(st.tuples(st.integers(0, 12), st.sampled_from((0.1, 0.6, 9.0))), max_size=4).map(tuple),
            st.just(()),
            st.just(""),
        ),
    ),
    st.builds(Orca, st.integers(1, 20), st.sampled_from((None, 75)), st.sampled_from((1, 20, 60))),
    st.builds(
        FastGen,
        st.integers(130, 300),
        st.integers(1, 20),
        st.sampled_from((3, 2048)),
        st.sampled_from((None, 50)),
        st.sampled_from(("pipeline", "early", "immediate")),
    ),
    st.builds(
        EconoServe,
        decoupled=st.sampled_from((True, True, False)),
        forward_size=st.sampled_from((16, 64, 300)),
        chunking=st.booleans(),
        prompts_wait=st.booleans(),
        same_length=st.booleans(),
        length_bucket=st.sampled_from((None, 1, 20)),
        exact_allocation=st.booleans(),
        extra=st.sampled_from((None, 1, 30)),
        reserve=st.sampled_from((0.0, 0.03, 0.3)),
        default_output=st.sampled_from((1, 10, 256)),
        pipelining=st.booleans(),
        nested=st.booleans(),
        ordering=st.booleans(),
        deadline_range=st.sampled_from((0.0, 0.05, 1.0)),
    ),
    st.builds(
        CacheOpt,
        chunked_prefill=st.booleans(),
        max_num_batched_tokens=st.sampled_from((None, 100)),
        max_num_seqs=st.integers(1, 20),
        watermark=st.sampled_from((0.0, 0.1)),
        padding=st.booleans(),
        output_range=st.sampled_from((None, 10.0)),
        allocation=st.sampled_from(("demand", "demand", "prompt")),
        cuts=st.sampled_from(("critical", "all")),
        chunk=st.sampled_from((None, 5)),
        candidates=st.sampled_from((1, 32)),
        embedding=st.booleans(),
        buffer=st.sampled_from((0, 8)),
        critical_first=st.booleans(),
        urgency=st.sampled_from((0.0, 1.0, 5.0)),
        late=st.booleans(),
        critical_preempts=st.booleans(),
        overtakes=st.sampled_from((0, 2, 64)),
        ahead=st.sampled_from((0, 2, 5)),
        reserve_blocks=st.sampled_from((0, 2, 8)),
        victim_order=st.booleans(),
        preemption=st.sampled_from(("crossover", "recompute", "swap")),
    ),
    st.builds(Whimsical, st.integers(0, 99), st.integers(8, 90), st.sampled_from((0.1, 0.5)), patient=st.booleans()),
)
WORKLOADS = st.builds(
    little_trace,
    st.integers(0, 10**6),
    st.integers(1, 25),
    st.sampled_from((0.0, 0.5, 5.0)),
    st.sampled_from((5, 60)),
    st.sampled_from((1, 20, 60)),
    st.booleans(),
)
BLOCK_SIZES = st.sampled_from((1, 3, 16))
SPARE_BLOCKS = st.sampled_from((0, 1, 3, 100))
"""Blocks beyond what the largest request needs."""
