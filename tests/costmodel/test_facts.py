"""Model facts against the published counts and the formulas for them."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from costmodel import MODELS, BatchShape, prompt


@pytest.mark.parametrize(
    ("name", "billions", "gigabytes", "kv_bytes"),
    [
        ("opt-13b", 12.853, 25.71, 819_200),
        ("opt-66b", 65.72, 131.4, 2_359_296),
        ("opt-175b", 174.60, 349.2, 4_718_592),
        ("llama-3-70b", 70.554, 141.1, 320 * 1024),
        ("llama-3.1-8b", 8.030, 16.06, 128 * 1024),
    ],
)
def test_sizes_are_the_published_ones(name: str, billions: float, gigabytes: float, kv_bytes: int) -> None:
    model = MODELS[name]
    assert model.parameters / 1e9 == pytest.approx(billions, rel=1e-4)
    assert model.weight_bytes / 1e9 == pytest.approx(gigabytes, rel=1e-3)
    assert model.kv_bytes_per_token == kv_bytes


@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith("opt")])
def test_opt_takes_24_l_h_squared_operations_per_token(name: str) -> None:
    model = MODELS[name]
    assert 2 * model.matrix_parameters == 24 * model.layers * model.hidden**2
    assert model.kv_bytes_per_token == 4 * model.layers * model.hidden


@pytest.mark.parametrize("name", list(MODELS))
def test_the_layers_hold_most_of_the_parameters_and_the_embeddings_the_rest(name: str) -> None:
    model = MODELS[name]
    rest = model.parameters - model.matrix_parameters
    assert 0 < rest <= 2.02 * (model.vocabulary + 2050) * model.hidden + 20 * model.layers * model.hidden


def test_operations_of_many_iterations_at_once() -> None:
    model = MODELS["opt-13b"]
    shapes = [prompt(100), BatchShape(0, 3, 60, 0.0, 3), BatchShape(10, 3, 60, 10 * 25.0, 4), BatchShape()]
    columns = BatchShape(*(cast(Any, np.array(column)) for column in zip(*shapes, strict=True)))
    expected = [model.operations(shape) for shape in shapes]
    assert np.asarray(model.operations(columns)).tolist() == expected
    assert expected[-1] == 0
