"""Trainings whose layers torch's own compiler compiles, which takes long on a CPU."""

from __future__ import annotations

import pytest
import torch
from test_cached_step import make_batches, make_model
from test_compiled_layers import assert_close, bf16, recompute_activations, run
from toy_training import losses, make_transformer_trainer, same
from varlen_stand_in import use_stand_in

from hybrid_fast.models.dropout_rates import set_dropout
from hybrid_fast.training.compiled_layers import CompiledLayers

# torch's compiler warns of what torch itself has left behind.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def nothing_is_compiled_yet():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("recomputes", [False, True])
def test_both_passes_are_equal_to_the_bit_and_new_lengths_not_compiled(
    xlm_roberta_folder, tmp_path, monkeypatch, recomputes
):
    use_stand_in(monkeypatch)
    model = make_model(xlm_roberta_folder, "float32").train()
    batches = make_batches(model.encoder, tmp_path)
    plain = run(model, batches, autocast=bf16)[1]
    compiled = CompiledLayers(model.encoder)
    assert_close(run(model, batches, compiled=compiled, autocast=bf16)[1], plain, 0.03)
    set_dropout(model.encoder, 0.1)
    if recomputes:
        recompute_activations(model.encoder)
    embedded = []
    model.encoder.register_forward_hook(lambda _, inputs, output: embedded.append(output.detach()))
    (loss, _), expected, step = run(model, batches, compiled=compiled, autocast=bf16)
    size = len(list(step.micro_batcher.cut(batches[0], 20)))
    for first, second in zip(embedded[:size], embedded[size : 2 * size], strict=True):
        assert torch.equal(first, second)
    frames = torch._dynamo.utils.counters["frames"]["ok"]
    for kept, micro_batch in ((30, 20), (1000, 20), (0, 33)):
        (again, _), found, _ = run(
            model, batches, compiled=compiled, kept=kept, micro_batch=micro_batch, autocast=bf16
        )
        if micro_batch == 20:
            assert torch.equal(again, loss)
            assert all(torch.equal(found[name], each) for name, each in expected.items())
    assert torch._dynamo.utils.counters["frames"]["ok"] == frames


def test_a_resumed_run_ends_in_the_same_bits(xlm_roberta_folder, tmp_path):
    options = {"torch_compile": True, "max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    whole = make_transformer_trainer(xlm_roberta_folder, tmp_path / "whole", **options)
    curve = losses(whole)
    assert not any("_orig_mod" in name for name in whole.model.state_dict())
    resumed = make_transformer_trainer(xlm_roberta_folder, tmp_path / "resumed", **options)
    resumed.train(resume_from_checkpoint=tmp_path / "whole" / "checkpoint-2")
    assert same(resumed.encoder.state_dict(), whole.encoder.state_dict())
    options["torch_compile"] = False
    plain = make_transformer_trainer(xlm_roberta_folder, tmp_path / "plain", **options)
    assert losses(plain) == pytest.approx(curve, rel=1e-4)
