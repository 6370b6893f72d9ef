"""docs/accelgen.md and what it quotes: every parameter, every study as it is now, every number from a table."""

from __future__ import annotations

import re
import shlex
from argparse import ArgumentParser
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

from experiments.studies import STUDIES, study_of
from experiments.studies.report import caption
from sim.schedulers.accelgen import AccelGen

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = (DOCS / "accelgen.md").read_text("utf-8")
TABLES = {path.stem: path.read_text("utf-8") for path in (DOCS / "studies").glob("*.md")}
STUDIED = [name for name in STUDIES if study_of(name).baseline.policy == "accelgen"]
QUOTED = [line for line in TEXT.splitlines() if re.match(r"\| `(accelgen|punctual|oracle|sarathi|vllm)", line)]


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


def in_order(some: list[str], of: list[str]) -> bool:
    """Whether all of some occur in this order."""
    rest = iter(of)
    return all(each in rest for each in some)


def test_every_parameter_is_explained() -> None:
    assert [each.name for each in fields(AccelGen) if f"`{each.name}" not in TEXT] == ["static_chunk"]


def test_every_study_has_its_tables() -> None:
    assert set(STUDIED) <= TABLES.keys() <= STUDIES.keys()
    assert all(f"studies/{name}.md" in TEXT for name in STUDIED)


@pytest.mark.parametrize("name", STUDIED)
def test_the_tables_are_those_of_the_study(name: str) -> None:
    study, lines = study_of(name), TABLES[name].splitlines()
    assert lines[0] == f"# {study.question}"
    assert lines[-1].startswith(
        f"Made by `slosim study {name}`: {study.requests:,} requests, seeds {study.first_seed} to"
    )
    rows = [cells(line)[0].strip("`") for line in lines if line.startswith("| `")]
    titles = [variant.title for variant in study.variants]
    wide = [f"{titles[0]} (level)", *titles[1:]]
    assert rows == titles[1:] + wide * len(study.metrics)
    places = [f"{setting.name}, {rate:g}/s" for setting in study.settings for rate in setting.rates]
    headings = [cells(line) for line in lines if line.startswith("|  |")]
    assert headings == [["", *map(caption, study.metrics)], *[["", *places]] * len(study.metrics)]


def test_every_row_is_quoted_from_a_table() -> None:
    made = [cells(line) for table in TABLES.values() for line in table.splitlines() if line.startswith("| `")]
    assert len(QUOTED) > 40
    assert [row for row in QUOTED if not any(in_order(cells(row), of) for of in made if of[0] == cells(row)[0])] == []


def test_the_commands_are_understood() -> None:
    commands = [line.split("#")[0] for line in TEXT.splitlines() if line.startswith("    slosim ")]
    assert commands
    for command in commands:
        _, name, *words = shlex.split(command)
        parser = ArgumentParser()
        import_module(f"experiments.commands.{name}").configure(parser)
        options = parser.parse_args(words)
        if name == "study":
            assert set(options.names) <= {*STUDIES, "all"}
