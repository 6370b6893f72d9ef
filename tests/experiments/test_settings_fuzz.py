"""A seeded fuzz of settings: whatever is asked ends in what was asked, or in one line that says what is wrong.

SLOSIM_FUZZ=50 runs fifty times as many inputs, on other seeds.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from costmodel import profile
from experiments.cli import main
from experiments.named import metrics
from experiments.regress.margins import Margin
from experiments.scenario import PolicySettings, Scenario
from experiments.settings import Override, scenario_of
from experiments.sweeps.capacity import Target
from experiments.sweeps.plan import points_of
from sim.errors import SchedulerError
from sim.parameters import literal, plain
from sim.registry import BUILT_IN, PREDICTORS, ROUTERS, parsed, predictor, router, scheduler
from sim.simulation import simulate
from traces import Trace
from traces.errors import SlosimError

MORE = int(os.environ.get("SLOSIM_FUZZ", "1"))
WAYS: tuple[Literal["max", "min"], ...] = ("max", "min")
LONGEST = 3000
"""Characters of a message."""

NUMBERS = [
    *("0", "1", "2", "-1", "0.5", "1.5", "-0.5", "3", "7", "100", "1e-12", "1e12", "1e308", "1e400", "10" * 40),
    *(
        "9000000000000000000",
        "1e15",
        "nan",
        "inf",
        "-inf",
        "NaN",
        "Infinity",
        "1_000",
        "0x10",
        "1e3",
        "2.0",
        "9" * 5000,
        "-0",
        "1,5",
        "٣",
        "1j",
    ),
]
WORDS = [
    *("true", "false", "none", "None", "null", "", " ", "many", "recompute", "swap", "paper", "fixed", "poisson"),
    *("'", '"', "'a", "[", "]", "[]", "[1", "[1, 2]", "(1,)", "[0.1, -1]", "[[1], 2]", "{}", "{'a': 1}", "{1: [2]}"),
    *(
        "..",
        "/",
        "/dev/null",
        "nowhere.csv",
        "a\nb",
        "a\x00b",
        "\x1b[31m",
        "\ud800",
        "[/red]",
        "$\\frac$",
        "=1+1",
        "<b>",
    ),
    *("x" * 3000, "(" * 300, "[" * 3000, "a=b", "a=b=c", "b'x'", "...", "1 # 2", "1\nseeds = 5", "lambda: 0", "--help"),
    *(
        "2024-01-01",
        "12:00:00",
        "__import__('os')",
        "\\d",
        "é",
        "日本",
        "😀",
        "%s",
        "{0}",
        "vllm",
        "sarathi,chunk_size=64",
    ),
]


def any_text(random: Random) -> str:
    """A value, mostly a number."""
    if random.random() < 0.1:
        return "".join(random.choice("[](){}'\",= \\\n\x1b\x00aé1.e-_") for _ in range(random.randrange(12)))
    return random.choice(NUMBERS if random.random() < 0.6 else WORDS)


def one_line(error: SlosimError) -> None:
    """What a message must be; the list of several mistakes has a line for each."""
    told = str(error)
    assert told
    assert len(told) < LONGEST, told[:500]
    assert "\n" not in told or all(line.startswith("  ") for line in told.splitlines()[1:]), told


@contextmanager
def telling() -> Iterator[None]:
    """What is done in it may end in an error, if that is a line."""
    try:
        yield
    except SlosimError as error:
        one_line(error)


def inputs(number: int, salt: str) -> Iterator[Random]:
    for seed in range(number * MORE):
        yield Random(f"{salt} {seed}")


def numbers_in(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from numbers_in(each)


def keys_of(made: Any) -> list[str]:
    return [each.name for each in fields(made) if each.init] if is_dataclass(made) else []


def a_spec(random: Random, names: list[str], make: Callable[[str], Any]) -> tuple[str, dict[str, str]]:
    """A name with some parameters, most of them real ones, and most values from what the default looks like."""
    name = random.choice(names) if random.random() < 0.95 else any_text(random)
    known: list[str] = []
    with suppress(SlosimError):
        known = keys_of(make(name))
    keys = [
        random.choice(known) if known and random.random() < 0.95 else any_text(random)
        for _ in range(random.randrange(4))
    ]
    given = {key: any_text(random) for key in keys}
    return ",".join([name, *(f"{key}={value}" for key, value in given.items())]), given


@pytest.mark.parametrize(
    ("names", "make"),
    [
        ([name for name in BUILT_IN if name != "planned"], scheduler),
        ([*PREDICTORS], predictor),
        ([*ROUTERS], router),
    ],
    ids=["policies", "predictors", "routers"],
)
def test_specs(names: list[str], make: Callable[[str], Any]) -> None:
    accepted = 0
    for random in inputs(300, str(names)):
        spec, given = a_spec(random, names, make)
        try:
            made = make(spec)
        except SlosimError as error:
            one_line(error)
            continue
        accepted += bool(given)
        for key, text in given.items():
            if "," not in text.strip("[](){}"):
                used = getattr(made, key.strip())
                assert plain(used) == literal(text) or used == text.strip(), (spec, used)
                assert not any(map(math.isnan, numbers_in(used)))
                assert used is getattr(type(made), key.strip(), None) or all(map(math.isfinite, numbers_in(used))), spec
    assert accepted or names == [*ROUTERS], "some settings make sense"


def test_policies_as_data_and_back() -> None:
    for random in inputs(200, "data"):
        spec, _ = a_spec(random, [name for name in BUILT_IN if name != "planned"], scheduler)
        with suppress(SlosimError):
            name, parameters = parsed(spec)
            asked = {"name": name, "parameters": parameters}
            try:
                policies = Scenario(policies=[asked]).policies
            except ValueError:
                with pytest.raises(SlosimError):
                    scheduler(spec)
                continue
            assert scheduler(policies[0].spec) == scheduler(spec)
            assert PolicySettings.model_validate_json(policies[0].model_dump_json()) == policies[0]


def test_whatever_policy_is_accepted_serves_or_says_why() -> None:
    trace, machine = (
        Trace.from_rows([(0.0, 40, 4), (0.0, 300, 3), (0.2, 7, 1), (0.2, 900, 2)]),
        profile("opt-13b@a100-80gb-vllm"),
    )
    for random in inputs(100, "served"):
        spec, _ = a_spec(random, [name for name in BUILT_IN if name != "planned"], scheduler)
        told, _ = a_spec(random, [*PREDICTORS], predictor)
        try:
            result = simulate(
                trace, scheduler(spec), machine, kv_blocks=random.choice((29, 60, 5000)),
                block_size=random.choice((1, 32)), predictor=random.choice((None, told)),
                replicas=random.choice((1, 3)),
            )  # fmt: skip
        except SlosimError as error:
            one_line(error)
            continue
        assert len(result) == 4


def paths(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """The names of all settings."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from paths(kind, f"{before}{name}.")
        else:
            yield before + name
    if before == "slos.":
        yield from ("slos.per_application.chat.rule", 'slos.per_application."a.b".ttft')


SETTINGS = [*paths(Scenario)]
TABLES = ("policies", "trace.reader", "trace.sources", "trace.columns", "slos.per_application")
"""Settings that are read into something else."""


def value_at(scenario: Scenario, path: str) -> Any:
    value: Any = scenario
    for step in path.replace('"a.b"', "a~b").split("."):
        step = step.replace("~", ".")
        value = value[step] if isinstance(value, dict) else getattr(value, step)
    return value


def test_settings() -> None:
    accepted = 0
    for random in inputs(700, "settings"):
        path = random.choice(SETTINGS)
        name = path if random.random() < 0.95 else f"{path}.{any_text(random)}"
        text = any_text(random)
        try:
            override = Override.of_text(f"{name}={text}")
            scenario = scenario_of(None, [override])
        except SlosimError as error:
            one_line(error)
            continue
        if name != path or path in (
            "policies",
            "trace.reader",
            "trace.sources",
            "trace.columns",
            "slos.per_application",
        ):
            continue
        accepted += 1
        used = value_at(scenario, path)
        assert plain(used) in (override.value, plain(override.value)) or str(override.value) == used, (path, text, used)
        assert all(map(math.isfinite, numbers_in(used)))
        assert Scenario.model_validate_json(scenario.canonical()).digest == scenario.digest
    assert accepted > 20 * MORE


def test_sweep_files() -> None:
    for random in inputs(60, "sweeps"):
        axis = random.choice(("grid", "cases"))
        path = random.choice([*SETTINGS, "policy.max_num_seqs", "policy.watermark", "nothing"])
        values = [literal(any_text(random)) for _ in range(random.randrange(3))]
        table: dict[str, Any] = {"policies": ["vllm", "sarathi"], "trace": {"requests": 5}, "seeds": 2}
        table[axis] = {path: values} if axis == "grid" else [{path: value} for value in values]
        try:
            points = points_of(table)
        except SlosimError as error:
            one_line(error)
            continue
        assert 0 < len(points) <= 2 * 2 * max(len(values), 1)


def test_targets_and_margins() -> None:
    for random in inputs(200, "targets"):
        metric = random.choice(metrics())
        target = f"{metric}{random.choice(('>=', '<=', '<', '=', ''))}{any_text(random)}"
        signed = f"{random.choice('+-')}{random.choice(NUMBERS)}{random.choice(('%', 's', ''))}"
        with telling():
            assert math.isfinite(Target.of_text(target).value)
        for size in (any_text(random), signed):
            with telling():
                assert math.isfinite(Margin.of_text(f"{metric}:{size}", random.choice(WAYS)).size)


FLAGS = {
    "run": ["--trace", "--format", "--requests", "--seed", "--profile", "--model", "--kv-blocks", "--block-size",
            "--replicas", "--router", "--max-model-len", "--predictor", "--horizon", "--warmup", "--set", "--rate",
            "--window"],
    "compare": ["--baseline", "--rate", "--sweep", "--seeds", "--profile-draws", "--jobs", "--trace", "-p"],
    "capacity": ["--target", "--tolerance", "--start", "--seeds", "--jobs", "--trace", "--profile", "-p", "--executor"],
    "regress": ["--max", "--min", "--rate", "--seeds", "--most-seeds", "--jobs", "--trace", "--against"],
    "search": ["--objective", "--minutes", "--simulations", "--search-seed", "--together", "--jobs", "-p", "--rate"],
    "bound": ["--rate", "--trace", "--profile", "--kv-blocks", "--set"],
    "trace": ["--format", "--requests", "--rate", "--seed", "--profile", "--set"],
    "profile": ["--block-size", "--memory"],
    "study": ["--seeds", "--requests", "--jobs"],
    "figure": ["--seeds", "--requests", "--jobs"],
    "fit": ["--test", "--model", "--gpu", "--tensor-parallel", "--host-time"],
    "check-engine": ["--points", "--draws", "--host-time", "--seed"],
    "report": ["--baseline"],
}  # fmt: skip
NEEDS = {
    "run": ["vllm", "--requests", "5"],
    "compare": ["--requests", "5", "-p", "vllm", "--rate", "1", "--jobs", "1"],
    "capacity": ["--target", "goodput>=1", "--requests", "5", "--seeds", "1"],
    "regress": ["vllm", "--against", "vllm", "--requests", "5"],
    "search": ["--requests", "5", "--jobs", "1"],
    "bound": ["--requests", "5"],
    "trace": ["alpaca", "--requests", "5"],
    "profile": ["opt-13b@a100-80gb-vllm"],
    "study": ["ablatoin"],
    "figure": ["mixd"],
    "fit": ["nowhere.csv", "-o", "nowhere.json"],
    "check-engine": ["nowhere"],
    "report": ["nowhere"],
}
ENDS = {"run", "bound", "trace", "profile"}
"""Commands that are let run; of the others only what is wrong is tried: their last flag is one that cannot be."""
WRONG = ["--seeds=0", "--jobs=0", "--requests=0", "--seed=-1", "--rate=nan", "--kv-blocks=1" + 30 * "0", "--warmup=1"]


def a_command(random: Random) -> list[str]:
    command = random.choice([*FLAGS])
    words = [command, *NEEDS[command]]
    for _ in range(random.randrange(1, 3)):
        flag = random.choice(FLAGS[command])
        value = f"{random.choice(SETTINGS)}={any_text(random)}" if flag == "--set" else any_text(random)
        words.append(f"{flag}={value}" if random.random() < 0.9 or flag == "-p" else flag)
    return words if command in ENDS else [*words, random.choice(WRONG)]


def test_command_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for random in inputs(80, "commands"):
        words = [word.replace("\x00", "") for word in a_command(random)]  # a command line cannot hold it
        try:
            code = main(words)
        except SystemExit as ended:
            code = int(ended.code or 0)
        told = capsys.readouterr().err
        assert code in (0, 1, 2), words
        if code == 2:
            assert told.strip(), words
            assert "Traceback" not in told
            assert all(line.startswith(("slosim", "  ")) for line in told.splitlines() if line), (words, told)


def test_a_scheduler_s_fault_is_a_line() -> None:
    assert issubclass(SchedulerError, SlosimError)
