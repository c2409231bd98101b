"""Random problems with any options together: the CPU backend against the definition in float64.

Other files try one option at a time; here are a hundred mixtures, in chunks of a few rows, of
operands in any layout.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hybrid_fast.cpu import products, ways
from hybrid_fast.ops import info_nce
from hybrid_fast.ops.backends import cpu

# Of a gradient, relative to its terms: bfloat16 rounds W, float16 the gradients themselves.
TOLERANCES = {
    torch.float64: 1e-11,
    torch.float32: 1e-5,
    torch.float16: 2e-3,
    torch.bfloat16: 1.5e-2,
}
WAYS = ["nt=torch, nn=torch, tn=torch", "core"]
LAYOUTS = {
    "rows": torch.Tensor.clone,
    "columns": lambda matrix: matrix.T.contiguous().T,
    "rows apart": lambda matrix: torch.cat([matrix, matrix], dim=1)[:, : matrix.shape[1]],
    "every second row": lambda matrix: matrix.repeat_interleave(2, dim=0)[::2],
}


@pytest.fixture(params=WAYS, autouse=True)
def small_pieces(request, monkeypatch):
    """Several chunks of few rows, and a choice for every product, however small."""
    monkeypatch.setenv("HYBRID_FAST_WAYS", request.param)
    monkeypatch.setattr(ways, "_chosen", {})
    monkeypatch.setattr(products, "_FEWEST", 1)
    monkeypatch.setattr(cpu, "_FEWEST_ROWS", 8)
    monkeypatch.setattr(cpu, "MOST_ROWS", 24)


@st.composite
def problems(draw):
    """Return embeddings in float64, options of `info_nce`, and those of the CPU backend alone."""
    num_queries, dim = draw(st.integers(1, 70)), draw(st.integers(1, 40))
    num_passages = num_queries + draw(st.sampled_from([0, 1, 30]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))

    def ids(size):
        return torch.randint(-1, 9, (size,), generator=generator)

    def vectors(size):
        return F.normalize(torch.randn(size, dim, generator=generator, dtype=torch.float64), dim=1)

    positives = {
        "in order": torch.arange(num_queries),
        "anywhere": torch.randperm(num_passages, generator=generator)[:num_queries],
        "repeated": torch.arange(num_queries) // 3,
    }[draw(st.sampled_from(["in order", "anywhere", "repeated"]))]
    options = {"positives": positives, "normalize": draw(st.booleans())}
    options["symmetric"] = draw(st.booleans())
    options["reduction"] = draw(st.sampled_from(["none", "sum", "mean"]))
    if draw(st.booleans()):
        options |= {"query_groups": ids(num_queries), "passage_groups": ids(num_passages)}
    if draw(st.booleans()):
        options["passage_ids"] = ids(num_passages)
        if draw(st.booleans()):
            options["query_passage_ids"] = ids(num_queries)
    if draw(st.booleans()):
        share = draw(st.sampled_from([0.2, 0.9, 1.1]))
        options["mask"] = torch.rand(num_queries, num_passages, generator=generator) < share
    if draw(st.booleans()):
        options["margin"] = draw(st.sampled_from([-0.1037, 0.0513]))
    has_others = len(positives.unique()) < num_passages
    if has_others and not options["symmetric"] and draw(st.booleans()):
        options["negatives"] = "hard_only"
    fast = {"recompute": draw(st.booleans())}
    fast["max_scratch_bytes"] = draw(st.sampled_from([None, 1, 5000]))
    passages = vectors(num_passages)
    queries = passages[positives] + draw(st.sampled_from([0.3, 2.0])) * vectors(num_queries)
    return F.normalize(queries, dim=1), passages, options, fast


def weights_of(kind, size):
    """Return weights (size,) that are 0 nowhere, here and there, or everywhere."""
    steps = torch.linspace(0.1, 2, size, dtype=torch.float64)
    return {"some": steps * (torch.arange(size) % 3 > 0), "all": steps, "none": 0 * steps}[kind]


def loss_and_gradients(leaves, **options):
    """Return the loss and the gradients of those that want one."""
    queries, passages, temperature, weights = leaves
    loss = info_nce(queries, passages, temperature=temperature, weights=weights, **options)
    upstream = torch.linspace(1, 2, loss.numel(), dtype=loss.dtype).reshape(loss.shape)
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    gradients = torch.autograd.grad(loss, wanted, upstream) if wanted else ()
    return [loss.detach(), *gradients]


@given(
    problem=problems(),
    dtype=st.sampled_from(list(TOLERANCES)),
    temperature=st.sampled_from([0.02, 0.1, 2.0]),
    layouts=st.tuples(*[st.sampled_from(list(LAYOUTS))] * 2),
    weighted=st.sampled_from(["all", "some", "none"]),
    needs_grad=st.tuples(*[st.booleans()] * 4),
)
@settings(
    max_examples=2 * settings.default.max_examples,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_options_together(problem, dtype, temperature, layouts, weighted, needs_grad):
    *embeddings, options, fast = problem
    embeddings = [
        LAYOUTS[layout](matrix.to(dtype))
        for layout, matrix in zip(layouts, embeddings, strict=True)
    ]
    weights = weights_of(weighted, len(embeddings[0]))
    given = [*embeddings, torch.tensor(temperature, dtype=torch.float64), weights]

    def leaves(change):
        return [
            change(tensor.detach()).requires_grad_(needed)
            for tensor, needed in zip(given, needs_grad, strict=True)
        ]

    truth = loss_and_gradients(leaves(torch.Tensor.double), backend="reference", **options)
    found = loss_and_gradients(leaves(lambda tensor: tensor), backend="cpu", **options, **fast)
    # Terms may cancel: a logit reaches 1 / temperature, as does the gradient of an embedding.
    heaviest = 2 * max(weights.max().item() if options["reduction"] != "mean" else 1, 1)
    terms = heaviest / temperature
    for place, (value, expected) in enumerate(zip(found, truth, strict=True)):
        tolerance = TOLERANCES[dtype]
        scale = max(expected.abs().max().item(), terms)
        if place == 0:
            tolerance = 1e-13 if dtype == torch.float64 else 5e-6
        elif expected.ndim == 0:
            scale = max(scale, terms / temperature)  # of the temperature
        assert (value - expected).abs().max().item() <= tolerance * scale
