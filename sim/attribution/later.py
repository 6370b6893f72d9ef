"""Why tokens after the first were late: the gaps between tokens, all of a request's together and each that was late."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.attribution.alone import Alone
from sim.attribution.causes import (
    BATCH_SLOWDOWN,
    BEYOND_MODEL,
    PAUSED,
    PREEMPTION,
    PREFILL_INTERFERENCE,
    Parts,
    added,
    nothing,
    over,
)
from sim.attribution.course import Course
from sim.attribution.events import Events
from sim.lateness import late_steps
from sim.result import RunResult
from sim.tokens import Floats, Integers, Tokens


@dataclass(frozen=True, eq=False)
class Stretches:
    """Pieces of requests' lives from one token to another; places are of a course, contexts in tokens."""

    request: Integers
    begin: Floats
    """When the token before them came, seconds."""
    end: Floats
    """When the last of them came."""
    tokens: Integers
    alone: Floats
    """What the tokens take alone, seconds."""
    parts: Parts

    def of_requests(self, number: int) -> tuple[Floats, Parts]:
        """Both, added up for each of so many requests."""
        sums = [added(self.request, part, number) for part in self.parts]
        return added(self.request, self.alone, number), np.stack(sums)

    def over(self, limit: Floats, late: NDArray[np.bool_], number: int) -> Parts:
        """What the late ones (a mask) lie over their request's limit, by `EXCESSES`, added up for each request."""
        request = self.request[late]
        excess = over(self.parts[:, late], self.alone[late], limit[request])
        return np.stack([added(request, part, number) for part in excess])


@dataclass(frozen=True, eq=False)
class LaterTokens:
    """The spans of a result's tokens over a course."""

    tokens: Tokens
    course: Course
    alone: Alone
    events: Events
    prefill: Integers
    """Place of each span's prefill that gave a token, -1 without one."""
    cached: Integers
    """Context that the first decode of each span follows on."""

    @classmethod
    def of(cls, result: RunResult, course: Course, alone: Alone, events: Events) -> LaterTokens:
        """Of a result."""
        tokens, spans = result.tokens, result.spans
        prefill = np.asarray(spans["prefill_iteration"], np.int64)
        keep = np.flatnonzero((spans["last_step"] > spans["first_step"]) | (prefill >= 0))
        order = keep[np.argsort(np.asarray(spans["request"])[keep], kind="stable")]
        before = np.cumsum(tokens.counts) - tokens.counts
        opens = np.flatnonzero(tokens.opens)
        before = before - np.repeat(before[opens], np.diff(opens, append=len(before)))
        cached = np.asarray(result.requests["prompt_tokens"], np.int64)[tokens.request] + before - 1
        return cls(tokens, course, alone, events, course.place[prefill[order]], cached + (prefill[order] >= 0))

    def stretches(self) -> tuple[Stretches, Stretches]:
        """All time from first to last tokens: within spans, and between them."""
        return self._within, self._seams

    def late(self, limit: Floats) -> tuple[Parts, Integers]:
        """What gaps above a limit (seconds, per request) are too long, by `EXCESSES` per request, and their number."""
        number = len(limit)
        seams = self._seams
        late = self._gaps > limit[seams.request]
        total, count = seams.over(limit, late, number), np.bincount(seams.request[late], minlength=number)
        for span, step in self._late_steps(limit):
            gaps = self._plain(span, step)
            total = total + gaps.over(limit, np.ones(len(span), np.bool_), number)
            count = count + np.bincount(gaps.request, minlength=number)
        return total, count

    def _late_steps(self, limit: Floats) -> Any:
        yield from late_steps(self.tokens, limit)
        tokens = self.tokens
        after = np.flatnonzero((self.prefill >= 0) & (tokens.last > tokens.first))
        gaps = tokens.step_ends[tokens.first[after]] - tokens.prefill_at[after]
        after = after[gaps > limit[tokens.request[after]]]
        yield after, tokens.first[after]

    def _plain(self, span: Integers, step: Integers) -> Stretches:
        """Single gaps within spans, each before a decode step."""
        steps, first = self.course.steps, self.tokens.first[span]
        before = np.where(step > first, steps[step - 1], self.prefill[span])
        context = self.cached[span] + step - first
        return self._decoding(self.tokens.request[span], before, steps[step], context, context + 1)

    @cached_property
    def _within(self) -> Stretches:
        """Each span from its first token to its last."""
        tokens, steps = self.tokens, self.course.steps
        begin, _ = tokens.inner()
        begin = np.where(self.prefill >= 0, tokens.first, begin)
        span = np.flatnonzero(tokens.last > begin)
        last = tokens.last[span]
        prefilled = self.prefill[span] >= 0
        opening = np.where(prefilled, self.prefill[span], steps[tokens.first[span]])
        context = self.cached[span] + begin[span] - tokens.first[span]
        return self._decoding(tokens.request[span], opening, steps[last - 1], context, context + last - begin[span])

    def _decoding(
        self, request: Integers, after: Integers, last: Integers, context: Integers, upto: Integers
    ) -> Stretches:
        """From a token at one place to one at another, in the batch at every decode step between them."""
        course = self.course
        seconds, decodes, prompts, copies, beyond = course.between(after, last)
        alone = self.alone.decodes(context, upto)
        parts = nothing(len(request))
        parts[PREFILL_INTERFERENCE] = prompts
        parts[BATCH_SLOWDOWN] = decodes - alone
        parts[PREEMPTION] = copies
        parts[BEYOND_MODEL] = beyond
        parts[PAUSED] = (course.end[last] - course.end[after]) - seconds
        return Stretches(request, course.end[after], course.end[last], upto - context, alone, parts)

    @cached_property
    def _ends(self) -> tuple[Integers, Integers, Integers, Integers]:
        """Of each span that does not open its request: which one, where the token before it came, where the next decode
        step after that is, and where the span's own first token came."""
        tokens, steps = self.tokens, np.append(self.course.steps, len(self.course.end))
        span = np.flatnonzero(~tokens.opens)
        decoded = tokens.last > tokens.first
        stop = np.where(decoded, steps[tokens.last - 1], self.prefill)
        begin = np.where(self.prefill >= 0, self.prefill, steps[tokens.first])
        return span, stop[span - 1], steps[tokens.last[span - 1]], begin[span]

    @cached_property
    def _gaps(self) -> Floats:
        _, before, _, place = self._ends
        return self.course.end[place] - self.course.end[before]

    @cached_property
    def _seams(self) -> Stretches:
        """From each span's last token to the first of the next: paused, swapped out, or computed anew."""
        course = self.course
        span, before, without, place = self._ends
        request, again = self.tokens.request[span], self.prefill[span] >= 0
        context = self.cached[span] - again
        resumed = self._decoding(request, place - 1, place, context, context + 1)
        gone = np.minimum(self.events.evicted_after(request, before), place)
        left = np.minimum(without, gone)
        seconds, _, prompts, copies, beyond = course.between(before, left - 1)
        parts = np.where(again, 0.0, resumed.parts)
        parts[PREFILL_INTERFERENCE] += prompts
        parts[BEYOND_MODEL] += beyond
        parts[PAUSED] = (course.start[gone] - course.end[before]) - seconds
        until = np.where(again, course.end[place] - resumed.alone, course.start[place])
        parts[PREEMPTION] += copies + (until - course.start[gone])
        return replace(resumed, begin=course.end[before], parts=parts)
