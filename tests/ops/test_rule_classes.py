"""Classes of masking rules: what is refused, several of one name, fields that are row numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from functools import partial

import pytest
import torch
import torch.distributed as dist
from loss_gradients import loss_and_gradients
from ranks import run_ranks
from torch import Tensor

from hybrid_fast.ops import MaskingRule, info_nce, per_pair, per_passage, per_query
from hybrid_fast.ops.agreement import _options
from hybrid_fast.ops.backends import cpu
from hybrid_fast.ops.negative_mask import NegativeMask
from hybrid_fast.ops.problem import Problem

EYE = torch.eye(3)


class Undecorated(MaskingRule):
    years: Tensor = per_query(torch.int64)

    def excluded(self, positives: Tensor) -> Tensor:
        raise AssertionError


@dataclass(frozen=True, kw_only=True)
class Slack(MaskingRule):
    years: Tensor = per_query(torch.int64)
    slack: int = 1

    def excluded(self, positives: Tensor) -> Tensor:
        raise AssertionError


def test_a_class_without_the_decorator_is_told_so():
    with pytest.raises(TypeError, match=r"Undecorated takes no years: .* put @dataclass\(frozen"):
        Undecorated(years=torch.arange(3))
    with pytest.raises(TypeError, match="Undecorated declares years, but it is no dataclass"):
        info_nce(EYE, EYE, rules=[Undecorated()])


def test_a_field_that_is_no_declared_tensor_is_refused():
    """Operators would replace it by its default."""
    for _ in range(2):
        with pytest.raises(TypeError, match="slack of Slack is not declared by per_query"):
            info_nce(EYE, EYE, rules=[Slack(years=torch.arange(3), slack=2)])


@dataclass(frozen=True, kw_only=True)
class Elsewhere(MaskingRule):
    def excluded(self, positives: Tensor) -> Tensor:
        return torch.zeros(3, 3, dtype=torch.bool, device="meta")


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_result_on_another_device_is_refused(backend):
    with pytest.raises(ValueError, match=r"Elsewhere.excluded returned .* on meta; need .*cpu"):
        info_nce(EYE, EYE, rules=[Elsewhere()], backend=backend)


def within(distance):
    @dataclass(frozen=True, kw_only=True)
    class Within(MaskingRule):
        years: Tensor = per_query(torch.int64)

        def excluded(self, positives: Tensor) -> Tensor:
            return (self.years[:, None] - torch.arange(5)).abs() <= distance

    return Within(years=torch.arange(5))


@pytest.mark.parametrize(
    ("compiles", "options"),
    [(False, {}), (False, {"recompute": True}), (False, {"reduction": "none"}), (True, {})],
    ids=str,
)
def test_classes_of_one_name_are_not_mistaken(compiles, options):
    torch._dynamo.reset()
    function = info_nce
    if compiles:
        function = torch.compile(info_nce, fullgraph=True, backend="aot_eager")
    queries, passages = torch.linspace(-3, 4, 40).reshape(2, 5, 4).sin()
    arguments = {"queries": queries.requires_grad_(), "passages": passages.requires_grad_()}
    rules = {distance: within(distance) for distance in (1, 3)}
    for distance, rule in rules.items():
        mask = (torch.arange(5)[:, None] - torch.arange(5)).abs() <= distance
        expected = loss_and_gradients(info_nce, {**arguments, "mask": mask, **options})
        found = loss_and_gradients(function, {**arguments, "rules": [rule], **options})
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name])


@dataclass(frozen=True, kw_only=True)
class OfQueries(MaskingRule):
    topics: Tensor = per_query(torch.int64)


@dataclass(frozen=True, kw_only=True, slots=True)
class OfPassages(MaskingRule):
    labels: Tensor = per_passage(torch.int64)


@dataclass(frozen=True, kw_only=True)
class OfBoth(OfQueries, OfPassages):
    def excluded(self, positives: Tensor) -> Tensor:
        return self.topics[:, None] == self.labels


def test_a_class_has_the_fields_of_all_its_bases():
    topics, labels = torch.tensor([0, 1, 0]), torch.tensor([0, 1, 2])
    rule = OfBoth(topics=topics, labels=labels)
    queries = EYE.clone().requires_grad_()
    found = info_nce(queries, EYE, rules=[rule], recompute=True)
    expected = info_nce(queries, EYE, mask=topics[:, None] == labels)
    assert torch.equal(*(torch.autograd.grad(loss, queries)[0] for loss in (found, expected)))


@dataclass(frozen=True, kw_only=True)
class Related(MaskingRule):
    """A second answer of the query, what was made of its positive, and what it brought itself."""

    answers: Tensor = per_query(torch.int64, refers_to="passages")
    sources: Tensor = per_passage(torch.int64, refers_to="passages")
    brought_by: Tensor = per_passage(torch.int64, refers_to="queries")

    def excluded(self, positives: Tensor) -> Tensor:
        rows, columns = torch.arange(len(positives)), torch.arange(len(self.sources))
        answers = self.answers[:, None] == columns
        made = self.sources == positives[:, None]
        return answers | made | (self.brought_by == rows[:, None])


@dataclass(frozen=True, kw_only=True)
class Pairs(MaskingRule):
    known: Tensor = per_pair(torch.bool)
    vectors: Tensor = per_passage(torch.float32, torch.float64, ndim=2)

    def excluded(self, positives: Tensor) -> Tensor:
        return self.known


SIZES = (20, 27), (11, 11)  # queries and passages of two ranks
ROWS, COLUMNS = (0, 20, 31), (0, 27, 38)  # the first of each rank


def part_of_rank(rank):
    """Return embeddings, and a rule whose row numbers are those of the rank."""
    num_queries, num_passages = SIZES[rank]
    generator = torch.Generator().manual_seed(rank)
    integers = partial(torch.randint, generator=generator)
    rule = Related(
        answers=integers(-1, num_passages, (num_queries,)),
        sources=integers(-1, num_passages, (num_passages,)),
        brought_by=integers(-1, num_queries, (num_passages,)),
    )
    embeddings = {
        "queries": torch.randn(num_queries, 5, generator=generator).requires_grad_(),
        "passages": torch.randn(num_passages, 5, generator=generator).requires_grad_(),
    }
    return embeddings, rule


def refused(loss, rank, width, **dtype):
    """Return what a rank is told of a rule with so many columns, or vectors of a dtype."""
    num_queries, num_passages = SIZES[rank]
    rule = Pairs(
        known=torch.zeros(num_queries, width, dtype=torch.bool),
        vectors=torch.zeros(num_passages, 2, **dtype),
    )
    try:
        loss(**part_of_rank(rank)[0], rules=[rule])
    except ValueError as error:
        return str(error)
    return ""


def work(rank, world_size):
    """Return loss and gradients of a rank by backend, and what it is told of bad rules."""
    cpu._FEWEST_ROWS = 8
    dist.init_process_group("gloo")
    loss = partial(info_nce, process_group=dist.group.WORLD, temperature=0.5)
    embeddings, rule = part_of_rank(rank)
    found = [
        loss_and_gradients(loss, {**embeddings, "rules": [rule], **options})
        for options in ({"backend": "reference"}, {"backend": "cpu", "max_scratch_bytes": 1})
    ]
    told = [
        refused(loss, rank, 38 - rank),
        refused(loss, rank, 38, dtype=(torch.float32, torch.float64)[rank]),
    ]
    dist.destroy_process_group()
    return found, told


def test_row_numbers_follow_ranks_and_what_one_refuses_all_do():
    results = run_ranks(work, 2)
    parts = [part_of_rank(rank) for rank in (0, 1)]
    mask = torch.zeros(31, 38, dtype=torch.bool)
    positives = torch.cat([torch.arange(20), 27 + torch.arange(11)])
    for rank, (_, rule) in enumerate(parts):
        of_rank = slice(ROWS[rank], ROWS[rank + 1]), slice(COLUMNS[rank], COLUMNS[rank + 1])
        mask[of_rank] = rule.excluded(torch.arange(SIZES[rank][0]))
    whole = {
        name: torch.cat([embeddings[name].detach() for embeddings, _ in parts]).requires_grad_()
        for name in ("queries", "passages")
    }
    arguments = {**whole, "positives": positives, "mask": mask, "temperature": 0.5}
    expected = loss_and_gradients(info_nce, arguments | {"backend": "reference"})
    for of_backend in zip(*(found for found, _ in results), strict=True):
        for name in ("queries", "passages"):
            gradient = torch.cat([part[name] for part in of_backend]) / 2
            torch.testing.assert_close(gradient, expected[name])
    for _, (of_width, of_dtype) in results:
        assert of_width.startswith("known of Pairs has 37 columns; need 38")
        assert re.search("differ in rules, by rank: .*vectors torch.float32 .*float64", of_dtype)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_row_numbers_and_widths_are_checked(backend):
    numbers = {"answers": torch.tensor([0, 3, 1]), "sources": torch.arange(3)}
    rule = Related(**numbers, brought_by=torch.arange(3))
    message = "answers of Related must be rows of passages, 0 to 2, or -1; first bad row: 1"
    with pytest.raises(ValueError, match=message):
        info_nce(EYE, EYE, rules=[rule], backend=backend)
    wide = Pairs(known=torch.ones(3, 4, dtype=torch.bool), vectors=torch.ones(3, 2))
    with pytest.raises(ValueError, match="known of Pairs has 4 columns; need 3"):
        info_nce(EYE, EYE, rules=[wide], backend=backend)


MAY_DIFFER = {"group_name", "max_scratch_bytes", "rules"}  # classes of rules are told apart


def test_ranks_agree_on_every_option():
    """Whoever adds an option to a problem is told that ranks have to agree on it."""
    problem = Problem(
        queries=EYE, passages=EYE, temperature=torch.tensor(1.0), positives=torch.arange(3)
    )
    names = {field.name for part in (Problem, NegativeMask) for field in fields(part)}
    names -= Problem.layouts.keys() | NegativeMask.layouts.keys() | {"negative_mask"}
    assert names - MAY_DIFFER <= _options(problem, 1.0).keys()
