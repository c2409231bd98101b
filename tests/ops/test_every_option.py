"""Random problems with any options together: each backend on the CPU against the definition.

Other files try one option at a time; here are mixtures, in chunks of a few rows, of operands in any
layout. Marked slow: a thousand for each way of computing products and for each set of instructions.
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
SLOW_WAYS = [*WAYS, *(["nt=onednn, nn=onednn"] if compat.has_onednn_product() else [])]
INSTRUCTIONS = ["amx", "avx512", "avx2", "portable"]
SOME = settings(
    max_examples=4 * settings.default.max_examples,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
MANY = settings(SOME, max_examples=1000)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Several chunks of few rows, and a choice for every product, however small."""
    monkeypatch.setattr(ways, "_chosen", {})
    monkeypatch.setattr(products, "_FEWEST", 1)
    monkeypatch.setattr(cpu, "_FEWEST_ROWS", 8)
    monkeypatch.setattr(cpu, "MOST_ROWS", 24)


@pytest.mark.parametrize("way", WAYS)
@given(problem=problems())
@SOME
def test_any_options_together(way, problem, monkeypatch):
    monkeypatch.setenv("HYBRID_FAST_WAYS", way)
    check(problem, "cpu")


@given(problem=problems(precision=st.none()))
@SOME
def test_any_options_together_in_plain_torch(problem):
    check(problem, "reference")


@pytest.mark.slow
@pytest.mark.parametrize("way", SLOW_WAYS)
@given(problem=problems())
@MANY
def test_a_thousand_problems(way, problem, monkeypatch):
    monkeypatch.setenv("HYBRID_FAST_WAYS", way)
    check(problem, "cpu")


@pytest.mark.slow
@given(problem=problems(precision=st.none()))
@MANY
def test_a_thousand_problems_in_plain_torch(problem):
    check(problem, "reference")


@pytest.mark.slow
@pytest.mark.parametrize("instructions", INSTRUCTIONS)
def test_a_thousand_problems_for_each_instruction_set(instructions):
    """In a process that is told to take others than the fastest."""
    environment = os.environ | {"HYBRID_FAST_CPU": instructions}
    if instructions == _core.contrast_instructions():
        pytest.skip(f"{instructions} is what the other tests take")
    found = run(
        [
            sys.executable,
            "-c",
            "from hybrid_fast import _core as c; print(c.contrast_instructions())",
        ],
        environment,
    )
    if found.returncode:
        assert instructions != "portable"
        pytest.skip(f"this processor has no {instructions}")
    assert found.stdout.strip() == instructions
    chosen = ["-m", "slow", "-k", "test_a_thousand_problems and not plain and not instruction"]
    pytest_here = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    done = run([*pytest_here, *chosen], environment)
    assert done.returncode == 0, done.stdout[-4000:]
    assert f"{len(SLOW_WAYS)} passed" in done.stdout


def run(command, environment):
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
