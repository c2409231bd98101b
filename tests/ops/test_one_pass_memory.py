"""What a step of the one-pass loss allocates on an H100, counted on tensors without values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hybrid_fast.ops.negative_mask import MaskingRule, NegativeMask
from hybrid_fast.ops.problem import Problem

pytest.importorskip("triton", reason="triton is not installed: nothing to launch")

from hybrid_fast.ops.backends import (
    gpu,
    one_pass_products,
    one_pass_tiles,
    triton_one_pass,
    triton_tiles,
)
from hybrid_fast.ops.chunked import compute_gradients

MIB = 2**20


@pytest.fixture(autouse=True)
def on_an_h100(monkeypatch):
    """Blocks by pointers, since descriptors need addresses."""
    for module in (one_pass_products, one_pass_tiles, triton_tiles):
        monkeypatch.setattr(module, "launch", lambda *_: None)
        monkeypatch.setattr(module, "num_processors", lambda _: 132)
    monkeypatch.setattr(triton_one_pass, "num_processors", lambda _: 132)
    monkeypatch.setattr(triton_tiles, "architecture_of", lambda _: "sm_90")
    monkeypatch.setattr(one_pass_tiles, "has_descriptors", lambda _: False)


class MostBytes(TorchDispatchMode):
    """Counts the bytes of tensors that live at the same time, of those made within."""

    def __init__(self):
        super().__init__()
        self.most = self._bytes = 0
        self._live: dict[StorageWeakRef, int] = {}

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        results = operation(*args, **kwargs or {})
        given = {id(x.untyped_storage()) for x in tree_leaves((args, kwargs)) if is_tensor(x)}
        for tensor in filter(is_tensor, tree_leaves(results)):
            storage = tensor.untyped_storage()
            if id(storage) not in given:
                self._live[StorageWeakRef(storage)] = storage.nbytes()
                self._bytes += storage.nbytes()
        if self._bytes > self.most:  # at least if none of them has gone
            self._live = {ref: size for ref, size in self._live.items() if not ref.expired()}
            self._bytes = sum(self._live.values())
            self.most = max(self.most, self._bytes)
        return results


def is_tensor(value):
    return isinstance(value, Tensor)


def step(num_rows, dim=768, *, temperature_too=False, rules=(), **options):
    """Return the MiB that a step takes of bfloat16 embeddings, gradients included."""
    with FakeTensorMode():
        vectors = torch.empty(num_rows, dim, dtype=torch.bfloat16)
        problem = Problem(
            queries=vectors,
            passages=vectors,
            temperature=torch.empty(()),
            positives=torch.empty(num_rows, dtype=torch.int64),
            negative_mask=NegativeMask(rules=rules),
            **options,
        )
        coefficients = torch.empty(num_rows)
        with MostBytes() as counted:
            kernels = gpu.make_one_pass_kernels(problem, True)
            needed = [True, True, temperature_too]
            _, gradients = compute_gradients(problem, kernels, coefficients, needed)
            # As the operator returns them.
            _ = [x.bfloat16() for x in (gradients.queries, gradients.passages)]
    return counted.most / MIB


@dataclass(frozen=True, kw_only=True)
class Nothing(MaskingRule):
    """Excludes nothing; made with a bool an entry."""

    num_columns: ClassVar[int] = 65536

    def excluded(self, positives):
        return positives.new_empty(len(positives), self.num_columns, dtype=torch.bool)


KINDS = pytest.mark.parametrize("symmetric", [False, True], ids=["mean", "symmetric"])


@KINDS
@pytest.mark.parametrize("temperature_too", [False, True])
@pytest.mark.parametrize(("num_rows", "least", "most"), [(16384, 600, 976), (65536, 1800, 2252)])
def test_a_step_takes_less_than_the_compiled_loss_or_the_scratch_memory(
    num_rows, least, most, temperature_too, symmetric
):
    """976 MiB at 16,384 x 768; what E, its sums and float32 gradients take is counted as well."""
    taken = step(num_rows, temperature_too=temperature_too, symmetric=symmetric)
    assert least < taken < most


@KINDS
def test_rules_hold_the_masks_of_no_more_than_two_chunks(symmetric):
    assert step(65536, symmetric=symmetric, rules=(Nothing(),)) < 2252


@KINDS
def test_many_rows_take_what_the_fewest_rows_of_a_chunk_do(symmetric):
    """Beside gradients in float32; the sums of all columns are not kept for each chunk."""
    size = 2**18
    gradients, scores = 2 * 4 * size * 768, 2.25 * gpu.FEWEST_ROWS * size
    assert step(size, symmetric=symmetric) * MIB < gradients + scores
