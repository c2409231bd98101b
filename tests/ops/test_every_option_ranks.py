"""Random problems with any options together on two ranks, against the literal definition."""

from __future__ import annotations

from functools import partial

import pytest
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_gradients import loss_and_gradients, true_shares_and_gradients
from problem_checks import assert_close, with_rules
from random_problems import problems_of_ranks
from ranks import run_ranks

from hybrid_fast.ops import info_nce

WORLD_SIZE = 2
BACKENDS = {
    "cpu": problems_of_ranks(WORLD_SIZE),
    "reference": problems_of_ranks(WORLD_SIZE, precision=st.none()),
}
# More rows than a chunk has at least.
SEVERAL_CHUNKS = problems_of_ranks(WORLD_SIZE, most_rows=160, max_scratch_bytes=st.just(1))
FEW = settings(max_examples=3)
MANY = settings(max_examples=25)


def work(rank, world_size, problems, backend):
    """Return loss and gradients of this rank."""
    dist.init_process_group("gloo")
    function = partial(info_nce, process_group=dist.group.WORLD, backend=backend)
    problem = problems[rank]
    arguments = with_rules(problem.arguments()) | problem.fast_options()
    found = loss_and_gradients(function, arguments)
    dist.destroy_process_group()
    return found


def check(problems, backend):
    arguments = [problem.arguments() for problem in problems]
    options = {name: arguments[0][name] for name in problems[0].options}
    tensors = [
        {name: part[name] for name in problem.tensors}
        for part, problem in zip(arguments, problems, strict=True)
    ]
    expected = true_shares_and_gradients(tensors, **options)
    found = run_ranks(work, WORLD_SIZE, problems, backend)
    if "temperature" in expected[0]:  # each rank knows its part of what all share
        total = sum(part["temperature"] for part in found)
        found = [part | {"temperature": total} for part in found]
    for problem, ours, truth in zip(problems, found, expected, strict=True):
        assert_close(problem, ours, truth, WORLD_SIZE)


@pytest.mark.parametrize("backend", BACKENDS)
@given(data=st.data())
@FEW
def test_any_options_together(backend, data):
    check(data.draw(BACKENDS[backend], label="problems"), backend)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@given(data=st.data())
@MANY
def test_more_problems(backend, data):
    check(data.draw(BACKENDS[backend], label="problems"), backend)


@pytest.mark.slow
@given(problems=SEVERAL_CHUNKS)
@settings(max_examples=10)
def test_several_chunks(problems):
    check(problems, "cpu")
