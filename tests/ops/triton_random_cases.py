"""Random problems with any options together in Triton's interpreter, against the definition.

Run by test_triton_kernels.py, which sets it up. float32, float64 and one direction take the kernels
of rows, half precision otherwise those of tiles.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from problem_checks import check
from random_problems import problems
from triton_interpreter import on_the_cpu, small_chunks_and_poison  # noqa: F401

FEW = settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
MANY = settings(FEW, max_examples=75)
ANY = problems(most_rows=21, most_dims=35)
IN_TILES = problems(
    most_rows=21,
    most_dims=35,
    dtype=st.sampled_from([torch.float16, torch.bfloat16]),
    reduction=st.just("none"),
)


@given(problem=ANY)
@FEW
def test_any_options_together(problem):
    check(problem, "triton")


@given(problem=IN_TILES)
@FEW
def test_any_options_together_in_tiles(problem):
    check(problem, "triton")


@pytest.mark.slow
@given(problem=ANY)
@MANY
def test_more_problems(problem):
    check(problem, "triton")


@pytest.mark.slow
@given(problem=IN_TILES)
@MANY
def test_more_problems_in_tiles(problem):
    check(problem, "triton")
