"""Routers: which replica they choose, that equals take turns, and what a result says of its replicas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from sim.errors import SchedulerError
from sim.registry import ROUTERS, router
from sim.request import Request
from sim.router import LeastLoaded, RoundRobin, ShortestQueue
from sim.server import Server
from sim.simulation import simulate
from tests.sim.stories import MODEL, differences, little_trace
from traces import Trace
from traces.errors import SlosimError

HERE = "tests.sim.test_router"


@dataclass(frozen=True)
class Pinned:
    """All requests to one replica."""

    number: int = 0

    def route(self, request: Request, servers: Sequence[Server]) -> Server:
        return servers[self.number]


@dataclass(frozen=True)
class Rubbish:
    """No server at all."""

    def route(self, request: Request, servers: Sequence[Server]) -> Any:
        return len(servers)


def replicas_of(rows: list[tuple[float, int, int]] | Trace, way: Any, number: int, **more: Any) -> list[int]:
    trace = rows if isinstance(rows, Trace) else Trace.from_rows(rows)
    settings = {"kv_blocks": 100, "block_size": 16, **more}
    result = simulate(trace, "vllm", MODEL, replicas=number, router=way, **settings)
    return [int(replica) for replica in result.requests["replica"]]


@pytest.mark.parametrize("name", sorted(ROUTERS))
def test_equals_take_turns(name: str) -> None:
    """One request at a time: all replicas are idle whenever one comes, so each of four serves a quarter."""
    rows = [(1000.0 * n, 40, 5) for n in range(100)]
    assert Counter(replicas_of(rows, name, 4)) == dict.fromkeys(range(4), 25)


def test_round_robin_goes_round_whatever_the_load() -> None:
    assert replicas_of([(0.0, 400, 90)] * 7, RoundRobin(), 3) == [0, 1, 2, 0, 1, 2, 0]


def test_the_least_loaded_has_the_fewest_requests() -> None:
    """Three long requests occupy 0, 1 and 2; the fourth finds 3 idle; then all have one, and 4 % 4 = 0."""
    assert replicas_of([(0.0, 400, 90)] * 5, LeastLoaded(), 4) == [0, 1, 2, 3, 0]
    busy = [(0.0, 400, 90), (0.0, 40, 1), (500.0, 40, 1), (500.0, 40, 1)]
    assert replicas_of([(0.0, 4, 9), (1.5, 4, 1), (4.5, 4, 1)], LeastLoaded(), 2)[:2] == [0, 1]
    assert len(set(replicas_of(busy, LeastLoaded(), 2)[2:])) == 2


def test_the_shortest_queue_weighs_waiting_four_times() -> None:
    """With one place each, 0 runs one and holds one that waits (5); 1 runs one (1) and takes the next."""

    class Stub:
        def __init__(self, number: int, waiting: int, running: int) -> None:
            self.number, self.running_count, self.swapped = number, running, {}
            self.waiting = type("Queue", (), {"size": waiting})

    servers: Any = [Stub(0, 1, 1), Stub(1, 0, 4), Stub(2, 0, 6)]
    request = Request(0, 0.0, 10, 10)
    assert ShortestQueue().route(request, servers) is servers[1], "4 < 5 < 6"
    assert LeastLoaded().route(request, servers) is servers[0], "2 < 4 < 6"


def test_routers_by_name() -> None:
    assert router("least_loaded") == LeastLoaded()
    assert router(f"{HERE}:Pinned,number=2") == Pinned(2)
    assert router(RoundRobin()) == RoundRobin()
    with pytest.raises(SlosimError, match=r"no router 'least_load'; did you mean 'least_loaded'\?"):
        router("least_load")
    with pytest.raises(SlosimError, match="router 'nowhere:Class': No module named 'nowhere'"):
        router("nowhere:Class")
    with pytest.raises(SlosimError, match=r"has no route\(request, servers\) method"):
        router("fractions:Fraction")
    with pytest.raises(SlosimError, match="router 'round_robin'"):
        router("round_robin,number=3")


def test_a_router_of_one_s_own_and_its_faults() -> None:
    rows = [(0.1 * n, 20, 3) for n in range(6)]
    assert replicas_of(rows, f"{HERE}:Pinned,number=1", 3) == [1] * 6
    with pytest.raises(SchedulerError, match=r"router Rubbish\(\) answered request 0 with 2: route must return one"):
        replicas_of(rows, Rubbish(), 2)
    with pytest.raises(SchedulerError, match=r"router Pinned\(number=9\) failed at request 0: IndexError"):
        replicas_of(rows, Pinned(9), 2)


@pytest.mark.parametrize("name", sorted(ROUTERS))
def test_a_router_sees_the_same_whether_iterations_are_skipped_or_not(name: str) -> None:
    trace = little_trace(3, requests=60, spread=2.0)
    settings: dict[str, Any] = {"kv_blocks": 40, "block_size": 4, "replicas": 3, "router": name}
    coasting = simulate(trace, "sarathi", MODEL, **settings)
    assert not differences(coasting, simulate(trace, "sarathi", MODEL, coast=False, **settings))
    assert sorted(set(coasting.requests["replica"].tolist())) == [0, 1, 2]


def test_the_replica_of_a_request_is_the_one_whose_iterations_gave_its_tokens() -> None:
    trace = little_trace(4, requests=40)
    result = simulate(trace, "vllm", MODEL, kv_blocks=30, block_size=4, replicas=3, router="least_loaded")
    replica = result.requests["replica"]
    assert replica.dtype == np.int16
    assert (result.spans["server"] == replica[result.spans["request"]]).all()
    assert result.to_pandas()["replica"].tolist() == replica.tolist()
    cut = simulate(trace, "vllm", MODEL, kv_blocks=30, block_size=4, replicas=3, horizon=0.05)
    assert ((cut.requests["replica"] == -1) == (cut.requests["status"] == 3)).all()


def test_figures_of_replicas_add_up() -> None:
    trace = little_trace(4, requests=40)
    result = simulate(trace, "vllm", MODEL, kv_blocks=30, block_size=4, replicas=3, router="least_loaded")
    whole, parts = result.summary(), list(result.by_replica().values())
    for name in ("requests", "token_throughput", "request_throughput", "finished"):
        assert sum(part[name] for part in parts) == pytest.approx(whole[name])
    for name in ("gpu_busy", "kvc_used"):
        assert sum(part[name] for part in parts) / 3 == pytest.approx(whole[name])
    assert sum(part["share"] for part in parts) == pytest.approx(1)
    one = simulate(trace, "vllm", MODEL, kv_blocks=30, block_size=4, replicas=3, router=Pinned(2)).by_replica()
    assert [one[name]["share"] for name in "012"] == [0, 0, 1]
    assert one["0"]["gpu_busy"] == 0 < one["2"]["gpu_busy"]


@pytest.mark.parametrize("policy", ["vllm", "vllm-v1", "sarathi", "orca", "fastgen", "accelgen", "fastserve", "oracle"])
def test_requests_beyond_max_model_len_are_rejected_under_every_policy(policy: str) -> None:
    rows = [(0.0, 50, 14), (0.1, 50, 15), (0.2, 64, 1), (0.3, 10, 10)]
    result = simulate(Trace.from_rows(rows), policy, MODEL, kv_blocks=100, block_size=16, max_model_len=64)
    assert result.requests["status"].tolist() == [0, 1, 1, 0]
    assert result.rejections[1] == "its 65 tokens, prompt and output, exceed max_model_len = 64"
    assert result.about["max_model_len"] == 64
    with pytest.raises(SlosimError, match="max_model_len = 0"):
        simulate(Trace.from_rows(rows), policy, MODEL, kv_blocks=100, max_model_len=0)
