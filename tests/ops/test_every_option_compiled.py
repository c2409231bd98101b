"""Random problems with any options together under torch.compile, each as one graph."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problem_checks import check
from random_problems import problems

from hybrid_fast.ops import info_nce

BACKENDS = {"cpu": problems(most_rows=12), "reference": problems(12, precision=st.none())}
COMPILERS = ["eager", "aot_eager"]
SOME = settings(max_examples=2)
MANY = settings(max_examples=10)


def check_compiled(data, backend, compiler):
    problem = data.draw(BACKENDS[backend], label="problem")
    torch._dynamo.reset()
    check(problem, backend, torch.compile(info_nce, fullgraph=True, backend=compiler))


@pytest.mark.parametrize("backend", BACKENDS)
@given(data=st.data())
@SOME
def test_any_options_together(backend, data):
    check_compiled(data, backend, "aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("compiler", COMPILERS)
@given(data=st.data())
@MANY
def test_ten_problems(backend, compiler, data):
    check_compiled(data, backend, compiler)
