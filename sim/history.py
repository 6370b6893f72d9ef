"""What a server has seen of its own past: the measured quantities that policies estimate with."""

from __future__ import annotations


class History:
    """Running figures of one server. ``None`` stands for "nothing seen yet"."""

    __slots__ = (
        "_chunk_tokens",
        "_chunks",
        "arrivals",
        "finished",
        "first_arrival",
        "iterations",
        "last_arrival",
        "longest_iteration",
        "output_tokens",
        "preemptions",
        "seconds",
    )

    def __init__(self) -> None:
        self.longest_iteration = 0.0
        """Longest iteration so far, seconds: the papers' T_max."""
        self.iterations = 0
        self.seconds = 0.0
        self.finished = 0
        self.output_tokens = 0
        """Output tokens of the requests that finished."""
        self.preemptions = 0
        self.arrivals = 0
        self.first_arrival = 0.0
        self.last_arrival = 0.0
        self._chunks = 0
        self._chunk_tokens = 0

    @property
    def mean_chunk(self) -> float | None:
        """Mean prompt tokens of one request computed in one iteration."""
        return self._chunk_tokens / self._chunks if self._chunks else None

    @property
    def mean_iteration(self) -> float | None:
        """Mean time of an iteration, seconds."""
        return self.seconds / self.iterations if self.iterations else None

    @property
    def mean_output(self) -> float | None:
        """Mean output tokens of the requests that finished."""
        return self.output_tokens / self.finished if self.finished else None

    @property
    def arrival_rate(self) -> float | None:
        """Requests per second since the first arrival."""
        span = self.last_arrival - self.first_arrival
        return (self.arrivals - 1) / span if span > 0 else None

    def chunk(self, tokens: int) -> None:
        """A prompt chunk was computed."""
        self._chunks += 1
        self._chunk_tokens += tokens
