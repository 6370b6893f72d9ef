"""How long trace files take to read, beside pyarrow reading the same file: CPU seconds, the best of some rounds."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import numpy as np

from traces import Trace, TraceWarning, load, stream

MOST_TIMES = 3.0
"""Times pyarrow's own time that reading a CSV file may take."""
_START = np.datetime64("2024-05-10T00:00:00", "us")


class ReadingCost(NamedTuple):
    """The reading of one file."""

    name: str
    rows: int
    seconds: float
    """CPU seconds of `traces.load` for the whole file."""
    arrow_seconds: float
    """CPU seconds of pyarrow for all columns, types inferred."""
    first_seconds: float
    """CPU seconds of `traces.load` for the first thousand requests."""

    @property
    def ratio(self) -> float:
        """Times pyarrow's own time."""
        return self.seconds / self.arrow_seconds

    @property
    def verdict(self) -> str:
        """Whether it is fast enough."""
        return "PASS" if self.ratio <= MOST_TIMES else "OVER"

    def __str__(self) -> str:
        times = f"{self.seconds:8.3f}{self.arrow_seconds:10.3f}{self.ratio:8.2f}{self.first_seconds:10.3f}"
        return f"{self.name:28}{self.rows:12,}{times}  {self.verdict}"


HEADER = f"{'reading, CPU seconds':28}{'rows':>12}{'load':>8}{'pyarrow':>10}{'ratio':>8}{'1,000':>10}"


def reading_costs(rows: int, rounds: int = 3) -> Iterator[ReadingCost]:
    """Writes files of so many rows, reads them, and says what it cost."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", TraceWarning)
        for name, path in _files(Path(folder), rows).items():
            read, arrow = _best(lambda path=path: load(path), rounds), _best(_by_arrow(path), rounds)  # type: ignore[misc]
            first = _best(lambda path=path: load(path, requests=1000), rounds)  # type: ignore[misc]
            yield ReadingCost(name, rows, read, arrow, first)


def _best(work: Callable[[], object], rounds: int) -> float:
    seconds = []
    for _ in range(rounds):
        began = process_time()
        work()
        seconds.append(process_time() - began)
    return max(min(seconds), 1e-6)


def _by_arrow(path: Path) -> Callable[[], Any]:
    from pyarrow import csv, json, parquet

    readers = {".csv": csv.read_csv, ".jsonl": json.read_json, ".parquet": parquet.read_table}
    return lambda: readers[path.suffix](path)


def _files(folder: Path, rows: int) -> dict[str, Path]:
    """One workload in the shapes that public traces have."""
    draw = stream(0, "cost of reading")
    times = np.cumsum(draw.exponential(0.3, rows))
    prompts, outputs = draw.integers(1, 5000, rows), draw.integers(1, 900, rows)
    numbers = list(zip(times.tolist(), prompts.tolist(), outputs.tolist(), strict=True))
    stamps = (_START + (times * 1e6).astype("timedelta64[us]")).astype(str)
    azure = (f"{stamp.replace('T', ' ')}+00:00,{row[1]},{row[2]}\n" for stamp, row in zip(stamps, numbers, strict=True))
    kinds = ("ChatGPT", "ChatGPT", "GPT-4")
    burst = (
        f"{time:.3f},{at % 999},{kinds[at % 3]},{prompt},{output * (at % 40 > 0)},{prompt + output},API log\n"
        for at, (time, prompt, output) in enumerate(numbers)
    )
    moon = (
        f'{{"timestamp": {1e3 * time:.0f}, "input_length": {prompt}, "output_length": {output}, "hash_ids": '
        f"{list(range(at, at + prompt // 512 + 1))}}}\n"
        for at, (time, prompt, output) in enumerate(numbers)
    )
    burst_header = "Timestamp,Session ID,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    texts = {
        "azure.csv": ("TIMESTAMP,ContextTokens,GeneratedTokens\n", azure),
        "burstgpt.csv": (burst_header, burst),
        "mooncake.jsonl": ("", moon),
    }
    for name, (header, lines) in texts.items():
        with (folder / name).open("w", encoding="utf-8") as file:
            file.write(header)
            file.writelines(lines)
    trace = Trace.from_columns(times, prompts, outputs)
    own = [trace.save(folder / name) for name in ("own.csv", "own.parquet")]
    return {path.name: path for path in (*(folder / name for name in texts), *own)}
