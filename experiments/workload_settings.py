"""The part of a scenario that says what comes: which requests, when, and what is promised to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from sim.parameters import shown
from traces.readers.headers import checked_columns

GENERATED = ("paper_mix", "alpaca", "sharegpt", "bookcorpus")
"""Sources of requests that are no files."""

Positive = Annotated[float, Field(gt=0, le=1e15)]
"""Seconds or a factor: what is beyond is a slip, and would overflow."""
LEAST_RATE = 1e-6
"""Requests per second: one in eleven days."""


def _likely(rate: float) -> float:
    """A rate that is no slip; raises ValueError if requests would come years apart."""
    if rate < LEAST_RATE:
        raise ValueError(f"{rate:g} requests/s is one in {1 / rate / 86400:,.0f} days; write {LEAST_RATE:g} or more")
    return rate


Rate = Annotated[float, Field(gt=0, le=1e9), AfterValidator(_likely)]
"""Requests per second."""
Share = Annotated[float, Field(ge=0, le=1)]
Moment = Annotated[float, Field(ge=0)] | str
"""Seconds after the first arrival, or a date."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Settings(BaseModel):
    """A table of the configuration: what it does not know is an error, and nothing changes it afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _what_pydantic_lets_through(cls, values: Any) -> Any:
        """Refuses true and false where a number is wanted, and texts that no UTF-8 file can hold."""
        if any(not _encodes(text) for text in _texts(values)):
            raise ValueError("a text holds half of a surrogate pair, which is not Unicode: rename it")
        for name, field in cls.model_fields.items() if isinstance(values, dict) else ():
            value = values.get(name)
            if isinstance(value, bool) and {int, float} & set(_kinds(field.annotation)):
                raise ValueError(f"{name} = {str(value).lower()}: write a number")
        return values


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types that an annotation is made of."""
    yield annotation
    for inner in get_args(annotation):
        yield from _kinds(inner)


def _texts(values: Any) -> Iterator[str]:
    """All texts in tables and lists."""
    if isinstance(values, str):
        yield values
    elif isinstance(values, dict):
        yield from _texts([*values, *values.values()])
    elif isinstance(values, list | tuple):
        for each in values:
            yield from _texts(each)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class TraceSettings(Settings):
    """Which requests come, and when."""

    source: str = "paper_mix"
    """paper_mix, one of its applications (alpaca, sharegpt, bookcorpus), or the path of a trace file or folder."""
    requests: Annotated[int, Field(ge=1, le=10**9)] | None = None
    """How many; of a file: its first ones. None: the paper's number, or the whole file."""
    rate: Rate | None = None
    """Requests per second. None: the paper's, or as recorded."""
    arrivals: Literal["auto", "poisson", "gamma", "constant", "burst", "replay"] = "auto"
    """auto: Poisson; of a file that says when its requests came: those times, stretched to `rate` if one is given."""
    burstiness: Annotated[float, Field(ge=1e-3, le=1e6)] = 1.0
    """Of gamma arrivals: 1 is Poisson, less is burstier."""
    rescale: bool = False
    """Stretches arrivals to exactly requests / rate seconds, as vLLM's benchmark does."""
    seed: Seed = 0
    format: str | None = None
    """Format of a file (`slosim list formats`); None: found out from its name and contents."""
    columns: Annotated[dict[str, str], BeforeValidator(checked_columns)] = {}
    """Of a file: which column holds which field, such as {arrived_at = "start", prompt_tokens = "in"}."""
    time_unit: Literal["s", "ms", "us", "ns"] | None = None
    """What the times of a file count; None: as its format says, or by evidence."""
    keep_start: bool = False
    """Keep the zero of a file's clock, rather than start at the first arrival."""
    start: Moment | None = None
    """Of a file: only requests from here on; seconds after its first arrival, or a date if it has dates."""
    end: Moment | None = None
    """Of a file: only requests before this moment."""
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

    def _changed(self, *names: str) -> list[str]:
        """Returns those of the settings that differ from their defaults, in alphabetical order."""
        fields = type(self).model_fields
        return sorted(name for name in names if getattr(self, name) != fields[name].default)

    @model_validator(mode="after")
    def _together(self) -> TraceSettings:
        only_generated = self._changed("sources", "bookcorpus_share", "fitted", "stratified")
        if not self.generated and only_generated:
            raise ValueError(f"{only_generated[0]} is of generated traces; {shown(self.source)} is taken as a file")
        given = self._changed("format", "columns", "time_unit", "keep_start", "start", "end", "reader")
        if self.generated and given:
            raise ValueError(f"{' and '.join(given)}: only for files; {self.source} is generated")
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
    """Keep the objectives that a trace file brings; None: if it brings any. A rule that is given means False."""
    per_application: dict[str, ObjectiveSettings] = {}
    scale: Positive = 1.0
    """All objectives times this."""
    bucket_mean: Literal["range", "trace"] = "range"
    """What the mean prefill latency of a prompt's 512-token bucket is taken over (`traces.assign_slos`)."""
    seed: Seed | None = None
    """None: the trace's."""

    @model_validator(mode="before")
    @classmethod
    def _a_given_rule_replaces_those_of_the_file(cls, given: Any) -> Any:
        """Writes the decision down, so that settings read back from JSON, which holds every field, mean the same."""
        if isinstance(given, dict) and "rule" in given and "keep" not in given:
            return {**given, "keep": False}
        return given
