"""`InfoNCELoss` equals `info_nce`, learns its temperature and holds it within bounds."""

from copy import deepcopy

import pytest
import torch

from hybrid_fast.ops import InfoNCELoss, info_nce

QUERIES = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
PASSAGES = torch.tensor([[2.0, 1.0], [1.0, 1.0], [0.5, -1.0]])


def test_equals_the_function_with_the_same_options():
    loss = InfoNCELoss(0.3, symmetric=True, normalize=True, margin=0.1)
    mask = torch.tensor([[False, True, False], [False, False, True]])
    expected = info_nce(
        QUERIES, PASSAGES, temperature=0.3, symmetric=True, normalize=True, margin=0.1, mask=mask
    )
    assert torch.equal(loss(QUERIES, PASSAGES, mask=mask), expected)
    assert not list(loss.parameters())


def test_learnable_temperature_is_a_logarithm_with_gradient():
    loss = InfoNCELoss(0.3, learnable=True)
    loss(QUERIES, PASSAGES).backward()
    temperature = torch.tensor(0.3, requires_grad=True)
    info_nce(QUERIES, PASSAGES, temperature=temperature).backward()
    assert list(loss.state_dict()) == ["log_temperature"]
    torch.testing.assert_close(loss.temperature, temperature)
    # d / d log t = t * d / d t
    torch.testing.assert_close(loss.log_temperature.grad, 0.3 * temperature.grad)


@pytest.mark.parametrize(("log_temperature", "bound"), [(-50.0, 0.001), (50.0, 100.0)])
def test_learnable_temperature_is_clamped_but_can_come_back(log_temperature, bound):
    loss = InfoNCELoss(learnable=True)
    with torch.no_grad():
        loss.log_temperature.fill_(log_temperature)
    assert loss.temperature.item() == pytest.approx(bound, rel=1e-5)
    # A wrong positive: even at the lowest temperature the loss depends on it.
    loss(QUERIES, PASSAGES, positives=torch.tensor([1, 0])).backward()
    assert loss.log_temperature.exp().item() == pytest.approx(bound, rel=1e-5)
    assert loss.log_temperature.grad != 0


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_calls_may_wait_for_their_backward_pass(dtype, compiled):
    """Both directions in a sum, and validation in between: the gradient of the plain function."""
    generator = torch.Generator().manual_seed(0)
    queries, passages = (torch.randn(4, 8, generator=generator).to(dtype) for _ in range(2))
    loss = InfoNCELoss(0.3, learnable=True)
    call = torch.compile(loss, backend="aot_eager", fullgraph=True) if compiled else loss
    both = call(queries, passages) + call(passages, queries)
    with torch.no_grad():
        validation = call(queries, passages)
    with torch.inference_mode():
        assert torch.equal(call(queries, passages), validation)
    both.backward()

    temperature = torch.tensor(0.3, requires_grad=True)
    first = info_nce(queries, passages, temperature=temperature)
    expected = first + info_nce(passages, queries, temperature=temperature)
    expected.backward()
    torch.testing.assert_close(both, expected)
    torch.testing.assert_close(validation, first.detach())
    torch.testing.assert_close(loss.log_temperature.grad, 0.3 * temperature.grad)


def test_what_else_is_computed_of_the_parameter_may_wait_too():
    loss = InfoNCELoss(0.3, learnable=True)
    penalty = loss.log_temperature**2
    (loss(QUERIES, PASSAGES) + penalty).backward()
    assert loss.log_temperature.grad.isfinite()


@pytest.mark.parametrize("bound", [0.001, 100.0])
def test_a_temperature_at_a_bound_leaves_it_when_the_gradient_turns(bound):
    loss = InfoNCELoss(bound, learnable=True)
    outwards = 1.0 if bound < 1 else -1.0
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.01)
    for direction in [outwards] * 20 + [-outwards] * 2:
        optimizer.zero_grad()
        loss(QUERIES, PASSAGES)
        (direction * loss.temperature.log()).backward()
        optimizer.step()
        assert 0.000999 < loss.temperature.item() < 100.01
    left = loss.temperature.log().item() - torch.tensor(bound).log().item()
    assert left * outwards == pytest.approx(0.02, abs=1e-4)  # two steps, however many led out


def test_a_copy_has_its_own_temperature():
    loss = InfoNCELoss(0.3, learnable=True)
    loss(QUERIES, PASSAGES)
    copied = deepcopy(loss)
    with torch.no_grad():
        copied.log_temperature += 1
    copied(QUERIES, PASSAGES).backward()
    assert loss.log_temperature.grad is None
    assert loss.temperature.item() == pytest.approx(0.3)


def test_a_module_in_half_precision_keeps_its_temperature_in_float32():
    loss = InfoNCELoss(0.3, learnable=True).bfloat16()
    assert loss.temperature.dtype == torch.float32
    assert loss.temperature.item() == pytest.approx(0.3, rel=4e-3)
    loss(QUERIES.bfloat16(), PASSAGES.bfloat16()).backward()
    assert loss.log_temperature.grad.dtype == torch.bfloat16


def test_state_is_restored():
    trained, fresh = InfoNCELoss(0.2, learnable=True), InfoNCELoss(learnable=True)
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(fresh.temperature, trained.temperature)


def test_repr_shows_the_settings():
    assert "temperature=0.05, learnable=False, symmetric=True" in repr(InfoNCELoss(symmetric=True))
    assert "temperature=1, learnable=True" in repr(InfoNCELoss(1.0, learnable=True))


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, "temperature is 0; need a number above 0", {"temperature": 0}),
        (ValueError, "temperature is nan", {"temperature": float("nan")}),
        (TypeError, "temperature must be a number, got str", {"temperature": "low"}),
        (
            ValueError,
            r"one within \[0.001, 100",
            {"temperature": 1e-4, "learnable": True},
        ),
        (TypeError, "'symetric'.*did you mean 'symmetric'", {"symetric": True}),
    ],
)
def test_bad_settings(error, message, arguments):
    with pytest.raises(error, match=message):
        InfoNCELoss(**arguments)


def test_unknown_tensor():
    with pytest.raises(TypeError, match="groups"):
        InfoNCELoss()(QUERIES, PASSAGES, groups=torch.arange(2))
