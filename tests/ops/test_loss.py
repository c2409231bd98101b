"""`InfoNCELoss` equals `info_nce`, learns its temperature and holds it within bounds."""

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
