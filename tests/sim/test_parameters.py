"""Parameters as data: text and data are two ways to one policy, and what makes no sense is refused by name."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import Annotated, Any, Literal

import annotated_types
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel import profile
from sim.check import check_scheduler
from sim.parameters import Count, Share, Within, checked, fit, literal, read, split, written
from sim.predictor import Noisy, Padded
from sim.registry import BUILT_IN, PREDICTORS, parsed, predictor, scheduler
from sim.schedulers.fastserve import FastServe
from sim.schedulers.sarathi import Sarathi
from sim.schedulers.vllm import Vllm
from sim.simulation import simulate
from traces import paper_mix
from traces.errors import SlosimError

PROFILE = "opt-13b@a100-80gb-vllm"


class Mode(Enum):
    FAST = "fast"


@dataclass(frozen=True)
class Mine(Vllm):
    """A policy of a user's own, with bounds in each way that there is."""

    own: Annotated[int, Within(ge=1, lt=10)] = 5
    theirs: Annotated[float, annotated_types.Gt(0)] = 1.0
    models: Annotated[int, pydantic.Field(le=3)] = 2
    plain: float = field(default=0.5, metadata={"ge": 0, "le": 1})
    pair: tuple[int, float] = (1, 2.0)
    shares: tuple[Share, ...] = ()
    endless: float = math.inf
    word: Literal["none", "some"] | None = "some"
    text: str = ""
    mode: Mode = Mode.FAST
    unknown: Missing = 1  # type: ignore[name-defined]  # noqa: F821
    anything: Any = None


HERE = f"{__name__}:Mine"


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("own=9", "own", 9),
        ("own=9.0", "own", 9),
        ("theirs=1e-9", "theirs", 1e-9),
        ("pair=[3, 4]", "pair", (3, 4)),
        ("pair=(3, 4.5)", "pair", (3, 4.5)),
        ("shares=[0, 0.25,1]", "shares", (0, 0.25, 1)),
        ("shares=[]", "shares", ()),
        ("word=none", "word", "none"),
        ("word=None", "word", None),
        ("text=none", "text", "none"),
        ("text=5", "text", "5"),
        ("text=1e3", "text", "1e3"),
        ("text='a,b'", "text", "a,b"),
        ('text="a\\"],b"', "text", 'a"],b'),
        ("text=it's", "text", "it's"),
        ("text=a=b", "text", "a=b"),
        ("endless=inf", "endless", math.inf),
        ("chunked_prefill=true", "chunked_prefill", True),
        ("max_model_len=none", "max_model_len", None),
        ("anything={'a': [1, 2]}", "anything", {"a": [1, 2]}),
        ("unknown=x", "unknown", "x"),
    ],
)
def test_text_is_read_as_the_field_wants_it(text: str, name: str, value: object) -> None:
    policy = scheduler(f"{HERE},{text},watermark=0.5")
    assert getattr(policy, name) == value
    assert type(getattr(policy, name)) is type(value)
    assert policy.watermark == 0.5
    assert scheduler(HERE, {name: value}) == scheduler(f"{HERE},{text}"), "data is the same as text"
    assert scheduler(written(*parsed(f"{HERE},{text}"))) == scheduler(f"{HERE},{text}"), "and back"


def test_lists_reach_a_built_in_policy() -> None:
    assert scheduler("fastserve,prefill_times=[0.1,0.2],max_num_seqs=8") == FastServe(
        prefill_times=(0.1, 0.2), max_num_seqs=8
    )
    assert scheduler("fastserve", {"prefill_times": [0.1, 0.2]}) == FastServe(prefill_times=(0.1, 0.2))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("own=0", "own = 0: write a number >= 1 and < 10"),
        ("own=10", "own = 10: write a number >= 1 and < 10"),
        ("own=2.5", "own = 2.5: write a whole number"),
        ("own=true", "own = True: write a whole number"),
        ("own=1" + "0" * 30, "whole number of at most 18 digits"),
        ("own=1" + "0" * 5000, "own = "),
        ("theirs=0", "theirs = 0: write a number > 0"),
        ("theirs=nan", "theirs = nan: write a finite number"),
        ("theirs=inf", "theirs = inf: write a finite number"),
        ("theirs=-inf", "theirs = -inf: write a finite number"),
        ("theirs=1e400", "theirs = inf: write a finite number"),
        ("models=4", "models = 4: write a number <= 3"),
        ("plain=1.5", "plain = 1.5: write a number >= 0 and <= 1"),
        ("pair=[1]", "pair = .1.: write a list of 2"),
        ("pair=7", "pair = 7: write a list"),
        ("shares=[0.5, 2]", "shares = .0.5, 2.: write a list in which each is a number >= 0 and <= 1"),
        ("shares=[nan]", "shares = "),
        ("word=neither", "word = 'neither': write one of none, some"),
        ("anything=nan", "anything = nan"),
        ("onw=1", "no parameter 'onw'; did you mean 'own'. it has max_num_batched_tokens"),
        ("own=1,own=2", "'own' is given twice"),
        ("pair=[1, 2", "a bracket is not closed"),
        ("text='a", "a quote is not closed"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(SlosimError, match=words) as caught:
        scheduler(f"{HERE},{text}")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "spec",
    [
        *("vllm,watermark=-1", "vllm-v1,max_num_batched_tokens=0", "sarathi,chunk_size=0", "sarathi,watermark=1"),
        *("accelgen,gamma=nan", "accelgen,gamma=-1", "accelgen,largest_budget=0", "accelgen,candidates=0"),
        *("econoserve,reserve=2", "econoserve,padding=-0.1", "econoserve,no_slo=inf", "cacheopt,alpha=1"),
        *("cacheopt,reserve_blocks=-1", "fastgen,max_tracked_sequences=0", "orca,max_output=-5", "oracle,candidates=0"),
        *("fastserve,quantum_factor=1", "fastserve,prefill_times=[0.1,-1]", "planned,largest_budget=-1"),
        "punctual,refresh=-1",
    ],
)
def test_built_in_policies_declare_their_bounds(spec: str) -> None:
    name, parameters = parsed(spec)
    for ask in (lambda: scheduler(spec), lambda: scheduler(name, parameters)):
        with pytest.raises(SlosimError, match=next(iter(parameters))):
            ask()


@pytest.mark.parametrize("name", [*BUILT_IN, *PREDICTORS])
def test_every_number_of_every_policy_and_predictor_is_bounded(name: str) -> None:
    made: Any = predictor(name) if name in PREDICTORS else scheduler(name)
    for each in fields(made):
        if each.init and "str" not in str(each.type) and not isinstance(getattr(made, each.name), bool | str):
            with pytest.raises(SlosimError, match=each.name):
                checked(replace(made, **{each.name: -1}))
            with pytest.raises(SlosimError, match=each.name):
                checked(replace(made, **{each.name: math.nan}))


def test_a_policy_made_in_python_is_held_to_the_same() -> None:
    trace = paper_mix(3, 1.0)
    for wrong in (Sarathi(watermark=-1.0), Sarathi(chunk_size=0), Mine(own=99)):
        with pytest.raises(SlosimError, match=f"{type(wrong).__name__}: .* write"):
            simulate(trace, wrong, profile(PROFILE), kv_blocks=400)
        with pytest.raises(SlosimError, match="write"):
            check_scheduler(wrong)
    with pytest.raises(SlosimError, match="Noisy: sigma = -1"):
        simulate(trace, "vllm", profile(PROFILE), kv_blocks=400, predictor=Noisy(-1))
    listed: Any = FastServe(prefill_times=[0.1, 0.2])  # type: ignore[arg-type]
    assert checked(listed).prefill_times == (0.1, 0.2)
    own = Mine()
    assert checked(own) is own


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kv_blocks": 10**30}, "kv_blocks = 1000"),
        ({"kv_blocks": 2.5}, "kv_blocks = 2.5"),
        ({"seed": -1}, "seed = -1: write a number >= 0"),
        ({"replicas": 1.5}, "replicas = 1.5"),
        ({"horizon": math.nan}, "horizon"),
        ({"warmup": math.nan}, "warm-up"),
    ],
)
def test_arguments_of_simulate(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SlosimError, match=words):
        simulate(paper_mix(3, 1.0), "vllm", profile(PROFILE), **{"kv_blocks": 400, **settings})


def test_predictors_have_the_same_parser() -> None:
    assert predictor("padded,confidence=0.9, sigma=0") == Padded(0.9, 0)
    for wrong in ("noisy,sigma=-1", "noisy,sigma=nan", "padded,confidence=1", "nosy", "noisy,sgma=1", "noisy,0.5"):
        with pytest.raises(SlosimError):
            predictor(wrong)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=6,
)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,5}", fullmatch=True), VALUES, max_size=4))
def test_whatever_is_written_is_read_back(parameters: dict[str, Any]) -> None:
    name, texts = split(written("any", parameters))
    found = {key: read(text) for key, text in texts.items()}
    assert (name, found) == ("any", parameters)
    assert [type(value) for value in found.values()] == [type(value) for value in parameters.values()]


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    literal(text)
    with suppress(SlosimError):
        split(text)


def test_numpy_s_numbers_are_numbers() -> None:
    assert fit(Count, np.int64(3)) == 3
    assert fit(float, np.float32(0.5)) == 0.5
