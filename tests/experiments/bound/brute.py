"""The best that any schedule can do, by trying all of them: tiny workloads, and iterations of whole seconds.

Times, costs and objectives are whole numbers, so that it is enough to start iterations at whole seconds: what a
schedule's order of events asks of its times are bounds on differences of two of them, by whole numbers. Once all have
come, waiting does not help any more: without it everything comes sooner, and no gap grows. Between iterations everybody
is on the host (swapping is free here) or, before a decode, was dropped, which is of no use while a prompt is computed;
in an iteration those that compute something hold the blocks that they need.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from math import isfinite
from typing import Any, NamedTuple

from costmodel import BatchShape
from sim.machine import Machine
from traces import TraceRow

NEVER = -1


class State(NamedTuple):
    """One request's progress."""

    kv: int = 0
    generated: int = 0
    anew: bool = False
    """It was dropped after its last token: all tokens before the next one are computed as a prompt."""
    since: int = NEVER
    """When the gap or the mean of gaps that its objective is about began; `NEVER` where nothing depends on it."""
    spoilt: bool = False
    """It cannot be within all its objectives any more (only looked at for whole requests)."""


class Step(NamedTuple):
    """What a request computes in an iteration."""

    prompt: int = 0
    decodes: int = 0
    context: int = 0
    pairs: float = 0.0
    blocks: int = 0


NOTHING = Step()
States = tuple[State, ...]


class Best(NamedTuple):
    """The most good tokens (or requests) by when the last token comes, seconds from the first arrival."""

    by_end: dict[int, int]
    """Of all schedules."""
    serving: dict[int, int]
    """Of those that serve every request to its end."""

    def per_second(self, least: float = 0) -> float:
        """The highest goodput of schedules that last so many seconds or more."""
        return float(max((Fraction(good, end) for end, good in self.by_end.items() if end >= least), default=0))

    def per_second_serving(self) -> float:
        """The highest goodput of those that serve everybody."""
        return float(max((Fraction(good, end) for end, good in self.serving.items()), default=0))


class Search:
    """Every schedule of some requests (arriving at whole seconds, the first at 0) on one replica.

    `whole` counts requests within all their SLOs rather than tokens.
    """

    def __init__(self, rows: list[TraceRow], machine: Machine, whole: bool) -> None:
        self.rows = rows
        self.machine = machine
        self.whole = whole
        self.last_arrival = int(rows[-1].arrived_at)

    def best(self) -> Best:
        """Goes through all moments and the states that can be reached by then, each with the most that was good."""
        found = Best({}, {})
        reached: dict[int, dict[States, int]] = {0: {(State(),) * len(self.rows): 0}}
        while reached:
            now = min(reached)
            for states, good in reached.pop(now).items():
                if now < self.last_arrival:
                    _raise(reached.setdefault(now + 1, {}), self._settled(now + 1, states), good)
                for end, after, earned, came in self._iterations(now, states):
                    _raise(reached.setdefault(end, {}), after, good + earned)
                    if came:
                        _raise(found.by_end, end, good + earned)
                    if all(state.generated == row.output_tokens for state, row in zip(after, self.rows, strict=True)):
                        _raise(found.serving, end, good + earned)
        return found

    def _iterations(self, now: int, states: States) -> Iterator[tuple[int, States, int, bool]]:
        choices = [list(self._choices(now, row, state)) for row, state in zip(self.rows, states, strict=True)]
        for chosen in product(*choices):
            steps = [step for _, step in chosen]
            if all(step is NOTHING for step in steps) or sum(s.blocks for s in steps) > self.machine.kv_blocks:
                continue
            end = now + self._seconds(steps)
            outcomes = [self._after(row, *choice, end) for row, choice in zip(self.rows, chosen, strict=True)]
            after, earned, came = zip(*outcomes, strict=True)
            yield end, self._settled(end, after), sum(earned), any(came)

    def _choices(self, now: int, row: TraceRow, state: State) -> Iterator[tuple[State, Step]]:
        yield state, NOTHING
        if row.arrived_at > now or state.generated == row.output_tokens:
            return
        yield from self._computing(row, state)
        if state.generated and not state.anew:
            yield from self._computing(row, state._replace(kv=0, anew=True))

    def _computing(self, row: TraceRow, state: State) -> Iterator[tuple[State, Step]]:
        kv, size = state.kv, self.machine.block_size
        if state.generated and not state.anew:
            yield state, Step(0, 1, kv + 1, 0.0, -(-(kv + 1) // size))
            return
        for chunk in range(1, row.prompt_tokens + state.generated - kv + 1):
            yield state, Step(chunk, 0, 0, chunk * (kv + chunk / 2), -(-(kv + chunk) // size))

    def _seconds(self, steps: list[Step]) -> int:
        prompt, decodes, context, pairs, _ = (sum(column) for column in zip(*steps, strict=True))
        sequences = sum(step is not NOTHING for step in steps)
        seconds = self.machine.cost_model.iteration_time(
            BatchShape(int(prompt), int(decodes), int(context), pairs, sequences)
        )
        assert seconds == int(seconds) > 0, "iterations take whole seconds here"
        return int(seconds)

    def _after(self, row: TraceRow, state: State, step: Step, end: int) -> tuple[State, int, bool]:
        """The request afterwards, what of it became good, and whether a token came."""
        kv = state.kv + step.prompt + step.decodes
        if not (step.decodes or (step.prompt and kv == row.prompt_tokens + state.generated)):
            return state._replace(kv=kv), 0, False
        token = state.generated + 1
        earned = self._earned_by_request(row, state, token, end) if self.whole else self._earned(row, state, token, end)
        if token == row.output_tokens:
            return State(0, token), earned, True
        since = end if not self.whole or token == 1 else state.since
        late = self.whole and token == 1 and end - row.arrived_at > row.slo.ttft
        timed = isfinite(row.slo.tbt) and (self.whole or not isfinite(row.slo.jct))
        return State(kv, token, False, since if timed else NEVER, state.spoilt or late), earned, True

    @staticmethod
    def _earned(row: TraceRow, state: State, token: int, end: int) -> int:
        if not any(map(isfinite, row.slo)):
            return 0
        if isfinite(row.slo.jct):
            return row.output_tokens * (token == row.output_tokens and end - row.arrived_at <= row.slo.jct)
        if token == 1:
            return int(end - row.arrived_at <= row.slo.ttft)
        return int((state.since == NEVER and not isfinite(row.slo.tbt)) or 0 <= state.since >= end - row.slo.tbt)

    @staticmethod
    def _earned_by_request(row: TraceRow, state: State, token: int, end: int) -> int:
        if (
            not any(map(isfinite, row.slo))
            or token < row.output_tokens
            or state.spoilt
            or end - row.arrived_at > row.slo.jct
        ):
            return 0
        if token == 1:
            return int(end - row.arrived_at <= row.slo.ttft)
        return int(not isfinite(row.slo.tbt) or end - state.since <= row.slo.tbt * (row.output_tokens - 1))

    def _settled(self, now: int, states: States) -> States:
        """Without what makes no difference any more: an objective that is missed already."""
        return tuple(self._forget(now, row, state) for row, state in zip(self.rows, states, strict=True))

    def _forget(self, now: int, row: TraceRow, state: State) -> State:
        if not self.whole:
            return state._replace(since=NEVER) if state.since != NEVER and now - state.since > row.slo.tbt else state
        reading = row.slo.tbt * max(row.output_tokens - 1, 1)
        missed = state.since != NEVER and now - state.since > reading
        missed |= now - row.arrived_at > min(row.slo.jct, row.slo.ttft if not state.generated else row.slo.jct)
        if state.generated == row.output_tokens or not (missed or state.spoilt):
            return state
        return state._replace(since=NEVER, spoilt=True)


def _raise(table: dict[Any, int], key: Any, value: int) -> None:
    table[key] = max(value, table.get(key, 0))
