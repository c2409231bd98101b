"""Training with dropout: by our kernels within a step, replayed by a resumed run."""

from __future__ import annotations

import pytest
import torch
from toy_training import make_args

from hybrid_fast.data import AlignedTable
from hybrid_fast.models import BiEncoder
from hybrid_fast.models.kernels import attention, dropout, unpadded
from hybrid_fast.training import HybridTrainer


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """What drops values by the kernels."""
    found = []

    def watch(module, name):
        kernel = getattr(module, name)

        def watched(*args, **options):
            if options.get("rate", 1):
                found.append(name)
            return kernel(*args, **options)

        monkeypatch.setattr(module, name, watched)

    watch(dropout, "_run")
    watch(attention, "drop_attention")
    watch(unpadded, "drop_attention")
    return found


def make_trainer(encoder_folder, output, **options) -> HybridTrainer:
    """Its encoder has dropout of .1, as it was saved."""
    groups = range(24)
    columns = {
        "group_id": [str(group) for group in groups],
        "lang": ["en"] * len(groups),
        "query": [f"en river {group} " + "sea " * (group % 5) for group in groups],
        "passage": [f"en mountains {group} " * (1 + group % 4) for group in groups],
    }
    options = {"max_steps": 4, "micro_batch_tokens": 60, "cached_activation_tokens": 60} | options
    encoder = BiEncoder.from_pretrained(encoder_folder)
    args = make_args(output, kind="mono", **options)
    return HybridTrainer(encoder, args, AlignedTable.from_columns(columns))


def test_a_step_drops_by_the_kernels_and_leaves_the_model_as_it_was(tmp_path, bert_folder, calls):
    trainer = make_trainer(bert_folder, tmp_path, max_steps=1)
    model = trainer.encoder.backbone.model
    before = [type(module) for module in model.modules()], model.config._attn_implementation
    assert before[1] == "sdpa"
    trainer.train()
    assert {"_run", "drop_attention"} == set(calls)
    assert before == ([type(m) for m in model.modules()], model.config._attn_implementation)
    calls.clear()
    trainer.encoder.encode_queries(["river 1"])
    assert not calls


def test_a_compiled_encoder_keeps_torchs_dropout(tmp_path, bert_folder, calls):
    trainer = make_trainer(
        bert_folder, tmp_path, max_steps=1, torch_compile=True, torch_compile_backend="eager"
    )
    trainer.train()
    assert not calls


def test_a_run_that_goes_on_draws_the_masks_of_one_that_was_not_interrupted(tmp_path, bert_folder):
    options = {"save_strategy": "steps", "save_steps": 2}
    whole = make_trainer(bert_folder, tmp_path / "whole", **options)
    whole.train()
    resumed = make_trainer(bert_folder, tmp_path / "resumed", **options)
    resumed.train(resume_from_checkpoint=tmp_path / "whole" / "checkpoint-2")
    expected = whole.encoder.state_dict()
    assert all(torch.equal(x, expected[name]) for name, x in resumed.encoder.state_dict().items())
    fresh = make_trainer(bert_folder, tmp_path / "other", seed=7)
    fresh.train()
    assert not all(torch.equal(x, expected[name]) for name, x in fresh.encoder.state_dict().items())
