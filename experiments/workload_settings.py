"""The part of a scenario that says what comes: which requests, when, and what is promised to them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

GENERATED = ("paper_mix", "alpaca", "sharegpt", "bookcorpus")
"""Sources of requests that are no files."""

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseModel):
    """A table of the configuration: what it does not know is an error, and nothing changes it afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TraceSettings(Settings):
    """Which requests come, and when."""

    source: str = "paper_mix"
    """paper_mix, one of its applications (alpaca, sharegpt, bookcorpus), or the path of a trace file or folder."""
    requests: Annotated[int, Field(ge=1)] | None = None
    """How many; of a file: its first ones. None: the paper's number, or the whole file."""
    rate: Positive | None = None
    """Requests per second. None: the paper's, or as recorded."""
    arrivals: Literal["auto", "poisson", "gamma", "constant", "burst", "replay"] = "auto"
    """auto: Poisson; of a file that says when its requests came: those times, stretched to `rate` if one is given."""
    burstiness: Positive = 1.0
    """Of gamma arrivals: 1 is Poisson, less is burstier."""
    rescale: bool = False
    """Stretches arrivals to exactly requests / rate seconds, as vLLM's benchmark does."""
    seed: int = 0
    format: str | None = None
    """Format of a file (`slosim list formats`); None: found out from its name and contents."""
    reader: dict[str, Any] = {}
    """Further options of the format's reader."""
    application: str | None = None
    """A label for all requests of a file."""
    sources: dict[str, str] = {}
    """Applications of the mix with other lengths: a name of `traces.lengths_names()`, or a trace file to draw from."""
    bookcorpus_share: Share = 0.35
    fitted: bool = False
    """Lengths from fitted distributions rather than from measured quantiles."""
    stratified: bool = False
    """Lengths spread evenly, which lowers the noise between seeds."""
    max_prompt_tokens: Annotated[int, Field(ge=1)] | None = None

    @property
    def generated(self) -> bool:
        """Whether no file is needed."""
        return self.source in GENERATED

    @model_validator(mode="after")
    def _together(self) -> TraceSettings:
        only_generated = {"sources", "bookcorpus_share", "fitted", "stratified"} & self.model_fields_set
        if not self.generated and only_generated:
            raise ValueError(f"{min(only_generated)} is of generated traces; {self.source!r} is taken as a file")
        if self.generated and (self.format or self.reader):
            raise ValueError(f"format and reader are of files; {self.source} is generated")
        if self.generated and self.arrivals == "replay":
            raise ValueError(
                f"{self.source} has no recorded arrivals to replay: choose poisson, gamma, constant or burst"
            )
        return self


class ObjectiveSettings(Settings):
    """What is promised to requests, in seconds."""

    rule: Literal["paper", "jct", "fixed", "none"] = "paper"
    """paper: TTFT by prompt length, TBT by reading speed (`traces.Interactive`); jct: a completion time
    (`traces.JobCompletion`); fixed: the numbers below."""
    ttft: Positive | None = None
    tbt: Positive | None = None
    jct: Positive | None = None
    jct_scale: Positive = 2.0
    """Of rule jct: times the request's time alone."""
    tbt_mix: tuple[Positive, ...] = ()
    """Of rule paper: seconds between tokens of several kinds of readers, of which each request has one by chance."""

    @model_validator(mode="after")
    def _numbers_go_with_fixed(self) -> ObjectiveSettings:
        given = [name for name in ("ttft", "tbt", "jct") if getattr(self, name) is not None]
        if given and self.rule != "fixed":
            raise ValueError(f"{given[0]} is of rule 'fixed', but the rule is {self.rule!r}")
        if self.rule == "fixed" and not given:
            raise ValueError("rule 'fixed' needs at least one of ttft, tbt, jct (seconds)")
        if self.tbt_mix and self.rule != "paper":
            raise ValueError(f"tbt_mix is of rule 'paper', but the rule is {self.rule!r}")
        return self


class SLOSettings(ObjectiveSettings):
    """What is promised to all requests, and the exceptions."""

    keep: bool | None = None
    """Keep the objectives that a trace file brings; None: if it brings any and no rule is given."""
    per_application: dict[str, ObjectiveSettings] = {}
    scale: Positive = 1.0
    """All objectives times this."""
    bucket_mean: Literal["range", "trace"] = "range"
    """What the mean prefill latency of a prompt's 512-token bucket is taken over (`traces.assign_slos`)."""
    seed: int | None = None
    """None: the trace's."""
