"""What a simulation needs to know of the hardware: a cost model, a cache, and facts for policies and metrics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

from costmodel import CostModel, prompt
from costmodel.pivot import Pivot, pivot
from costmodel.profile import BLOCK_SIZE
from sim.parameters import Count, Within, sensible
from sim.result import Capacity
from traces.errors import SlosimError

Blocks = Annotated[int, Within(ge=1, lt=2**31)]
"""As many as the columns of a result count."""


@dataclass(frozen=True)
class Machine:
    """One replica's hardware: of a profile, or of a bare cost model whose cache size was given."""

    cost_model: CostModel
    kv_blocks: int
    block_size: int
    profile: Any = None

    @staticmethod
    def of(profile: Any, kv_blocks: int | None, block_size: int | None) -> Machine:
        """Of a profile, with its default cache (`Profile.cache`), or of a bare cost model with ``kv_blocks``.

        Raises SlosimError where something is missing or makes no sense.
        """
        size = BLOCK_SIZE if block_size is None else block_size
        model = getattr(profile, "cost_model", profile)
        if size < 1 or (kv_blocks is not None and kv_blocks < 1):
            raise SlosimError(f"block_size and kv_blocks must be at least 1, not {size} and {kv_blocks}")
        sensible("block_size", size, Count), sensible("kv_blocks", kv_blocks, Blocks | None)
        if not callable(getattr(model, "iteration_time", None)):
            raise SlosimError(f"{profile!r} is neither a profile nor a cost model: it has no iteration_time(shape)")
        if model is not profile:
            cache = profile.cache(kv_blocks, block_size)
            sensible("kv_blocks", cache.kv_blocks, Blocks)
            return Machine(model, cache.kv_blocks, cache.block_size, profile)
        if kv_blocks is None:
            raise SlosimError("a bare cost model does not say how large the cache is: give kv_blocks")
        return Machine(model, kv_blocks, size)

    @property
    def name(self) -> str:
        """The profile's name, or the bare cost model in words."""
        return str(self.profile.name) if self.profile else repr(self.cost_model)

    @property
    def digest(self) -> str:
        """Of the profile; empty without one."""
        return str(self.profile.digest) if self.profile else ""

    @cached_property
    def pivot(self) -> Pivot:
        """S_pf and T_pf of the cost model."""
        return self.profile.pivot if self.profile else pivot(self.cost_model)

    def pivot_of(self, which: Literal["measured", "paper"] | int) -> tuple[int, float]:
        """The pivot forward size that is meant (tokens), and the time of a prompt of that size (seconds)."""
        if which == "measured":
            return self.pivot.forward_size, self.pivot.time
        size = which if isinstance(which, int) else self._paper_pivot()
        return size, self.cost_model.iteration_time(prompt(size))

    def _paper_pivot(self) -> int:
        try:
            return int(self.profile.paper["pivot_forward_size"])
        except (AttributeError, KeyError):
            raise SlosimError(f"the paper has no pivot forward size for {self.name}: give a number of tokens") from None

    def capacity(self, replicas: int) -> Capacity:
        """What utilisation is measured against."""
        profile = self.profile
        return Capacity(
            kv_blocks=self.kv_blocks,
            block_size=self.block_size,
            replicas=replicas,
            model=profile.model if profile else None,
            peak_operations=profile.peak_operations if profile else float("nan"),
            pivot_forward_size=self.pivot.forward_size if profile else float("nan"),
        )
