"""What a run leaves behind: raw tables. Every metric is computed from them afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from costmodel.facts import ModelFacts
from sim.recorder import NOT_ARRIVED, REJECTED, UNFINISHED
from sim.tokens import Tokens
from sim.verdicts import Verdicts, judge
from traces.errors import SlosimError

if TYPE_CHECKING:
    import pandas

    from sim.limits import LimitWarning
    from sim.windows import Series

Columns = Mapping[str, NDArray[Any]]

STATUS_NAMES = ("finished", "rejected", "unfinished", "not arrived")
"""What the values 0 to 3 of the requests' column `status` mean; the last two occur only under a horizon."""


class Capacity(NamedTuple):
    """What utilisation is measured against, of one replica; what is not known is None or nan."""

    kv_blocks: int
    block_size: int
    replicas: int = 1
    model: ModelFacts | None = None
    peak_operations: float = float("nan")
    """Floating-point operations per second of all GPUs of a replica."""
    pivot_forward_size: float = float("nan")


@dataclass(frozen=True, eq=False, repr=False)
class RunResult:
    """The story of one run as columns; times in seconds, lengths in tokens, memory in blocks.

    `requests` has one row per row of the trace: request, arrived_at, prompt_tokens, output_tokens (asked), application
    (index into `applications`), slo_ttft, slo_tbt, slo_jct (inf = none), admitted_at, first_token_at, finished_at (nan
    = never), generated, preemptions, swaps, recomputed_tokens, status, replica (-1 = none).
    `iterations` has one row per engine iteration: start, end, prefill_tokens, decode_tokens, context_tokens,
    attention_pairs, sequences, swapped_tokens, kv_tokens, free_blocks (while it ran), free_blocks_end, waiting,
    running, swapped, preempted, server, schedule_seconds.
    `spans` says when tokens came out (see `sim.tokens`): request, prefill_iteration, first_step, last_step, server.
    `events` says, request by request in the order of time, in which iterations it did anything but decode: request,
    iteration, tokens (> 0 computed of its prompt; < 0 lost as its cache was dropped; 0 swapped out), blocks (free ones
    that admitting it took, the watermark included; -1 if this is no admission).
    `notes` is what the policy wrote for itself (`Scheduler.notes`), if it did, and on which server.
    `rejections` gives the reason for each rejected request; `about` says what was run, incl. `warmup` and `horizon`.
    """

    requests: Columns
    iterations: Columns
    spans: Columns
    capacity: Capacity
    applications: tuple[str, ...] = ()
    rejections: Mapping[int, str] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)
    events: Columns = field(default_factory=dict)
    notes: Columns = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.requests["arrived_at"])

    def __repr__(self) -> str:
        return f"<RunResult {self.about.get('scheduler', '')}: {len(self)} requests, {self.end - self.begin:.1f} s>"

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def warnings(self) -> list[LimitWarning]:
        """Where the run went beyond what its model, its GPU or its profile covers (`sim.limits`)."""
        from sim.limits import LimitWarning

        return [LimitWarning(text) for text in self.about.get("cautions", ())]

    # -- time -----------------------------------------------------------------------------------------------------

    @cached_property
    def arrived(self) -> NDArray[np.bool_]:
        """Which requests came before the horizon."""
        return np.asarray(self.requests["status"] != NOT_ARRIVED)

    @cached_property
    def first_arrival(self) -> float:
        """When the first request came, seconds; 0 without requests."""
        return float(self.requests["arrived_at"].min(initial=np.inf, where=self.arrived)) if self.arrived.any() else 0.0

    @cached_property
    def begin(self) -> float:
        """Where measuring begins: the first arrival, or where the warm-up ends.

        A warm-up w ends when the share w of the time between the first and the last arrival is over.
        """
        warmup = float(self.about.get("warmup") or 0.0)
        if not warmup or not self.arrived.any():
            return self.first_arrival
        last = float(self.requests["arrived_at"].max(initial=-np.inf, where=self.arrived))
        return self.first_arrival + warmup * (last - self.first_arrival)

    @cached_property
    def end(self) -> float:
        """Where measuring ends: with the last finish, or at the horizon if that cut requests off.

        A request that is given up after its first tokens counts with its last one as if it finished then.
        """
        horizon = self.about.get("horizon")
        if horizon is not None and np.isin(self.requests["status"], (UNFINISHED, NOT_ARRIVED)).any():
            return float(horizon)
        ended = self.requests["finished_at"]
        if np.any((self.requests["status"] == REJECTED) & (self.requests["generated"] > 0)):
            ended = self.tokens.last_at(len(self))
        if np.isnan(ended).all():
            ended = self.iterations["end"]
        return float(np.max(ended, initial=self.begin, where=~np.isnan(ended)))

    @cached_property
    def measured(self) -> NDArray[np.bool_]:
        """Which requests latency and SLO metrics are about: those that came, and not during the warm-up."""
        return np.asarray(self.arrived & (self.requests["arrived_at"] >= self.begin))

    # -- what is derived ------------------------------------------------------------------------------------------

    @cached_property
    def tokens(self) -> Tokens:
        """When the output tokens came."""
        return Tokens.of(self.requests, self.iterations, self.spans)

    @cached_property
    def verdicts(self) -> Verdicts:
        """Which SLOs each request met."""
        return judge(self.requests, self.tokens, self.end)

    def token_times(self, request: int) -> NDArray[np.float64]:
        """When each output token of one request (a row of the trace) came, seconds."""
        return self.tokens.times(request)

    def summary(self) -> dict[str, float]:
        """All metrics of the run as numbers (see `sim.metrics`); nan where there is nothing to measure."""
        from sim.metrics import summary

        return summary(self)

    def by_application(self) -> dict[str, dict[str, float]]:
        """The metrics of requests, for each application."""
        from sim.groups import by_application

        return by_application(self)

    def by_slo_class(self) -> dict[str, dict[str, float]]:
        """The metrics of requests, for each SLO or, if there are many, for each kind of SLO."""
        from sim.groups import by_slo_class

        return by_slo_class(self)

    def by_replica(self) -> dict[str, dict[str, float]]:
        """The metrics of the requests of each replica, and how busy it was."""
        from sim.groups import by_replica

        return by_replica(self)

    def series(self, window: float = 1.0) -> Series:
        """Throughput, goodput, utilisation and queue over time, in windows of so many seconds."""
        from sim.windows import series

        return series(self, window)

    # -- tables ---------------------------------------------------------------------------------------------------

    def to_tables(self) -> dict[str, dict[str, NDArray[Any]]]:
        """The tables as plain columns; `requests` with latencies and verdicts added, ready to be written or shown."""
        from sim.metrics import request_columns

        tables = {"requests": request_columns(self), "iterations": dict(self.iterations), "spans": dict(self.spans)}
        further = {"events": self.events, "notes": self.notes}
        return tables | {name: dict(table) for name, table in further.items() if table}

    def to_pandas(self, table: str = "requests") -> pandas.DataFrame:
        """One of the tables (requests, iterations, spans, events, notes) as a data frame; applications by name."""
        import pandas

        tables = self.to_tables()
        if table not in tables:
            raise SlosimError(f"{self!r} has no table {table!r}; it has {', '.join(tables)}")
        frame = pandas.DataFrame(tables[table])
        if table == "requests" and self.applications:
            codes = np.asarray(self.requests["application"], np.int16)
            frame["application"] = pandas.Categorical.from_codes(codes, pandas.Index(self.applications))
        return frame
