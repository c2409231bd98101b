"""The fast loss under torch.compile: no graph break, the values of the eager call.

Also what else looks at operators, which an eager call passes by.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from hybrid_fast.ops import InfoNCELoss, info_nce
from hybrid_fast.ops.flat_problem import flatten
from hybrid_fast.ops.negative_mask import NegativeMask
from hybrid_fast.ops.problem import Problem

OPERATORS = torch.ops.hybrid_fast
NUM_QUERIES, NUM_PASSAGES, DIM = 6, 9, 5
GROUPS = {"query_groups": torch.arange(6) % 4, "passage_groups": torch.arange(9) % 4}
OPTIONS = {
    "plain": {},
    "every mask, symmetric": {
        **GROUPS,
        "symmetric": True,
        "margin": 0.5,
        "passage_ids": torch.arange(9) % 7,
        "mask": torch.arange(54).reshape(6, 9) % 5 == 0,
        "positives": torch.tensor([0, 2, 1, 8, 3, 4]),
        "owners": torch.tensor([-1, -1, -1, -1, -1, 5, 4, 2, -1]),
        "in_batch": torch.arange(6) != 5,
        "weights": torch.rand(6, generator=torch.Generator().manual_seed(2)),
    },
    "none": {"reduction": "none", "normalize": True},
    "recompute": {"recompute": True, "symmetric": True},
    "hard only": {"negatives": "hard_only"},
}


def problem(num_queries=NUM_QUERIES, num_passages=NUM_PASSAGES, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(num_queries, DIM, generator=generator).to(dtype)
    passages = torch.randn(num_passages, DIM, generator=generator).to(dtype)
    return queries.requires_grad_(), passages.requires_grad_()


def loss_and_grads(function, queries, passages, temperature):
    loss = function(queries, passages, temperature)
    leaves = [t for t in (queries, passages, temperature) if isinstance(t, torch.Tensor)]
    return [loss.detach(), *torch.autograd.grad(loss.sum(), leaves)]


def compiled(function):
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend="aot_eager")


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_compiled_whole_with_the_same_values(options, backend):
    def function(queries, passages, temperature):
        return info_nce(queries, passages, temperature=temperature, backend=backend, **options)

    temperature = torch.tensor(0.3, requires_grad=True)
    eager = loss_and_grads(function, *problem(), temperature)
    for value, expected in zip(
        loss_and_grads(compiled(function), *problem(), temperature), eager, strict=True
    ):
        torch.testing.assert_close(value, expected)


def test_sizes_and_numbers_that_change_between_calls():
    def function(queries, passages, temperature):
        return info_nce(queries, passages, temperature=temperature, margin=temperature)

    fast = compiled(function)
    for size, temperature in ((4, 0.3), (7, 0.4), (8, 1)):
        inputs = *problem(size, size + 2), temperature
        for value, expected in zip(
            loss_and_grads(fast, *inputs), loss_and_grads(function, *inputs), strict=True
        ):
            torch.testing.assert_close(value, expected)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_new_temperature_is_not_compiled_anew(backend):
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled_loss = torch.compile(info_nce, fullgraph=True, backend=counter)
    for temperature in (0.2, 0.3, 0.4, 0.5):
        loss = compiled_loss(*problem(), temperature=temperature, backend=backend)
        expected = info_nce(*problem(), temperature=temperature, backend=backend)
        torch.testing.assert_close(loss, expected)
    assert counter.frame_count == 2  # a number, then any


def test_sizes_that_stand_for_any_are_traced():
    """Symbols cannot be looked up among the shapes that have passed."""
    inputs = [torch.empty(size, 3, device="meta") for size in (4, 6)]
    graph = make_fx(lambda *pair: info_nce(*pair), tracing_mode="symbolic")(*inputs)
    assert graph(*inputs).shape == ()


def test_what_is_no_rule_is_refused_while_compiling():
    with pytest.raises(Exception, match="rules must be of MaskingRule, got list"):
        compiled(lambda *pair: info_nce(*pair, rules=[[1]]))(*problem())


def test_a_flag_of_numpy_is_one():
    expected = info_nce(*problem(), symmetric=True)
    assert torch.equal(info_nce(*problem(), symmetric=np.array(True)), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_dtypes_under_autocast(dtype):
    def function(queries, passages, temperature):
        with torch.autocast("cpu", torch.bfloat16):
            return info_nce(queries, passages, temperature=temperature, symmetric=True)

    values = loss_and_grads(compiled(function), *problem(dtype=dtype), 0.3)
    for value, expected in zip(
        values, loss_and_grads(function, *problem(dtype=dtype), 0.3), strict=True
    ):
        torch.testing.assert_close(value, expected)


def test_module_with_a_learnable_temperature():
    module = InfoNCELoss(0.3, learnable=True)
    module(*problem()).backward()
    expected = module.log_temperature.grad.clone()
    module.log_temperature.grad = None
    compiled(module)(*problem()).backward()
    torch.testing.assert_close(module.log_temperature.grad, expected)


def test_values_are_not_checked_while_compiling():
    queries, passages = problem()
    loss = compiled(info_nce)(torch.full_like(queries, float("nan")), passages, check=True)
    assert loss.isnan().item()


class Recorder(TorchDispatchMode):
    """Knows what ran."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.names.append(operator.name())
        return operator(*args, **(kwargs or {}))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_who_looks_at_operators_sees_ours_and_the_same_bits(options):
    def function(queries, passages, temperature):
        return info_nce(queries, passages, temperature=temperature, backend="cpu", **options)

    inputs = *problem(), torch.tensor(0.3, requires_grad=True)
    with Recorder() as seen:
        watched = loss_and_grads(function, *inputs)
    assert any(name.startswith("hybrid_fast::info_nce_loss") for name in seen.names)
    # No steps of ours, which would be seen without what the kernels do to their results.
    assert not any("linear" in name or name == "aten::mm" for name in seen.names)
    assert all(map(torch.equal, watched, loss_and_grads(function, *inputs)))


class Marked(torch.Tensor):
    """A class of tensors of its own."""


@pytest.mark.parametrize("kind", [Marked, torch.nn.Parameter])
def test_other_classes_of_tensors_give_the_same_bits(kind):
    queries, passages = (tensor.detach() for tensor in problem())
    others = queries.as_subclass(Marked) if kind is Marked else kind(queries)
    arguments = others.requires_grad_(), passages.requires_grad_(), 0.3

    def function(queries, passages, temperature):
        return info_nce(queries, passages, temperature=temperature)

    expected = loss_and_grads(function, *problem(), 0.3)
    assert all(map(torch.equal, loss_and_grads(function, *arguments), expected))


class Wrapper(torch.Tensor):
    """Holds a tensor, and has no numbers of its own where a kernel would look for them."""

    def __new__(cls, held):
        size = {"strides": held.stride(), "dtype": held.dtype, "device": held.device}
        self = torch.Tensor._make_wrapper_subclass(cls, held.shape, **size)
        self.held = held
        return self

    @classmethod
    def __torch_dispatch__(cls, operator, types, args=(), kwargs=None):
        args, kwargs = tree_map_only(cls, lambda wrapper: wrapper.held, (args, kwargs or {}))
        return tree_map_only(torch.Tensor, cls, operator(*args, **kwargs))


TENSORS = {
    "queries": torch.linspace(-1, 2, 30).reshape(6, 5).sin(),
    "passages": torch.linspace(-3, 4, 45).reshape(9, 5).cos(),
    "temperature": torch.tensor(0.3),
    "positives": torch.arange(6).flip(0),
    "query_groups": GROUPS["query_groups"],
    "passage_groups": GROUPS["passage_groups"],
    "query_passage_ids": torch.arange(6) // 2,
    "passage_ids": torch.arange(9) // 2,
    "mask": torch.arange(54).reshape(6, 9) % 5 == 0,
    "weights": torch.linspace(0, 2, 6),
}


@pytest.mark.parametrize("wrapped", TENSORS)
@pytest.mark.parametrize("needs_grad", [False, True])
def test_kernels_read_what_a_wrapper_holds(wrapped, needs_grad):
    temperature = TENSORS["temperature"].clone().requires_grad_(needs_grad)
    if wrapped == "temperature":
        temperature = TENSORS["temperature"]
    tensors = TENSORS | {"temperature": temperature}
    expected = info_nce(**tensors, backend="cpu")
    loss = info_nce(**tensors | {wrapped: Wrapper(tensors[wrapped])}, backend="cpu").detach()
    assert torch.equal(loss.held, expected.detach())


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(
    "needs", [[True, True, True], [True, False, True], [False, True, False]], ids=str
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_operators_are_what_torch_expects(symmetric, needs, dtype):
    queries, passages = problem(dtype=dtype)
    mask = torch.arange(54).reshape(6, 9) % 5 == 0
    values = flatten(
        Problem(
            queries=queries.requires_grad_(needs[0]),
            passages=passages.requires_grad_(needs[1]),
            temperature=torch.tensor(0.3, requires_grad=needs[2]),
            positives=torch.arange(6),
            negative_mask=NegativeMask(**GROUPS, mask=mask, margin=0.5),
            symmetric=symmetric,
            backend="cpu",
        )
    )
    coefficients = torch.full((6,), 1 / 6, requires_grad=True)
    torch.library.opcheck(
        OPERATORS.info_nce_loss_and_gradients.default, (coefficients, needs, None, *values)
    )
    torch.library.opcheck(OPERATORS.info_nce_losses.default, tuple(values))
