"""Attention with dropout by the C++ core: torch's semantics, with the masks of the kernel."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from dropout_masks import attention_mask
from torch import Tensor

from hybrid_fast.cpu import ways
from hybrid_fast.models.kernels import attention
from hybrid_fast.models.kernels.attention import attend, drop_attention
from hybrid_fast.models.kernels.dropout import draw_seed

MODULE = SimpleNamespace(is_causal=False, training=True)
RATE = 0.3


def states(heads=4, key_heads=4, queries=9, keys=9, dim=8, dtype=torch.float32) -> list[Tensor]:
    """Query, key and value as transformers passes them: heads before tokens, not contiguous."""
    generator = torch.Generator().manual_seed(0)
    shapes = (queries, heads), (keys, key_heads), (keys, key_heads)
    made = [torch.randn(2, *shape, dim, generator=generator, dtype=dtype) for shape in shapes]
    return [x.transpose(1, 2).requires_grad_() for x in made]


def define(query, key, value, seen, causal=False, scale=None) -> Tensor:
    """Attention in float64, with the mask that the kernel draws next."""
    groups = query.shape[1] // key.shape[1]
    query, key, value = (x.double() for x in (query, key, value))
    key, value = (x.repeat_interleave(groups, 1) for x in (key, value))
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if seen is not None:
        scores = scores.masked_fill(~seen, -torch.inf)
    if causal:
        scores = scores.masked_fill(~torch.ones(scores.shape[-2:]).tril().bool(), -torch.inf)
    shares = scores.softmax(-1).nan_to_num(0)
    shares = shares * attention_mask(shares.shape, RATE, draw_seed()) / (1 - RATE)
    return (shares @ value).transpose(1, 2)


def check(inputs, seen, *, tolerance=1e-5, causal=False, scaling=None, dtype=None, **options):
    """Output and gradients of `attend` against the definition."""
    torch.manual_seed(1)
    truth = define(*inputs, seen, causal, scaling)
    torch.manual_seed(1)
    out, probabilities = attend(MODULE, *inputs, seen, dropout=RATE, scaling=scaling, **options)
    assert probabilities is None
    assert out.dtype == dtype or inputs[0].dtype
    torch.testing.assert_close(out.double(), truth, rtol=tolerance, atol=tolerance)
    towards = torch.randn(truth.shape, generator=torch.Generator().manual_seed(2))
    expected = torch.autograd.grad(truth, inputs, towards.double())
    for found, gradient in zip(
        torch.autograd.grad(out, inputs, towards.to(out.dtype)), expected, strict=True
    ):
        assert found.dtype == gradient.dtype
        torch.testing.assert_close(found, gradient, rtol=tolerance, atol=2 * tolerance)


@pytest.fixture
def calls(monkeypatch) -> list[dict]:
    """What reaches the kernel."""
    found = []
    kernel = attention.drop_attention
    monkeypatch.setattr(
        attention,
        "drop_attention",
        lambda *args, **options: found.append(options) or kernel(*args, **options),
    )
    return found


PADDING = (torch.arange(9) < torch.tensor([[9], [4]]))[:, None, None]
MASKS = {
    "none": None,
    "padding, expanded": PADDING.expand(2, 1, 9, 9),
    "padding, one row": PADDING,
    "window": ((torch.arange(9)[:, None] - torch.arange(9)).abs() < 3)[None, None],
    "by head": (torch.arange(9) <= torch.tensor([8, 3, 5, 0])[:, None])[None, :, None],
    "a query sees nothing": torch.arange(9)[:, None].ne(2)[None, None].expand(2, 4, 9, 9),
}


@pytest.mark.parametrize("mask", MASKS)
def test_it_is_attention_with_the_masks_of_the_kernel(mask, calls):
    check(states(), MASKS[mask])
    assert len(calls) == 1


@pytest.mark.parametrize(
    "sizes",
    [
        {"heads": 6, "key_heads": 2},
        {"heads": 3, "key_heads": 1, "dim": 5},
        {"queries": 5, "keys": 17},
        {"queries": 1, "keys": 1, "dim": 1},
        {"queries": 130, "keys": 130, "dim": 33},
    ],
    ids=str,
)
def test_grouped_heads_and_odd_sizes(sizes, calls):
    check(states(**sizes), None, scaling=0.3)
    assert len(calls) == 1


def test_causal_by_argument_by_module_and_not_beside_a_mask(calls):
    causal = SimpleNamespace(is_causal=True, training=True)
    for module, argument, seen, expected in [
        (MODULE, True, None, True),
        (causal, None, None, True),
        (causal, False, None, False),
        (causal, None, MASKS["window"], False),
        (MODULE, None, None, False),
    ]:
        attend(module, *states(), seen, dropout=RATE, is_causal=argument)
        assert calls[-1]["causal"] is expected
    check(states(), None, causal=True, is_causal=True)
    check(states(queries=5, keys=8), None, causal=True, is_causal=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_under_autocast_it_computes_in_bfloat16(dtype, calls):
    inputs = states()
    inputs[2] = inputs[2].detach().to(dtype).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        check(inputs, None, tolerance=2e-2, dtype=torch.bfloat16)
    assert len(calls) == 1


def test_in_bfloat16_it_is_closer_to_the_truth_than_torch():
    inputs = [x.detach().bfloat16() for x in states(queries=64, keys=64, dim=32)]
    torch.manual_seed(1)
    seed = draw_seed()
    torch.manual_seed(1)
    truth = define(*inputs, None)
    torch.manual_seed(1)
    ours, _ = attend(MODULE, *inputs, None, dropout=RATE)
    keep = attention_mask(torch.Size([2, 4, 64, 64]), RATE, seed) / (1 - RATE)
    shares = (inputs[0] @ inputs[1].mT * 32**-0.5).softmax(-1) * keep.bfloat16()
    torchs = (shares @ inputs[2]).transpose(1, 2)
    assert (ours - truth).norm() < 0.7 * (torchs - truth).norm()


def test_as_many_are_dropped_as_the_rate_says_and_heads_and_texts_differ():
    mask = attention_mask(torch.Size([3, 4, 200, 200]), RATE, seed=5)
    assert (
        abs(float(mask.double().mean()) - (1 - RATE))
        < 5 * (RATE * (1 - RATE) / mask.numel()) ** 0.5
    )
    flat = mask.flatten(0, 1).flatten(1).double() - (1 - RATE)
    covariance = flat @ flat.T / flat.shape[1]
    others = covariance - torch.diag(covariance.diag())
    assert others.abs().max() < 5 * RATE * (1 - RATE) / flat.shape[1] ** 0.5


def test_threads_change_no_bit():
    inputs = states(queries=130, keys=130)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            torch.manual_seed(3)
            out, _ = attend(MODULE, *inputs, None, dropout=RATE)
            found.append([out, *torch.autograd.grad(out.sum(), inputs)])
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, *found))


def test_scores_are_not_kept():
    inputs = states(queries=300, keys=300)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        attend(MODULE, *inputs, None, dropout=RATE)
    assert max(t.numel() for t in saved) == inputs[0].numel()


def test_a_second_derivative_is_refused():
    inputs = states()
    out, _ = attend(MODULE, *inputs, None, dropout=RATE)
    (gradient,) = torch.autograd.grad(out.square().sum(), inputs[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize(
    "case",
    [
        "float64",
        "float16",
        "mask of numbers",
        "bias",
        "sinks",
        "probabilities",
        "wider values",
        "autocast fp16",
    ],
)
def test_what_the_kernel_does_not_compute_goes_to_torch(case, calls):
    dtype = {"float64": torch.float64, "float16": torch.float16}.get(case, torch.float32)
    query, key, value = (x.detach() for x in states(dtype=dtype))
    mask, options = None, {"dropout": RATE}
    if case == "mask of numbers":
        mask = torch.zeros(2, 1, 9, 9)
    if case == "bias":
        options["position_bias"] = torch.zeros(1, 4, 9, 9)
    if case == "sinks":
        options["s_aux"] = torch.zeros(4)
    if case == "probabilities":
        options["output_attentions"] = True
    if case == "wider values":
        value = torch.cat([value, value], -1)
    with torch.autocast("cpu", torch.float16, enabled=case == "autocast fp16"):
        out, _ = attend(MODULE, query, key, value, mask, **options)
    assert out.shape == (2, 9, 4, value.shape[-1])
    assert not calls


def test_an_option_that_is_off_or_none_of_the_computation_is_no_reason(calls):
    options = {"output_attentions": False, "softcap": None, "position_ids": torch.arange(9)[None]}
    check(states(), None, **options)
    assert len(calls) == 1


def test_a_softcap_is_left_to_transformers_which_may_refuse_it(calls, monkeypatch):
    given = []

    def theirs(*_, **options):
        given.append(options["softcap"])
        return "out", None

    monkeypatch.setattr(attention, "torch_attention", lambda: theirs)
    assert attend(MODULE, *states(), None, dropout=RATE, softcap=50.0) == ("out", None)
    assert given == [50.0]
    assert not calls


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_without_dropout_it_is_torchs_and_draws_nothing(dtype, mask, calls, monkeypatch):
    monkeypatch.setattr(attention, "_is_faster", lambda *_: True)
    inputs = [x.detach().to(dtype).requires_grad_() for x in states()]
    before = torch.get_rng_state()
    out, _ = attend(MODULE, *inputs, MASKS[mask])
    assert torch.equal(torch.get_rng_state(), before)
    assert [call["rate"] for call in calls] == [0.0]
    plain = torch.nn.functional.scaled_dot_product_attention
    truth = plain(*(x.double() for x in inputs), MASKS[mask]).transpose(1, 2)
    tolerance = {"rtol": 1e-2, "atol": 2e-2} if dtype == torch.bfloat16 else {}
    towards = torch.randn(truth.shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    torch.testing.assert_close(out, truth.to(dtype), **tolerance)
    expected = torch.autograd.grad(truth, inputs, towards.double())
    found = torch.autograd.grad(out, inputs, towards)
    torch.testing.assert_close(found, expected, **tolerance)


@pytest.fixture
def asked(monkeypatch, calls) -> list[str]:
    """Cases that `fastest` is asked for; both ways are computed once, and the core's is taken."""
    cases = []

    def fastest(kind, case, setting, ways):
        assert kind == "attention"
        assert "threads" in setting
        if case not in cases:
            cases.append(case)
            assert list(ways()) == ["torch", "core"]
            for compute in ways().values():
                compute()
            calls.clear()
        return "core"

    monkeypatch.setattr(attention, "fastest", fastest)
    return cases


def test_it_is_asked_which_way_is_faster_for_each_class_of_shapes_and_use(asked, calls):
    evaluated = SimpleNamespace(is_causal=False, training=False)
    state = torch.get_rng_state()
    with torch.no_grad():
        attend(MODULE, *states(), None)
        attend(evaluated, *states(), None)
        attend(evaluated, *states(queries=15, keys=15), None)
        attend(evaluated, *states(queries=5, keys=17), None)
        attend(evaluated, *states(dtype=torch.bfloat16, queries=1, keys=1, dim=1), None)
    attend(MODULE, *states(), None)
    assert asked == [
        "float32 4 4 8 training",
        "float32 4 4 8 encoding",
        "float32 3 5 8 encoding",
        "bfloat16 1 1 1 encoding",
    ]
    assert len(calls) == 2  # since the last question
    assert torch.equal(torch.get_rng_state(), state)


def test_long_texts_are_of_one_class_and_measured_at_a_moderate_length(asked):
    query = torch.randn(1, 2, 700, 8)
    attend(MODULE, query, query, query, None)
    attend(MODULE, query[:, :, :256], query, query, None)
    assert asked == ["float32 9 9 8 training"]


def test_a_measurement_keeps_nothing_where_saved_tensors_are_counted_or_autocast(asked):
    saved = []
    with (
        torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t),
        torch.autocast("cpu", torch.bfloat16),
    ):
        attend(MODULE, *(x.detach() for x in states()), None)
    assert len(asked) == 1
    assert not saved


@pytest.mark.parametrize("training", [False, True])
def test_without_dropout_it_is_torchs_own_where_that_is_faster(training, calls, monkeypatch):
    monkeypatch.setattr(attention, "fastest", lambda *_: "torch")
    query, key, value = states()
    module = SimpleNamespace(is_causal=False, training=training)
    out, _ = attend(module, query, key, value, None)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    assert torch.equal(out, expected.transpose(1, 2))
    assert not calls


@pytest.mark.parametrize("way", ["torch", "core"])
def test_the_variable_decides_without_dropout(way, calls, monkeypatch):
    monkeypatch.setenv("HYBRID_FAST_WAYS", f"attention={way}")
    monkeypatch.setattr(ways, "_chosen", {})
    attend(MODULE, *states(), None)
    assert bool(calls) is (way == "core")
    attend(MODULE, *states(), None, dropout=RATE)
    assert calls[-1]["rate"] == RATE


def test_a_mask_of_other_sizes_is_an_error():
    with pytest.raises(ValueError, match=r"seen has the shape \(1, 1, 1, 8\); it needs"):
        drop_attention(*states(), torch.ones(1, 1, 1, 8).bool(), rate=RATE, scale=1.0, causal=False)
