"""With a process group the mean over ranks is the loss, and its gradient, of the global batch.

Two gloo processes with uneven batches run every case once and compare with one process; one
test reads the errors of each.
"""

from dataclasses import dataclass, field

import pytest
import torch
import torch.distributed as dist
from ranks import run_ranks

from hybrid_fast.ops import distributed, info_nce

WORLD_SIZE = 2
GROUPS = torch.tensor([0, 1, 2, 0, 1, -1])
PASSAGE_GROUPS = torch.tensor([0, 1, 2, 0, -1, 1, 0, 1, -1, 2, 5])
IDS = torch.tensor([3, 4, 5, 3, -1, 4, 3, 9, -1, 5, 3])


@dataclass(frozen=True)
class Case:
    """One call; tensors among `rows` belong to queries, among `columns` to passages."""

    options: dict = field(default_factory=dict)
    rows: dict = field(default_factory=dict)
    columns: dict = field(default_factory=dict)
    num_queries: tuple[int, int] = (4, 2)
    num_passages: tuple[int, int] = (7, 4)
    dtype: torch.dtype = torch.float64
    tolerance: float = 1e-12


def random_mask():
    return torch.rand(6, 11, generator=torch.Generator().manual_seed(3)) < 0.3


WEIGHTS = torch.tensor([0.5, 2.0, 0.0, 1.0, 3.0, 0.25], dtype=torch.float64)
EVERYTHING = Case(
    {"symmetric": True, "margin": 0.4, "normalize": True},
    {"query_groups": GROUPS, "mask": random_mask(), "weights": WEIGHTS,
     "positives": torch.tensor([6, 1, 1, 0, 2, 0])},
    {"passage_groups": PASSAGE_GROUPS, "passage_ids": IDS},
)  # fmt: skip
CASES = {
    "even": Case(num_queries=(3, 3), num_passages=(3, 3)),
    "uneven": Case(num_queries=(1, 5), num_passages=(1, 5)),
    "hard negatives": Case(),
    "symmetric": Case({"symmetric": True}),
    "sum": Case({"reduction": "sum"}),
    "none": Case({"reduction": "none", "symmetric": True}),
    "hard only": Case({"negatives": "hard_only"}),
    "hard only, on one rank": Case({"negatives": "hard_only"}, num_passages=(4, 7)),
    "positives": Case({"symmetric": True}, {"positives": torch.tensor([6, 1, 1, 0, 3, 0])}),
    "groups": Case({}, {"query_groups": GROUPS}, {"passage_groups": PASSAGE_GROUPS}),
    "ids": Case({"symmetric": True}, {}, {"passage_ids": IDS}),
    "ids of queries": Case({}, {"query_passage_ids": GROUPS}, {"passage_ids": IDS}),
    "mask": Case({}, {"mask": random_mask()}),
    "mask, symmetric": Case({"symmetric": True}, {"mask": random_mask()}),
    "margin": Case({"margin": 0.3, "normalize": True}),
    "margin, symmetric": Case({"margin": 0.3, "symmetric": True}),
    "weights": Case({}, {"weights": WEIGHTS}),
    "weights of one rank only": Case({}, {"weights": torch.tensor([1.0, 2, 0, 1, 0, 0])}),
    "zero weights": Case({"symmetric": True}, {"weights": torch.zeros(6)}),
    "everything": EVERYTHING,
    "float32": Case({"symmetric": True}, dtype=torch.float32, tolerance=2e-6),
    # Each rank rounds its part of a gradient once, to 8 bits.
    "bfloat16": Case({"symmetric": True}, dtype=torch.bfloat16, tolerance=1e-2),
}
# Of gradients, between ranks; gloo can do both, and takes the first by itself.
EXCHANGES = {"all-reduce": False, "reduce-scatter": True}
MISUSES = {
    "options": "differ in symmetric, by rank: \\[0, 1\\]",
    "backends": "differ in backend, by rank: \\['reference', 'cpu'\\]",
    "margins": "differ in margin, by rank: \\[None, 0.25\\]",
    "temperatures": "differ in temperature, by rank: \\[0.05, 0.07\\]",
    "precisions": "differ in precision, by rank: \\[None, 'bf16'\\]",
    "dtypes": "differ in dtype, by rank: \\[torch.float32, torch.float64\\]",
    "learned temperature": "differ in temperature, by rank: \\[None, 0.05\\]",
    "dimensions": "differ in embedding dimension, by rank: \\[3, 4\\]",
    "gradient": "differ in whether passages needs a gradient",
    "owners": "differ in whether owners is given",
    "mask": "mask has 4 columns; need 6",
    "hard_only": "hard_only.*all 6 are",
}


REFUSED_ALONE = {
    "no tensor": ("TypeError", "queries must be a torch.Tensor, got list"),
    "no number": ("ValueError", "queries has NaN or infinite values; first bad row: 0"),
    "no rows": ("ValueError", "queries has shape (0, 3)"),
    "fewer passages": ("ValueError", "got 1 passages for 2 queries"),
    "two dtypes": ("TypeError", "passages is torch.float64 but queries is torch.float32"),
    "unknown option": ("ValueError", "reduction"),
    "unknown backend": ("ValueError", "backend 'triton' is not"),
    "positives": ("ValueError", "positives must be columns of passages, 0 to 3"),
    "weights": ("ValueError", "weights must be finite and at least 0; first bad row: 1"),
    "groups": ("ValueError", "query_groups is given without passage_groups"),
    "owners": ("ValueError", "first bad row: 3"),
    "in_batch": ("ValueError", "owners"),
}


def own_rows(sizes, rank):
    return slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))


def relative_error(value, truth):
    scale = truth.abs().max().clamp(min=torch.finfo(torch.float64).tiny)
    return ((value - truth).abs().max() / scale).item()


def leaves(*tensors):
    return [tensor.detach().clone().requires_grad_() for tensor in tensors]


def run_case(case, rank):
    """Return the largest relative error of this rank's loss and gradients."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((sum(case.num_queries), 5), (sum(case.num_passages), 5))
    queries, passages = (
        torch.randn(shape, generator=generator, dtype=torch.float64).to(case.dtype)
        for shape in shapes
    )
    temperature = torch.tensor(0.6, dtype=torch.float64)
    rows, columns = (own_rows(n, rank) for n in (case.num_queries, case.num_passages))

    local = leaves(queries[rows], passages[columns], temperature)
    share = info_nce(
        *local[:2],
        temperature=local[2],
        process_group=dist.group.WORLD,
        **case.options,
        **{name: tensor[rows] for name, tensor in case.rows.items()},
        **{name: tensor[columns] for name, tensor in case.columns.items()},
    )
    share.sum().backward()

    whole = leaves(queries, passages, temperature)
    arguments = {**case.rows, **case.columns}
    if "positives" in arguments or case.num_passages != case.num_queries:
        arguments["positives"] = global_positives(case)
    loss = info_nce(*whole[:2], temperature=whole[2], **case.options, **arguments)
    loss.sum().backward()

    keeps_rows = case.options.get("reduction") == "none"
    num_shares = 1 if keeps_rows else WORLD_SIZE
    temperature_gradient = local[2].grad.clone()
    dist.all_reduce(temperature_gradient)
    value = share.detach().clone()
    if not keeps_rows:
        dist.all_reduce(value)
    pairs = [
        (value / num_shares, loss.detach()[rows] if keeps_rows else loss.detach()),
        (local[0].grad / num_shares, whole[0].grad[rows]),
        (local[1].grad / num_shares, whole[1].grad[columns]),
        (temperature_gradient / num_shares, whole[2].grad),
    ]
    return max(relative_error(value.double(), truth.double()) for value, truth in pairs)


def global_positives(case):
    parts = []
    for rank in range(WORLD_SIZE):
        rows = own_rows(case.num_queries, rank)
        default = torch.arange(case.num_queries[rank])
        local = case.rows["positives"][rows] if "positives" in case.rows else default
        parts.append(local + sum(case.num_passages[:rank]))
    return torch.cat(parts)


def misuse(name, rank):
    """Call as a careless user would, who is refused; the ranks have two and four rows."""
    num_rows = (2, 4)[rank]
    queries, passages = torch.ones(num_rows, 3), torch.ones(num_rows, 3)
    options = {}
    if name == "options":
        options["symmetric"] = rank == 1
    elif name == "dimensions":
        queries, passages = torch.ones(num_rows, 3 + rank), torch.ones(num_rows, 3 + rank)
    elif name == "backends":
        options |= {"symmetric": True, "backend": ("reference", "cpu")[rank]}
    elif name == "margins":
        options["margin"] = (None, 0.25)[rank]
    elif name == "temperatures":
        options["temperature"] = (0.05, 0.07)[rank]
    elif name == "precisions":
        options["precision"] = (None, "bf16")[rank]
    elif name == "dtypes" and rank == 1:
        queries, passages = queries.double(), passages.double()
    elif name == "learned temperature":
        options["temperature"] = (torch.tensor(0.05), 0.05)[rank]
    elif name == "gradient":
        passages.requires_grad_(rank == 0)
    elif name == "owners":
        options |= {"margin": 0.25, **({"owners": torch.full((2,), -1)} if rank == 0 else {})}
    elif name == "mask":
        options["mask"] = torch.zeros(num_rows, 4, dtype=torch.bool)
    elif name == "hard_only":
        options["negatives"] = "hard_only"
    with pytest.raises(ValueError, match=MISUSES[name]):
        info_nce(queries, passages, process_group=dist.group.WORLD, **options)
    return True


def refuse_alone(name, rank):
    """Call with arguments that rank 1 refuses by itself; return the error of this rank."""
    queries, passages = torch.ones(2, 3), torch.ones(4, 3)
    arguments = {}
    if rank == 1:
        queries, passages, arguments = {
            "no tensor": ([[1.0]], passages, {}),
            "no number": (queries / 0 * 0, passages, {}),
            "no rows": (queries[:0], passages, {}),
            "fewer passages": (queries, passages[:1], {}),
            "two dtypes": (queries, passages.double(), {}),
            "unknown option": (queries, passages, {"reduction": "max"}),
            "unknown backend": (queries, passages, {"backend": "triton"}),
            "positives": (queries, passages, {"positives": torch.tensor([0, 4])}),
            "weights": (queries, passages, {"weights": torch.tensor([1.0, -1.0])}),
            "groups": (queries, passages, {"query_groups": torch.tensor([1, 2])}),
            "owners": (queries, passages, {"owners": torch.tensor([-1, 0, 1, 2])}),
            "in_batch": (queries, passages, {"in_batch": torch.tensor([True, False])}),
        }[name]
    with pytest.raises((ValueError, TypeError)) as caught:
        info_nce(queries, passages, process_group=dist.group.WORLD, **arguments)
    return f"{type(caught.value).__name__}: {caught.value}"


def count_collectives():
    """Return how many collectives a plain loss and its gradient take."""
    counts, names = [], ("all_gather", "all_reduce", "broadcast", "reduce_scatter_tensor")
    originals = {name: getattr(dist, name) for name in names}
    for name in names:
        setattr(dist, name, lambda *a, f=originals[name], **k: (counts.append(1), f(*a, **k))[1])
    queries, passages = leaves(torch.ones(2, 3), torch.ones(4, 3))
    info_nce(queries, passages, process_group=dist.group.WORLD).backward()
    for name, original in originals.items():
        setattr(dist, name, original)
    return len(counts)


def work(rank, world_size):
    """Return the errors (exchange, case), misuses refused, errors alone, number of collectives."""
    dist.init_process_group("gloo")
    errors = []
    for reduce_scatters in EXCHANGES.values():
        distributed._reduce_scatters = lambda group, answer=reduce_scatters: answer
        errors.append([run_case(case, rank) for case in CASES.values()])
    refused = [misuse(name, rank) for name in MISUSES]
    alone = [refuse_alone(name, rank) for name in REFUSED_ALONE]
    num_collectives = count_collectives()
    dist.destroy_process_group()
    return errors, refused, alone, num_collectives


@pytest.fixture(scope="module")
def outcome():
    """Return what `work` does, each by rank."""
    errors, refused, alone, counts = zip(*run_ranks(work, WORLD_SIZE), strict=True)
    return torch.tensor(errors, dtype=torch.float64), torch.tensor(refused), alone, counts


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("name", CASES)
def test_equals_one_process(outcome, name, exchange):
    errors, *_ = outcome
    found = errors[:, list(EXCHANGES).index(exchange), list(CASES).index(name)]
    assert found.max() <= CASES[name].tolerance


@pytest.mark.parametrize("name", MISUSES)
def test_all_ranks_refuse_calls_that_do_not_match(outcome, name):
    _, refused, *_ = outcome
    assert refused[:, list(MISUSES).index(name)].all()


@pytest.mark.parametrize("name", REFUSED_ALONE)
def test_what_one_rank_refuses_all_refuse_with_its_reason(outcome, name):
    there, here = (errors[list(REFUSED_ALONE).index(name)] for errors in outcome[2])
    kind, _, reason = here.partition(": ")
    assert kind == REFUSED_ALONE[name][0]
    assert REFUSED_ALONE[name][1] in reason
    assert there == f"OtherRankError: rank 1 of process_group: {reason}"


def test_that_costs_no_collective(outcome):
    """Sizes, passages and the sum of weights are gathered, the gradient is reduced."""
    assert outcome[3] == (4, 4)
