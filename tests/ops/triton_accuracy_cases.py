"""How near the ways of GPUs are to float64, in Triton's interpreter, in tiles of 128 x 128.

Run by test_triton_kernels.py, which sets it up. benchmarks/loss_accuracy.py measures the same for
docs/infonce.md, at 2,048 x 384: more passages average out more of what bfloat16 rounds.
"""

import pytest
from loss_accuracy import Case, measure
from triton_interpreter import on_the_cpu  # noqa: F401

from hybrid_fast.ops.backends import gpu
from hybrid_fast.ops.backends.one_pass_tiles import ExponentialTiles

BOTH = pytest.mark.parametrize("symmetric", [False, True], ids=["one direction", "symmetric"])


@pytest.fixture(autouse=True)
def one_pass_of_few_scores(monkeypatch):
    monkeypatch.setattr(gpu, "MOST_SCORES_OF_FEW_LAUNCHES", 0)


@pytest.fixture
def flags(monkeypatch):
    """Return the flag of each chunk, in the order of their first products."""
    found = []
    compute = ExponentialTiles._compute

    def noted(self, *args, **kwargs):
        exponentials = compute(self, *args, **kwargs)
        found.append(exponentials.flag)
        return exponentials

    monkeypatch.setattr(ExponentialTiles, "_compute", noted)
    return found


def errors_of(case, size=512, dim=384, way="`triton_one_pass`"):
    """Return the loss and relative errors of it, of the queries and of the passages."""
    found = measure(case, size, dim, [way])
    return found.loss, *found.of_ways[way]


@BOTH
@pytest.mark.parametrize("noise", [0.7, 20.0])
def test_gradients_at_a_usual_temperature(noise, symmetric, flags):
    _, of_loss, of_queries, of_passages = errors_of(Case(0.05, noise, symmetric))
    assert not any(flags)
    assert of_loss < 1e-6
    assert max(of_queries, of_passages) < 2e-4


@BOTH
def test_gradients_at_a_low_temperature(symmetric, flags):
    """Few negatives count; those of passages see their queries rounded as well."""
    _, of_loss, of_queries, of_passages = errors_of(Case(0.01, 20.0, symmetric))
    assert not any(flags)
    assert of_loss < 1e-6
    assert of_queries < 1e-3 * (1.4 if symmetric else 1)
    assert of_passages < 1.4e-3


@BOTH
@pytest.mark.parametrize(
    ("temperature", "noise", "least", "most"),
    [(0.05, 0.4, 1e-6, 1e-4), (0.02, 1.7, 1e-8, 1e-5), (0.01, 1.5, 1e-16, 1e-12)],
)
def test_small_losses_keep_their_digits(temperature, noise, least, most, symmetric, flags):
    """An error below 2^-8 is what the rounding of a single term to bfloat16 explains."""
    loss, of_loss, *of_gradients = errors_of(Case(temperature, noise, symmetric))
    assert least < loss < most
    assert not any(flags)
    assert of_loss < 1e-5
    assert max(of_gradients) < 2**-8


@BOTH
@pytest.mark.parametrize("case", [Case(0.05, 20.0, longest=10), Case(0.005, 20.0)], ids=str)
def test_two_passes_where_the_bound_of_scores_is_too_far(case, symmetric, flags):
    """As accurate as the two-pass way, which it is; the device chose it."""
    case = Case(case.temperature, case.noise, symmetric, case.longest)
    loss, of_loss, *of_gradients = errors_of(case, 300, 128)
    assert loss > 1
    assert any(flags)
    assert of_loss < 1e-6
    assert max(of_gradients) < 2e-3
