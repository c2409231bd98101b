"""Training of modules after pooling, and with prompts that are not pooled."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from chain_folders import DIM, static_chain, transformer_chain
from model_folders import edit_json
from safetensors.torch import load_file
from sentence_transformers.sentence_transformer import modules as st
from torch import Tensor, nn
from toy_training import make_args, make_table, same, weights

from hybrid_fast.data import HybridBatchSampler, open_token_store
from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainer
from hybrid_fast.training.cached_step import CachedStep
from hybrid_fast.training.model import make_model
from hybrid_fast.training.steps import StepDataset
from hybrid_fast.training.timing import StepTimer

SAVING = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "learning_rate": 1e-3}


def head() -> list[nn.Module]:
    dense = st.Dense(DIM, 16, activation_function=nn.GELU())
    return [st.Normalize(), dense, st.Dropout(0.2), st.LayerNorm(16)]


@pytest.fixture(scope="module")
def folders(xlm_roberta_folder, texts, tmp_path_factory):
    root = tmp_path_factory.mktemp("heads")
    return {
        "transformer": transformer_chain(xlm_roberta_folder, root / "transformer", *head()),
        "static": static_chain(texts, root / "static", *head()),
    }


@pytest.mark.parametrize("kind", ["transformer", "static"])
def test_a_resumed_run_ends_bit_equal(folders, tmp_path, kind):
    def make_trainer() -> HybridTrainer:
        args = make_args(tmp_path / "run", **SAVING)
        return HybridTrainer(BiEncoder.from_pretrained(folders[kind]), args, make_table())

    whole = make_trainer()
    before = weights(whole.encoder)
    whole.train()
    after = weights(whole.encoder)
    in_head = {name for name in after if name.startswith("head.")}
    assert len(in_head) == 4
    assert not any(torch.equal(before[name], after[name]) for name in in_head)
    resumed = make_trainer()
    resumed.train(resume_from_checkpoint=tmp_path / "run" / "checkpoint-2")
    assert same(after, weights(resumed.encoder))
    whole.save_model(str(tmp_path / "saved"))
    saved = BiEncoder.from_pretrained(tmp_path / "saved")
    assert same(after, weights(saved))
    beside = tmp_path / "saved" / "trained.safetensors"  # with transformers 5.4, of its own names
    assert all(name.startswith(":") for name in (load_file(beside) if beside.is_file() else {}))


@pytest.mark.parametrize("kind", ["transformer", "static"])
@pytest.mark.parametrize(("micro_batch", "kept"), [(1, 0), (20, 30), (10**6, 10**6)])
def test_a_step_adds_the_gradient_of_the_whole_batch(folders, tmp_path, kind, micro_batch, kept):
    encoder = BiEncoder.from_pretrained(folders[kind], dtype="float64")
    assert_gradient_of_whole_batch(encoder, tmp_path, micro_batch, kept)


@pytest.mark.parametrize("pooling", ["mean", "cls+max", "weightedmean"])
@pytest.mark.parametrize(("micro_batch", "kept"), [(1, 0), (20, 30)])
def test_prompts_that_are_not_pooled(folders, tmp_path, pooling, micro_batch, kept):
    encoder = BiEncoder.from_pretrained(
        folders["transformer"], dtype="float64", query_prompt="Where is the ", passage_prompt="in "
    )
    encoder.head = nn.Sequential()
    encoder.backbone.pooling, encoder.backbone.include_prompt = pooling, False
    assert encoder.prompt_length("query") != encoder.prompt_length("passage")
    without = assert_gradient_of_whole_batch(encoder, tmp_path, micro_batch, kept)
    encoder.backbone.include_prompt = True
    assert (
        abs(assert_gradient_of_whole_batch(encoder, tmp_path, micro_batch, kept) - without) > 1e-6
    )


def assert_gradient_of_whole_batch(encoder, cache, micro_batch, kept):
    """Assert that a cached step equals one graph over `tokenize`d texts; return the loss."""
    model = make_model(encoder.eval(), make_args(cache, learning_rate=1e-3)).double().eval()
    table = make_table()
    stores = [
        open_token_store(
            table, side, partial(encoder.token_ids, side=side), encoder.tokenizer_key(side), cache
        )
        for side in ("query", "passage")
    ]
    sampler = HybridBatchSampler(table, batch_size=6)
    batch = StepDataset(sampler, *stores, "passage", repeats_once=True)[0]
    step = CachedStep(
        model, torch.device("cpu"), StepTimer(), nullcontext, Tensor.backward,
        micro_batch_tokens=micro_batch, cached_activation_tokens=kept,
    )  # fmt: skip
    loss = step(batch)
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    plan = sampler.batch(0)
    expected = model.loss(
        encoder(encoder.tokenize(table.queries(plan.query_rows), "query")),
        encoder(encoder.tokenize(table.passages(plan.passage_rows), "passage")),
    )
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    for name, p in model.named_parameters():
        assert (p.grad is None) == (name not in found), name
        if p.grad is not None:
            torch.testing.assert_close(found[name], p.grad.to_dense(), rtol=1e-9, atol=1e-12)
    model.zero_grad()
    return expected.item()


@pytest.mark.parametrize(
    ("place", "change", "message"),
    [
        ("3_Dense", {"activation_function": "torch.nn.modules.activation.ReLU"}, r"\(ReLU\)"),
        ("1_Pooling", {"include_prompt": False}, "include_prompt = True"),
    ],
)
def test_resuming_with_another_head_is_refused(folders, tmp_path, place, change, message):
    args = make_args(tmp_path / "run", **SAVING)
    HybridTrainer(BiEncoder.from_pretrained(folders["transformer"]), args, make_table()).train()
    other = shutil.copytree(folders["transformer"], tmp_path / "other")
    edit_json(other / place / "config.json", lambda config: config.update(change))
    other = BiEncoder.from_pretrained(other)
    with pytest.raises(ValueError, match=message):
        HybridTrainer(other, args, make_table()).train(resume_from_checkpoint=True)


def test_training_widens_and_untrained_trains(folders, tmp_path):
    model = BiEncoder.from_pretrained(folders["transformer"], dtype="bf16").untrained(1)
    trainer = HybridTrainer(model, make_args(tmp_path, max_steps=2), make_table())
    trainer.train()
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert np.isfinite(model.encode_queries(["the river"])).all()
