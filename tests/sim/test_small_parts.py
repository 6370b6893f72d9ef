"""Predictors, the past of a server, the clock, requests and the recorder."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import pytest

from sim.clock import ARRIVAL, ITERATION_END, Clock
from sim.history import History
from sim.predictor import Mean, Noisy, Padded, Perfect, Unknown
from sim.recorder import FINISHED, REQUEST, Recorder
from sim.request import Request
from traces.rng import stream

LENGTHS = np.array([10, 20, 60], np.int32)


def test_predictors() -> None:
    random = stream(0, "predictor")
    assert Unknown()(LENGTHS, random) is None
    assert Perfect()(LENGTHS, random) == pytest.approx([10, 20, 60])
    assert Mean()(LENGTHS, random) == pytest.approx([30, 30, 30])
    assert Mean()(LENGTHS[:0], random).tolist() == []  # type: ignore[union-attr]


def test_noisy_predictions_are_right_in_the_median() -> None:
    lengths = np.full(20_000, 100, np.int32)
    told = Noisy(0.5)(lengths, stream(0, "predictor"))
    assert told is not None
    assert np.median(told) == pytest.approx(100, rel=0.02)
    assert np.std(np.log(told / 100)) == pytest.approx(0.5, rel=0.02)
    assert (Noisy(5.0)(np.ones(1000, np.int32), stream(0, "predictor")) >= 1).all()  # type: ignore[operator]
    assert Noisy(0.0)(LENGTHS, stream(1, "predictor")) == pytest.approx([10, 20, 60])


def test_padded_predictions_add_hoeffdings_bound() -> None:
    told = Padded(confidence=0.9, sigma=0.0)(LENGTHS, stream(0, "predictor"))
    assert told == pytest.approx(LENGTHS + sqrt(-(50**2) / 2 * log(0.1)))
    assert Padded()(LENGTHS[:0], stream(0, "predictor")).tolist() == []  # type: ignore[union-attr]


def test_history_knows_nothing_at_first() -> None:
    history = History()
    assert history.mean_chunk is history.mean_iteration is history.mean_output is history.arrival_rate is None
    history.chunk(10)
    history.chunk(20)
    history.iterations, history.seconds = 4, 2.0
    history.finished, history.output_tokens = 2, 30
    history.arrivals, history.first_arrival, history.last_arrival = 5, 1.0, 3.0
    assert (history.mean_chunk, history.mean_iteration, history.mean_output) == (15.0, 0.5, 15.0)
    assert history.arrival_rate == 2.0


def test_the_clock_keeps_absolute_times_and_arrivals_come_first() -> None:
    clock, seen = Clock(), []
    at = 0.1 + 0.2
    clock.at(at, ITERATION_END, lambda event: seen.append("end"))
    clock.at(at, ARRIVAL, lambda event: seen.append("arrival"))
    clock.advance(0.1)
    assert clock.now == 0.1
    clock.run()
    assert clock.now == at
    assert seen == ["arrival", "end"]


def test_a_request_before_during_and_after_a_recompute() -> None:
    request = Request(3, 1.0, 10, 5)
    assert (request.known_tokens, request.prefill_left, request.prefilled, request.mid_decode) == (10, 10, 0, False)
    assert request.last_token_at == 1.0
    request._kv, request._generated = 10, 1
    assert (request.known_tokens, request.prefill_left, request.prefilled, request.mid_decode) == (11, 1, 10, True)
    request._kv, request._generated = 0, 3
    assert (request.known_tokens, request.prefill_left, request.prefilled, request.mid_decode) == (13, 13, 0, False)
    request._kv = 12
    assert request.mid_decode, "all but the latest token's cache is there"
    assert request.prefilled == 10


def test_the_recorder_drops_empty_spans() -> None:
    recorder, request = Recorder(), Request(7, 0.0, 4, 4)
    recorder.span(request, 0)
    assert len(recorder.spans) == 0
    request._prefill_iteration = 5
    recorder.span(request, 0)
    assert recorder.spans.tolist() == [7, 5, 0, 0]
    request._first_step = 2
    recorder.span(request, 6)
    assert recorder.spans.tolist()[4:] == [7, -1, 2, 6]


def test_the_recorder_writes_requests() -> None:
    recorder, request = Recorder(), Request(7, 0.0, 4, 4)
    recorder.request(request, 9.0, FINISHED)
    written = dict(zip(REQUEST, recorder.requests, strict=True))
    assert (written["request"], written["finished_at"], written["status"]) == (7, 9.0, 0)
    assert np.isnan([written["admitted_at"], written["first_token_at"]]).all()
    recorder.reject(request, "why not")
    assert recorder.rejections == {7: "why not"}
