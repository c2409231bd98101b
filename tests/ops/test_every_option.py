"""Random problems with any options together: each backend on the CPU against the definition.

Other files try one option at a time; here are mixtures, in chunks of a few rows, of operands in any
layout. Marked slow: a thousand, and some hundreds for each set of instructions.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from problem_checks import check
from random_problems import problems

from hybrid_fast import _core
from hybrid_fast.cpu import compat, products, ways
from hybrid_fast.ops.backends import cpu

WAYS = ["nt=torch, nn=torch, tn=torch", "core"]
if compat.has_onednn_product():
    WAYS.append("nt=onednn, nn=onednn")
INSTRUCTIONS = ["amx", "avx512", "avx2", "portable"]
SOME = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
MANY = settings(SOME, max_examples=1000)
FEWER = settings(SOME, max_examples=300)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Several chunks of few rows, and a choice for every product, however small."""
    monkeypatch.setattr(products, "_FEWEST", 1)
    monkeypatch.setattr(cpu, "_FEWEST_ROWS", 8)
    monkeypatch.setattr(cpu, "MOST_ROWS", 24)


def check_on_the_cpu(problem, way):
    """Compare; what one way was chosen for does not bind the next."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ways, "_chosen", {})
        patch.setenv("HYBRID_FAST_WAYS", way)
        check(problem, "cpu")


@given(problem=problems(), way=st.sampled_from(WAYS))
@settings(SOME, max_examples=120)
def test_any_options_together(problem, way):
    check_on_the_cpu(problem, way)


@given(problem=problems(precision=st.none()))
@SOME
def test_any_options_together_in_plain_torch(problem):
    check(problem, "reference")


@pytest.mark.slow
@given(problem=problems(), way=st.sampled_from(WAYS))
@MANY
def test_a_thousand_problems(problem, way):
    check_on_the_cpu(problem, way)


@pytest.mark.slow
@given(problem=problems(precision=st.none()))
@FEWER
def test_three_hundred_problems_in_plain_torch(problem):
    check(problem, "reference")


@pytest.mark.slow
@given(problem=problems())
@FEWER
def test_three_hundred_problems(problem):
    """With the products of the core, whose instructions the next test chooses."""
    check_on_the_cpu(problem, "core")


@pytest.mark.slow
@pytest.mark.parametrize("instructions", INSTRUCTIONS)
def test_three_hundred_problems_for_each_instruction_set(instructions):
    """In a process that is told to take others than the fastest."""
    if instructions == _core.contrast_instructions():
        pytest.skip(f"{instructions} is what the other tests take")
    environment = os.environ | {"HYBRID_FAST_CPU": instructions}
    which = "from hybrid_fast import _core as c; print(c.contrast_instructions())"
    found = run([sys.executable, "-c", which], environment)
    if found.returncode:
        assert instructions != "portable"
        pytest.skip(f"this processor has no {instructions}")
    assert found.stdout.strip() == instructions
    chosen = f"{__file__}::{test_three_hundred_problems.__name__}"
    command = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "slow", chosen]
    done = run([sys.executable, *command], environment)
    assert done.returncode == 0, done.stdout[-4000:]
    assert "1 passed" in done.stdout


def run(command, environment):
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
