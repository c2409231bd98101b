"""A GPU is not waited for in the middle of a pass: no operator reads a number of its tensors."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from test_cached_step import make_batches, make_model
from test_compiled_layers import bf16, run
from torch.utils._python_dispatch import TorchDispatchMode
from varlen_stand_in import use_stand_in

from hybrid_fast.models.dropout_rates import set_dropout
from hybrid_fast.training import token_tables

pytestmark = pytest.mark.usefixtures("every_table_is_large")
# What reads numbers, or gives a result whose size depends on them.
READING = (
    "_local_scalar_dense", "nonzero", "masked_select", "_unique", "_unique2", "unique_dim",
    "unique_consecutive", "_coalesce", "repeat_interleave", "equal", "is_nonzero",
)  # fmt: skip


class Reads(TorchDispatchMode):
    """Counts operators that a GPU would be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.all = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        by_mask = name == "index" and any(
            each is not None and each.dtype == torch.bool for each in args[1]
        )
        self.found.update([name] if name in READING or by_mask else [])
        self.all += 1
        return function(*args, **(kwargs or {}))


def test_passes_over_texts_without_padding(xlm_roberta_folder, tmp_path, monkeypatch):
    use_stand_in(monkeypatch)
    monkeypatch.setattr(token_tables, "_waits", lambda weight: True)
    model = make_model(xlm_roberta_folder, "float32").train()
    set_dropout(model.encoder, 0.1)
    batches = make_batches(model.encoder, tmp_path)
    step = run(model, batches, autocast=bf16)[2]
    model.zero_grad()
    with step._fast_encoder():
        micro_batches = list(step.micro_batcher.cut(batches[0], 20))
        with Reads() as reads:
            embedded = step._cache.embed(micro_batches, 40, 0)
            num_forward = 2 * len(micro_batches) - len(embedded.graphs)
            embedded.embeddings.grad = torch.ones_like(embedded.embeddings)
            step._cache.back_propagate(embedded)
    assert reads.all > 1000
    # The longest text of each, which is said on the CPU.
    assert reads.found == {"_local_scalar_dense": num_forward}


def test_such_operators_are_seen():
    with Reads() as reads:
        values = torch.arange(3)
        values[values > 0].sum().item()
        torch.sparse_coo_tensor(values[None], values, (3,), check_invariants=True).coalesce()
    assert {"_local_scalar_dense", "index", "_coalesce"} <= set(reads.found)
