"""Planned: a policy that follows an order of requests made beforehand, by ``slosim search`` or by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from heapq import heappop, heappush
from math import inf
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sim.batch import Batch
from sim.errors import SchedulerError
from sim.parameters import Positive
from sim.predictor import Predictor, perfect, unknown
from sim.registry import scheduler
from sim.request import Request
from sim.scheduler import Scheduler
from sim.schedulers.clairvoyance.clairvoyant import Clairvoyant
from sim.schedulers.clairvoyance.line import Line, Rows
from sim.schedulers.clairvoyance.plan import Plan
from sim.server import Server


class Agenda(NamedTuple):
    """In which order requests are to start, and when each may at the earliest; requests are rows of the trace."""

    order: tuple[int, ...] = ()
    """Whom it does not name comes last, in order of arrival."""
    not_before: tuple[tuple[int, float], ...] = ()
    """Who is held back, and until when (seconds)."""
    lengths: tuple[int, ...] = ()
    """Prompt tokens of the trace that it was made for, so that another one is noticed; empty: any trace."""
    policy: str = ""
    """The policy that serves as it is, where no order was found that is better."""

    @classmethod
    def read(cls, path: str | Path) -> Agenda:
        """From a file of ``slosim search``; raises SchedulerError where it is none."""
        try:
            found = json.loads(Path(path).read_text("utf-8"))["agenda"]
            held = tuple((int(row), float(seconds)) for row, seconds in found["not_before"])
            return cls(tuple(map(int, found["order"])), held, tuple(found["lengths"]), str(found["policy"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SchedulerError(
                f"plan={path}: is no plan ({error!r}); name a file that slosim search wrote"
            ) from error

    def __repr__(self) -> str:
        if self.policy:
            return f"<as {self.policy}>"
        return f"<order of {len(self.order)} requests, {len(self.not_before)} of them held back>"


@dataclass(frozen=True)
class Planned(Scheduler):
    """Clairvoyant: starts requests in a given order, each as soon as the cache holds all running ones to their ends.

    Who does not fit is passed over by those behind that do (first fit). A request may be held back until a moment,
    which keeps room for others that come; it starts earlier if the server would be idle. Apart from whom it starts it
    is as Oracle. Without a plan it serves in order of arrival.
    """

    plan: str | Agenda = ""
    """A file that ``slosim search`` wrote."""
    largest_budget: Positive = 4.0
    """Forward size in pivots when no decode limits it."""

    @property
    def agenda(self) -> Agenda:
        """The order, read from its file."""
        if isinstance(self.plan, str):
            return Agenda.read(self.plan) if self.plan else Agenda()
        return self.plan

    @property
    def predictor(self) -> Predictor:
        """The truth; or what the policy asks for that serves in place of an order."""
        instead = self.agenda.policy
        return getattr(scheduler(instead), "predictor", unknown) if instead else perfect

    def schedule(self, server: Server) -> Batch:
        return self.bind(server).schedule(server)

    def bind(self, server: Server) -> Scheduler:
        agenda = self.agenda
        return scheduler(agenda.policy).bind(server) if agenda.policy else BoundPlanned(self, agenda)


class BoundPlanned(Clairvoyant):
    """The policy on one server."""

    def __init__(self, policy: Planned, agenda: Agenda) -> None:
        super().__init__(policy, policy.largest_budget)
        self.agenda = agenda
        self._places = {row: place for place, row in enumerate(agenda.order)}
        self._not_before = dict(agenda.not_before)
        self._held: list[tuple[float, int, Request]] = []
        """Who is held back, a heap by when they are let go."""

    def place(self, request: Request) -> int:
        """Where it stands in the order."""
        return self._places.get(request.id, len(self._places) + request.id)

    # -- who is held back ---------------------------------------------------------------------------------------

    def arrived(self, request: Request) -> None:
        if not self.awake:
            return
        self._recognise(request)
        until = self._not_before.get(request.id, 0.0)
        if until > request.arrived_at:
            heappush(self._held, (until, request.id, request))
        else:
            self.join(request)

    def _recognise(self, request: Request) -> None:
        lengths = self.agenda.lengths
        if lengths and lengths[request.id : request.id + 1] != (request.prompt_tokens,):
            raise SchedulerError(
                f"the plan was made for another trace: it does not know {request!r}; search anew, or serve that trace"
            )

    def schedule(self, server: Server) -> Batch:
        if server.waiting.size:
            if not self.awake:
                self.world(server)
            self._let_go(server)
        return super().schedule(server)

    def _let_go(self, server: Server) -> None:
        """Lets those join the line whose time has come; and one whose time has not, if there is nobody else at all."""
        held = self._held
        while held and (held[0][0] <= server.now or not (server.running_count or server.waiting.size > len(held))):
            self.join(heappop(held)[2])
        self.next_look = held[0][0] if held else inf

    # -- who starts ---------------------------------------------------------------------------------------------

    def choose(self, server: Server, batch: Batch, line: Line, plan: Plan, rows: Rows) -> None:
        rows = line.within(plan, rows, batch.tokens_left)
        rows = rows[np.argsort([self.place(line.requests[row]) for row in rows.tolist()])]
        while len(rows):
            self.admit(batch, line, plan, rows[0])
            if not batch.tokens_left:
                return
            rows = line.within(plan, line.fitting(plan, rows[1:]), batch.tokens_left)
