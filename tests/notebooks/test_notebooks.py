"""Every notebook runs from top to bottom, holds no outputs that could grow old, and says what its numbers show."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CLAIMS = {
    "02_write_a_scheduler": """
def mean(policy, rate, key):
    return sum(p.summary[key] for p in points if (p.policy, p.rate) == (policy, rate)) / len(SEEDS)

def mean_told(guess, key):
    return sum(summary[key] for summary in told[guess]) / len(SEEDS)

MET, MEAN, TAIL, GAPS = "slo_attainment_requests", "mean_jct", "p99_jct", "p99_tbt"
mine = "shortest first"
for rate in (0.6, 0.8):
    for other in ("vllm", "sarathi"):
        assert mean(mine, rate, MET) > mean(other, rate, MET)
        assert mean(mine, rate, MEAN) < mean(other, rate, MEAN) / 2
    assert 2.5 < mean(mine, rate, GAPS) / mean("vllm", rate, GAPS) < 3.5
    assert mean(mine, rate, GAPS) < 0.1875
assert abs(mean(mine, 0.4, MET) - mean("vllm", 0.4, MET)) < 0.02
assert 0.2 < mean(mine, 0.8, MEAN) / mean("vllm", 0.8, MEAN) < 0.3
assert mean(mine, 0.8, TAIL) > 0.95 * mean("vllm", 0.8, TAIL)
assert abs(mean(mine, 0.6, MET) - mean("accelgen", 0.6, MET)) < 0.03
assert mean(mine, 0.8, MET) > mean("accelgen", 0.8, MET) + 0.03
for guess in ("noisy,sigma=0.5", "perfect"):
    assert abs(mean_told(guess, MEAN) / mean_told("unknown", MEAN) - 1) < 0.03
    assert abs(mean_told(guess, MET) - mean_told("unknown", MET)) < 0.03
assert mean_told("noisy,sigma=2", MEAN) > 1.2 * mean_told("unknown", MEAN)
assert mean_told("noisy,sigma=2", "p99_ttft") > 1.5 * mean_told("unknown", "p99_ttft")
""",
    "03_calibrate": """
from costmodel.shape import prompt

assert {path.suffix for path in folder.iterdir()} >= {".json", ".parquet", ".pdf"}
assert made.measurements.about["device"] and not made.profile.prior
assert made.profile.pivot.forward_size % 128 == 0
assert made.profile.pivot.forward_size - 128 < made.profile.pivot.exact <= made.profile.pivot.forward_size
assert made.equation.iteration_time(prompt(1)) < made.profile.prefill_time(1) / 2
assert made.profile.provenance["draws"]["values"]
assert (inputs.trace.prompt_tokens + inputs.trace.output_tokens).max() <= limits.context
assert all(result.summary()["finished"] == 200 for result in results.values())
assert all(len(summaries) == 11 for summaries in open_questions.runs.values())
assert len(blocks["on a GPU"]) > 2 * len(blocks["here"])
""",
    "04_what_if": """
def at(seed, cache, policy):
    what_if.controls["seed"].value = seed
    return met(cache, policy)

assert at(0, 16, "vllm") < at(0, 12, "accelgen") <= at(0, 20, "vllm")
assert at(5, 12, "vllm") >= at(5, 12, "accelgen")
assert at(3, 16, "vllm") < at(3, 12, "accelgen")
""",
    "05_explain": """
def seconds(stages, cause, what=None):
    return sum(stage.causes.get(cause, 0.0) for stage in stages if what in (None, stage.what))

here, there = lives["vllm"], lives["accelgen"]
assert frame.prompt_tokens[number] == 9
assert round(1000 * here[1].alone) == 23
assert 69.5 < here[0].end < 70.5
assert 0.8 < seconds(here, "queueing") / here[0].end < 0.87
assert 0.95 < there[0].end < 1.15
assert seconds(there, "kv_wait") > 0.95 * there[0].end
assert 3.5 < seconds(there, "preemption") < 4
assert 0.18 < there[-1].end / here[-1].end < 0.22
assert round(1000 * frame.slo_ttft[number]) == 41
assert there[1].end > frame.slo_ttft[number]

lost, other = victims["vllm"], victims["accelgen"]
assert [stage.what for stage in lost] == ["waits", "prompt", "decodes", "preempted", "decodes"]
assert 0.4 < lost[3].begin - lost[1].end < 0.6
assert 20.5 < lost[3].end - lost[3].begin < 21.5
assert lost[1].tokens + lost[2].tokens == 15
assert frame.output_tokens[victim] == 996
assert causes["vllm"].late_gaps[victim] == 7
assert 0.3 < frame.tpot[victim] / frame.slo_tbt[victim] < 0.36
assert other[3].begin > lost[3].begin
assert 0.8 < seconds(other, "preemption") < 1
""",
}
"""What the text of a notebook says of its numbers: if one of these fails, the text has to be written anew."""


def test_there_are_notebooks() -> None:
    assert {path.stem for path in NOTEBOOKS} >= CLAIMS.keys()


@pytest.mark.notebook
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbclient
    import nbformat

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), f"{path.name} holds outputs: clear them"
    notebook.cells.append(nbformat.v4.new_code_cell(CLAIMS.get(path.stem, "")))
    nbclient.NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    ).execute()
    shown = [cell for cell in notebook.cells if cell.get("outputs")]
    assert shown
