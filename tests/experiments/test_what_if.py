"""The sliders of what-if: what they say, that a change runs anew, and that mistakes are told."""

from __future__ import annotations

import pytest

from experiments.what_if import WhatIf
from traces.errors import SlosimError


def test_every_change_serves_the_same_requests_anew() -> None:
    what_if = WhatIf(requests=100, policies=("vllm",), rate=1.0)
    before = what_if.results["vllm"]
    assert len(before) == 100
    assert "100 requests, 457 blocks of 32 tokens" in what_if.table.value
    assert [picture.value[1:4] for picture in what_if.pictures.children] == [b"PNG", b"PNG"]
    what_if.controls["cache"].value = 16
    after = what_if.results["vllm"]
    assert after.capacity.kv_blocks > before.capacity.kv_blocks == 457
    assert after.requests["prompt_tokens"].tolist() == before.requests["prompt_tokens"].tolist()
    what_if.controls["long_prompts"].value = 0.0
    what_if.controls["policies"].value = ("sarathi", "accelgen")
    assert list(what_if.results) == ["sarathi", "accelgen"]
    assert what_if.results["sarathi"].requests["prompt_tokens"].max() < before.requests["prompt_tokens"].max()
    scenario = what_if.scenario()
    assert (scenario.trace.rate, scenario.trace.bookcorpus_share, scenario.cache.kvc_bytes) == (1.0, 0.0, 16e9)
    assert what_if.show().children[-2:] == (what_if.table, what_if.pictures)


def test_mistakes_are_told() -> None:
    with pytest.raises(SlosimError, match="no control speed: choose among policies, profile, cache"):
        WhatIf(speed=3)
    what_if = WhatIf(requests=100, policies=("vllm",))
    what_if.controls["policies"].value = ()
    assert "policies: name at least one" in what_if.table.value
    assert not what_if.pictures.children
