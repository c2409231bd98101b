"""A step through the gradient cache: the plain gradient, whatever memory does on the way."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from ranks import run_ranks
from torch import Tensor

from hybrid_fast.data import AlignedTable, HybridBatchSampler, open_token_store
from hybrid_fast.models import BiEncoder
from hybrid_fast.ops import InfoNCELoss
from hybrid_fast.training.cached_step import CachedStep
from hybrid_fast.training.compat import is_out_of_memory
from hybrid_fast.training.model import ContrastiveModel
from hybrid_fast.training.steps import Batch, StepDataset
from hybrid_fast.training.timing import StepTimer

CPU = torch.device("cpu")
BATCH_SIZE = 6


def make_table() -> AlignedTable:
    keys = [(group, lang) for group in range(12) for lang in ("de", "en")]
    return AlignedTable.from_columns(
        {
            "group_id": [str(group) for group, _ in keys],
            "lang": [lang for _, lang in keys],
            "query": [f"{lang} river {group} " + "sea " * (group % 4) for group, lang in keys],
            "passage": [f"{lang} mountain {group} " * (1 + group % 3) for group, lang in keys],
            "negatives": [[f"{lang} mountain {(group + 1) % 12} "] for group, lang in keys],
        }
    )


def make_model(folder: Path, dtype: str = "float64") -> ContrastiveModel:
    torch.manual_seed(0)
    encoder = BiEncoder.from_pretrained(folder, dtype=dtype)
    loss = InfoNCELoss(0.1, learnable=True)
    return ContrastiveModel(encoder, loss.to(encoder.backbone.model.dtype)).eval()


def make_batches(
    encoder: BiEncoder, cache: Path, rank: int = 0, world_size: int = 1
) -> StepDataset:
    table = make_table()
    stores = [
        open_token_store(
            table, side, partial(encoder.token_ids, side=side), encoder.tokenizer_key(side),
            cache,
        )
        for side in ("query", "passage")
    ]  # fmt: skip
    sampler = HybridBatchSampler(table, batch_size=BATCH_SIZE, rank=rank, world_size=world_size)
    return StepDataset(sampler, *stores, "passage", repeats_once=True)


def make_step(
    model: ContrastiveModel, micro_batch: int | None = 20, kept: int | None = 30, **options
):
    return CachedStep(
        model, CPU, StepTimer(), nullcontext, Tensor.backward,
        micro_batch_tokens=micro_batch, cached_activation_tokens=kept, **options,
    )  # fmt: skip


def gradients(model: ContrastiveModel) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def plain_gradients(model: ContrastiveModel, batches: list[Batch], divisor: int = 1) -> dict:
    """One graph for each whole batch; the gradients of all add up."""
    model.zero_grad()
    for batch in batches:
        rows = np.arange(len(batch.lengths))
        features = model.encoder.backbone.features(batch.ids, batch.offsets, rows)
        embeddings = model.encoder(features)
        loss = model.loss(
            embeddings[batch.queries], embeddings[batch.passages], passage_ids=batch.passage_ids
        )
        (loss / divisor).backward()
    found = {name: grad.clone() for name, grad in gradients(model).items()}
    model.zero_grad()
    return found


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert len(found) > 20
    scale = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-12, atol=1e-13 * scale), name


@pytest.mark.parametrize("name", ["bert_folder", "xlm_roberta_folder", "qwen_folder"])
@pytest.mark.parametrize(("micro_batch", "kept"), [(1, 0), (20, 0), (20, 30), (10**6, 10**6)])
def test_a_step_adds_the_gradient_of_the_whole_batch(request, name, tmp_path, micro_batch, kept):
    model = make_model(request.getfixturevalue(name))
    batch = make_batches(model.encoder, tmp_path)[0]
    expected = plain_gradients(model, [batch])
    step = make_step(model, micro_batch, kept)
    loss = step(batch)
    assert_same(gradients(model), expected)
    assert not loss.requires_grad
    assert step.num_padded >= len(batch.ids)


def test_padding_to_a_multiple_changes_nothing_but_the_padding(bert_folder, tmp_path):
    model = make_model(bert_folder)
    batch = make_batches(model.encoder, tmp_path)[0]
    expected = plain_gradients(model, [batch])
    step = make_step(model, length_multiple=16)
    step(batch)
    assert_same(gradients(model), expected)
    assert step.num_padded % 16 == 0


def test_accumulated_batches_add_up_and_are_divided(bert_folder, tmp_path):
    model = make_model(bert_folder)
    data = make_batches(model.encoder, tmp_path)
    batches = [data[0], data[1], data[2]]
    expected = plain_gradients(model, batches, divisor=3)
    step = make_step(model)
    for batch in batches:
        step(batch, divisor=3)
    assert_same(gradients(model), expected)


class Exhausting:
    """Lets memory run out where a micro-batch has more than `most` tokens."""

    def __init__(self, model: ContrastiveModel, most: int, *, in_backward: bool = False) -> None:
        self.most = most
        self.in_backward = in_backward
        self.refused = 0
        self.forward = model.encoder.backbone.model.forward
        model.encoder.backbone.model.forward = self

    def __call__(self, **features):
        too_large = features["input_ids"].numel() > self.most
        output = self.forward(**features)
        if too_large and not self.in_backward:
            self.refuse()
        if too_large and output.last_hidden_state.requires_grad:
            output.last_hidden_state.register_hook(self.refuse)
        return output

    def refuse(self, *arguments):
        self.refused += 1
        raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("in_backward", [False, True])
@pytest.mark.parametrize("kept", [0, 40, 10**6])
def test_a_step_whose_memory_runs_out_is_done_again_in_smaller_pieces_and_is_exact(
    bert_folder, tmp_path, caplog, in_backward, kept
):
    model = make_model(bert_folder)
    data = make_batches(model.encoder, tmp_path)
    expected = plain_gradients(model, [data[0], data[1]])
    step = make_step(model, micro_batch=64, kept=kept)
    step(data[0])  # whose gradient must survive
    memory = Exhausting(model, 20, in_backward=in_backward)
    step(data[1])
    assert memory.refused == 2
    assert_same(gradients(model), expected)
    assert (step.budget.micro_batch, step.budget.cached) == (16, kept // 4)
    assert "the step is repeated with micro-batches of 16 tokens" in caplog.text


def test_memory_that_never_suffices_ends_the_run_with_advice(bert_folder, tmp_path):
    model = make_model(bert_folder)
    batch = make_batches(model.encoder, tmp_path)[0]
    memory = Exhausting(model, 0)
    with pytest.raises(RuntimeError, match="halved 3 times; set micro_batch_tokens lower"):
        make_step(model, micro_batch=64)(batch)
    assert memory.refused == 4


def test_other_errors_pass_through(bert_folder, tmp_path):
    model = make_model(bert_folder)
    batch = make_batches(model.encoder, tmp_path)[0]

    def fail(**features):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    model.encoder.backbone.model.forward = fail
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        make_step(model)(batch)


def test_the_allocator_of_the_cpu_is_understood():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**62, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError())
    assert not is_out_of_memory(RuntimeError("memory format"))


def test_the_automatic_budget_is_found_once_and_gives_the_same_gradient(bert_folder, tmp_path):
    model = make_model(bert_folder)
    data = make_batches(model.encoder, tmp_path)
    expected = plain_gradients(model, [data[0], data[1]])
    step = make_step(model, None, None)
    step(data[0])
    budget = step.budget
    step(data[1])
    assert step.budget is budget
    assert budget.micro_batch == 1024
    assert budget.cached > 10**4  # a tiny model fits many times
    assert_same(gradients(model), expected)


@pytest.mark.parametrize(("micro_batch", "kept"), [(7, None), (None, 5)])
def test_half_of_a_budget_may_be_set_by_hand(bert_folder, tmp_path, micro_batch, kept):
    model = make_model(bert_folder)
    step = make_step(model, micro_batch, kept)
    step(make_batches(model.encoder, tmp_path)[0])
    assert step.budget.micro_batch == (micro_batch or 1024)
    assert step.budget.cached > 10**4 if kept is None else step.budget.cached == kept


def test_a_static_encoder_is_one_micro_batch_without_padding(tmp_path):
    table = make_table()
    encoder = BiEncoder.static(table.passages(range(len(table))), dim=8, vocab_size=200)
    model = ContrastiveModel(encoder, InfoNCELoss(0.1))
    batch = make_batches(encoder, tmp_path)[0]
    step = make_step(model, None, None)
    step(batch)
    assert step.num_padded == len(batch.ids)
    found = model.encoder.backbone.embedding.weight.grad
    rows = np.arange(len(batch.lengths))
    features = encoder.backbone.features(batch.ids, batch.offsets, rows)
    model.zero_grad()
    embeddings = encoder(features)
    model.loss(
        embeddings[batch.queries], embeddings[batch.passages], passage_ids=batch.passage_ids
    ).backward()
    torch.testing.assert_close(found, model.encoder.backbone.embedding.weight.grad)


def run_rank(rank: int, world_size: int, folder: Path, cache: Path):
    """Memory runs out on the last rank alone."""
    dist.init_process_group("gloo")
    model = make_model(folder)
    model.loss.options["process_group"] = dist.group.WORLD
    data = make_batches(model.encoder, cache, rank, world_size)
    step = make_step(model, micro_batch=64, kept=0)
    if rank == world_size - 1:
        Exhausting(model, 40)
    if rank == 1:
        step.stop_requested = True
    step(data[0])
    mean = {}
    for name, gradient in gradients(model).items():
        dist.all_reduce(gradient)
        mean[name] = gradient / world_size
    dist.destroy_process_group()
    return mean, step.budget.micro_batch, step.stop


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_halve_together_and_their_mean_is_the_gradient_of_one_process(
    bert_folder, tmp_path, world_size
):
    model = make_model(bert_folder)
    expected = plain_gradients(model, [make_batches(model.encoder, tmp_path)[0]])
    results = run_ranks(run_rank, world_size, bert_folder, tmp_path)
    for mean, micro_batch, stop in results:
        assert_same(mean, expected)
        assert micro_batch == 32
        assert stop
    assert len(results) == world_size
