"""A step in bfloat16 by torch's attention without padding, for which a stand-in computes here."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import varlen_stand_in
from test_cached_step import (
    CPU,
    gradients,
    make_batches,
    make_model,
    make_step,
    plain_gradients,
)
from torch import Tensor
from varlen_stand_in import use_stand_in

from hybrid_fast.models.dropout_rates import set_dropout
from hybrid_fast.models.kernels import flash
from hybrid_fast.training.cached_step import CachedStep
from hybrid_fast.training.model import ContrastiveModel
from hybrid_fast.training.timing import StepTimer

AUTOCAST = partial(torch.autocast, "cpu", torch.bfloat16)


@pytest.fixture(autouse=True)
def calls(monkeypatch) -> list[dict]:
    use_stand_in(monkeypatch)
    return varlen_stand_in.calls


@pytest.fixture(params=["bert_folder", "xlm_roberta_folder", "qwen_folder"])
def model(request) -> ContrastiveModel:
    return make_model(request.getfixturevalue(request.param), "float32")


def run(model: ContrastiveModel, batches, kept: int):
    """Losses and gradients of two steps, and the step."""
    model.zero_grad()
    step = CachedStep(
        model, CPU, StepTimer(), AUTOCAST, Tensor.backward, micro_batch_tokens=20,
        cached_activation_tokens=kept,
    )  # fmt: skip
    torch.manual_seed(3)
    losses = [step(batches[number]) for number in range(2)]
    return losses, {name: each.clone() for name, each in gradients(model).items()}, step


def test_gradients_are_those_of_padded_texts(model, tmp_path, calls, monkeypatch):
    batches = make_batches(model.encoder, tmp_path)
    losses, found, step = run(model, batches, 0)
    assert calls
    assert step.num_padded == len(batches[1].ids)  # no padding
    calls.clear()
    monkeypatch.setattr(flash, "DTYPES", ())
    model.encoder.backbone.model.register_forward_hook(lambda *_: None)  # it is tried again
    padded_losses, expected, step = run(model, batches, 0)
    assert not calls
    assert step.num_padded > len(batches[1].ids)
    torch.testing.assert_close(losses, padded_losses, rtol=1e-2, atol=1e-3)
    assert found.keys() == expected.keys()
    whole = sum(float(each.norm() ** 2) for each in expected.values()) ** 0.5
    apart = sum(float((found[each] - expected[each]).norm() ** 2) for each in expected) ** 0.5
    assert apart < 0.05 * whole


def test_with_dropout_both_passes_draw_the_same_masks(model, tmp_path, calls):
    set_dropout(model.train().encoder, 0.2)
    batches = make_batches(model.encoder, tmp_path)
    plain_losses, plain, _ = run(model, batches, 1000)
    assert {each["rate"] for each in calls} == {0.0, 0.2}  # of the trial, and of both
    for kept in (0, 30, 1000):
        losses, found, step = run(model, batches, kept)
        assert all(map(torch.equal, losses, plain_losses))
        assert all(torch.equal(found[name], gradient) for name, gradient in plain.items())
        assert step.num_padded == len(batches[1].ids)


def test_without_autocast_float32_stays_padded_and_exact(model, tmp_path, calls):
    batches = make_batches(model.encoder, tmp_path)
    make_step(model, 20, 0)(batches[0])
    found = {name: each.clone() for name, each in gradients(model).items()}
    expected = plain_gradients(model, [batches[0]])
    assert not calls
    assert found.keys() == expected.keys()
    scale = max(float(each.abs().max()) for each in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5 * scale)
