"""The precision of the loss: chosen on GPUs, as asked for elsewhere, kept by runs that go on."""

from __future__ import annotations

import logging
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from toy_training import make_args, make_model, make_table

from hybrid_fast.ops import InfoNCELoss
from hybrid_fast.ops.backends import registry
from hybrid_fast.training import HybridTrainer, loss_precision
from hybrid_fast.training.loss_precision import choose_precision, precision_of
from hybrid_fast.training.model import ContrastiveModel


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(loss_precision, "_FAST_AT_BF16", ("cpu",))


def of_run(folder, **options) -> HybridTrainer:
    options = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1, **options}
    return HybridTrainer(make_model(), make_args(folder, **options), make_table())


@pytest.mark.parametrize(
    ("device", "mixed", "given", "expected"),
    [
        ("cuda", "bf16", None, "bf16"),
        ("cuda", "bf16", "float32", "float32"),
        ("cuda", "fp16", None, "float32"),
        ("cuda", "no", None, "float32"),
        ("cuda", "no", "bf16", "bf16"),
        ("mps", "bf16", None, "float32"),
        ("xpu", "bf16", None, "float32"),
        ("cpu", "bf16", None, "float32"),
        ("cpu", "no", "bf16", "bf16"),
    ],
)
def test_it_is_that_of_the_device_unless_it_is_given(device, mixed, given, expected):
    args = SimpleNamespace(device=torch.device(device), mixed_precision=mixed, loss_precision=given)
    assert choose_precision(args, make_model()) == expected
    # The loss takes no float64 in bfloat16, which nobody asked for.
    if given is None:
        assert choose_precision(args, make_model().double()) == "float32"


def test_it_is_float32_where_nothing_computes_the_loss_in_bf16(monkeypatch):
    for name in ("triton", "triton_one_pass"):
        missing = replace(registry.BACKENDS[name], is_installed=False)
        monkeypatch.setitem(registry.BACKENDS, name, missing)
    args = SimpleNamespace(device=torch.device("cuda"), mixed_precision="bf16", loss_precision=None)
    assert choose_precision(args, make_model()) == "float32"


def test_it_is_said_with_the_reason(tmp_path, caplog, as_on_a_gpu):
    caplog.set_level(logging.INFO, "hybrid_fast")
    trainer = of_run(tmp_path, bf16=True)
    assert precision_of(trainer.model.loss) == "bf16"
    assert trainer.settings["same"]["loss_precision"] == "bf16"
    assert caplog.text.count("The loss multiplies embeddings in bfloat16") == 1
    caplog.clear()
    for options in ({}, {"bf16": True, "loss_precision": "float32"}, {"loss_precision": "bf16"}):
        trainer = of_run(tmp_path, **options)
        expected = options.get("loss_precision", "float32")
        assert trainer.settings["same"]["loss_precision"] == expected
    assert "multiplies" not in caplog.text


def test_a_run_that_goes_on_keeps_it_or_is_refused(tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "hybrid_fast")
    with monkeypatch.context() as patch:
        patch.setattr(loss_precision, "_FAST_AT_BF16", ("cpu",))
        of_run(tmp_path / "gpu", bf16=True).train()
    checkpoint = tmp_path / "gpu" / "checkpoint-1"
    resumed = of_run(tmp_path / "cpu", bf16=True)
    assert precision_of(resumed.model.loss) == "float32"
    resumed.train(resume_from_checkpoint=checkpoint)
    assert precision_of(resumed.model.loss) == "bf16"
    assert "The loss goes on in bf16 as in" in caplog.text
    with pytest.raises(ValueError, match=r"loss_precision = 'bf16', this run has 'float32'"):
        of_run(tmp_path / "other", bf16=True, loss_precision="float32").train(
            resume_from_checkpoint=checkpoint
        )


def test_float32_widens_embeddings_in_half_precision():
    queries, passages = torch.randn(2, 4, 8).bfloat16()
    loss = InfoNCELoss(0.1)
    plain = ContrastiveModel(make_model(), loss).compare(queries, passages)
    widened = ContrastiveModel(make_model(), loss, widens=True).compare(queries, passages)
    assert widened == loss(queries.float(), passages.float())
    torch.testing.assert_close(plain.float(), widened, rtol=1e-2, atol=1e-3)
    assert (
        ContrastiveModel(make_model(), loss, widens=True)
        .compare(queries.double(), passages.double())
        .dtype
        == torch.float64
    )


@pytest.mark.parametrize("given", ["fp32", "", "float16", 16])
def test_other_precisions_are_refused(tmp_path, given):
    with pytest.raises((TypeError, ValueError), match="loss_precision"):
        make_args(tmp_path, loss_precision=given)
