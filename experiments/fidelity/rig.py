"""What fidelity is tried on: a device, the clock that its time is taken by, and its calibration."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from calibrate.engine import WallClock
from calibrate.session import Device, Session
from costmodel import ModelFacts


class Rig(Protocol):
    """A machine to calibrate and to serve on."""

    @property
    def facts(self) -> ModelFacts:
        """Of the model that it runs."""
        ...

    def clock(self) -> WallClock:
        """A new clock."""
        ...

    def session(self, prompts: Mapping[int, Sequence[int]]) -> Session:
        """The device, empty, with the texts of some requests."""
        ...

    def seconds(self) -> float:
        """The time by the same clock, for what is timed without one."""
        ...


class ProcessorTime:
    """Seconds that this thread computed, for machines that others use, too.

    Waiting costs no time: what is waited for comes at once. Only for a device that is this very thread.
    """

    def __init__(self) -> None:
        self._waited = 0.0

    def seconds(self) -> float:
        """Computed and waited so far."""
        return time.thread_time() + self._waited

    def wait(self, seconds: float) -> None:
        """Lets time pass."""
        self._waited += seconds


@dataclass(frozen=True)
class OptRig:
    """An OPT decoder of this project on a GPU or a CPU; `processor_time` is the clock of a busy CPU."""

    device: Device
    facts: ModelFacts
    processor_time: bool = False

    @classmethod
    def of(
        cls,
        model: str,
        device: str = "cpu",
        *,
        blocks: int,
        block_size: int,
        positions: int,
        threads: int | None = None,
        processor_time: bool = False,
    ) -> OptRig:
        """Makes the model, of random weights, with a cache of so many blocks; loads torch.

        Processor time is a single thread's, so there is but one then.
        """
        from calibrate.opt import config
        from calibrate.opt_device import OptDevice

        made = OptDevice.random(
            model,
            device,
            blocks=blocks,
            block_size=block_size,
            positions=positions,
            threads=1 if processor_time else threads,
        )
        return cls(made, config(model).facts, processor_time)

    def clock(self) -> WallClock:
        if not self.processor_time:
            return WallClock()
        own = ProcessorTime()
        return WallClock(own.seconds, own.wait)

    def session(self, prompts: Mapping[int, Sequence[int]]) -> Session:
        return Session(self.device, prompts)

    def seconds(self) -> float:
        return time.thread_time() if self.processor_time else time.perf_counter()
