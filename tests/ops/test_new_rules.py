"""A masking rule of one's own, added as docs/infonce.md tells; and where a rule of ours stands."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loss_gradients import loss_and_gradients
from random_problems import problems
from ranks import run_ranks
from torch import Tensor

from hybrid_fast import _core
from hybrid_fast.ops import MaskingRule, info_nce, per_passage, per_query
from hybrid_fast.ops.backends import cpu
from hybrid_fast.ops.negative_mask import NegativeMask
from hybrid_fast.ops.problem import InfoNCEOptions, InfoNCETensors, Problem
from hybrid_fast.ops.reference import _not_owned, excluded_columns

BACKENDS = ("reference", "cpu")


@dataclass(frozen=True, kw_only=True)
class NotYetWritten(MaskingRule):
    """A passage that is younger than the query is no negative."""

    query_years: Tensor = per_query(torch.int64)
    passage_years: Tensor = per_passage(torch.int64)

    def excluded(self, positives: Tensor) -> Tensor:
        return self.passage_years[None, :] > self.query_years[:, None]


@dataclass(frozen=True, kw_only=True)
class Guide(MaskingRule):
    """What another model scores above the positive is no negative (GISTEmbed, arXiv 2402.16829)."""

    query_vectors: Tensor = per_query(torch.float32, torch.float64, ndim=2)
    passage_vectors: Tensor = per_passage(torch.float32, torch.float64, ndim=2)

    def excluded(self, positives: Tensor) -> Tensor:
        ROWS.append(len(positives))
        scores = self.query_vectors @ self.passage_vectors.T
        return scores > scores.gather(1, positives[:, None])


ROWS = []  # that a guide was asked for at a time


def years(size, seed=0):
    return torch.randint(1990, 1996, (size,), generator=torch.Generator().manual_seed(seed))


def not_yet_written(num_queries, num_passages):
    return NotYetWritten(query_years=years(num_queries), passage_years=years(num_passages, 1))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(cpu, "_FEWEST_ROWS", 8)
    monkeypatch.setattr(cpu, "MOST_ROWS", 24)


WITHOUT_RULES = {
    "cpu": problems(rule=st.just(False)),
    "reference": problems(rule=st.just(False), precision=st.none()),
}


@pytest.mark.parametrize("backend", BACKENDS)
@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_rule_is_a_mask_with_any_other_options(backend, data):
    problem = data.draw(WITHOUT_RULES[backend], label="problem")
    arguments = problem.arguments() | {"backend": backend}
    if backend == "cpu":
        arguments["recompute"] = problem.kinds.recompute
    rule = not_yet_written(len(arguments["queries"]), len(arguments["passages"]))
    found = loss_and_gradients(info_nce, {**arguments, "rules": [rule]})
    mask = rule.excluded(None)
    if "mask" in arguments:
        mask = mask | arguments["mask"]
    expected = loss_and_gradients(info_nce, {**arguments, "mask": mask})
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("options", [{}, {"symmetric": True}, {"reduction": "none"}], ids=str)
def test_a_guide_is_asked_for_some_rows_at_a_time(options):
    generator = torch.Generator().manual_seed(0)
    queries, passages = torch.randn(2, 50, 7, generator=generator)
    guide = Guide(
        query_vectors=torch.randn(50, 3, generator=generator),
        passage_vectors=torch.randn(50, 3, generator=generator),
    )
    scores = guide.query_vectors @ guide.passage_vectors.T
    arguments = {"queries": queries.requires_grad_(), "passages": passages.requires_grad_()}
    arguments |= {"backend": "cpu", "max_scratch_bytes": 1} | options
    ROWS.clear()
    found = loss_and_gradients(info_nce, {**arguments, "rules": [guide]})
    assert max(ROWS) == 8
    mask = scores > scores.diagonal()[:, None]
    expected = loss_and_gradients(info_nce, {**arguments, "mask": mask})
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(("dtype", "of_scores"), [(torch.float32, 4), (torch.float64, 8)], ids=str)
def test_what_a_rule_returns_counts_as_scratch_memory(dtype, of_scores):
    vectors = torch.zeros(40, 3, dtype=dtype)

    def rows_of_chunk(rules):
        problem = Problem(
            queries=vectors,
            passages=vectors,
            temperature=torch.tensor(1.0),
            positives=torch.arange(40),
            negative_mask=NegativeMask(rules=rules),
            max_scratch_bytes=12 * 40 * of_scores,
        )
        return cpu.make_kernels(problem, True).rows_per_chunk()

    assert rows_of_chunk(()) == 12
    assert rows_of_chunk((not_yet_written(40, 40),)) == 12 * of_scores // (of_scores + 1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("recompute", [False, True])
def test_rules_are_compiled(backend, recompute):
    torch._dynamo.reset()
    queries, passages = torch.linspace(-3, 4, 40).reshape(2, 5, 4).sin()
    rules = [not_yet_written(5, 5), not_yet_written(5, 5)]
    arguments = {"queries": queries.requires_grad_(), "passages": passages.requires_grad_()}
    arguments |= {"backend": backend, "recompute": recompute, "rules": rules}
    compiled = torch.compile(info_nce, fullgraph=True, backend="aot_eager")
    expected = loss_and_gradients(info_nce, arguments)
    for name, value in loss_and_gradients(compiled, arguments).items():
        torch.testing.assert_close(value, expected[name])


SIZES = (4, 7), (6, 6)  # queries and passages of two ranks


def of_rank(rank):
    num_queries, num_passages = SIZES[rank]
    generator = torch.Generator().manual_seed(rank)
    return {
        "queries": torch.randn(num_queries, 5, generator=generator).requires_grad_(),
        "passages": torch.randn(num_passages, 5, generator=generator).requires_grad_(),
    }


def work(rank, world_size):
    """Return loss and gradients of a rank by backend, and what it is told of other rules there."""
    dist.init_process_group("gloo")
    loss = partial(info_nce, process_group=dist.group.WORLD, temperature=0.5)
    rule = NotYetWritten(
        query_years=years(SIZES[rank][0], rank), passage_years=years(SIZES[rank][1], rank + 7)
    )
    found = [
        loss_and_gradients(loss, {**of_rank(rank), "backend": backend, "rules": [rule]})
        for backend in BACKENDS
    ]
    message = ""
    try:
        loss(**of_rank(rank), rules=[rule] * rank)
    except ValueError as error:
        message = str(error)
    dist.destroy_process_group()
    return found, message


def test_rules_follow_the_columns_of_all_ranks():
    results = run_ranks(work, 2)
    tensors = [of_rank(rank) for rank in (0, 1)]
    whole = {name: torch.cat([part[name].detach() for part in tensors]) for name in tensors[0]}
    columns = torch.cat([years(size, rank + 7) for rank, (_, size) in enumerate(SIZES)])
    rows = torch.cat([years(size, rank) for rank, (size, _) in enumerate(SIZES)])
    positives = torch.cat([torch.arange(4), 7 + torch.arange(6)])
    arguments = {name: tensor.requires_grad_() for name, tensor in whole.items()}
    arguments |= {"positives": positives, "mask": columns[None, :] > rows[:, None]}
    loss = partial(info_nce, temperature=0.5, backend="reference")
    expected = loss_and_gradients(loss, arguments)
    for place, _ in enumerate(BACKENDS):
        parts = [found[place] for found, _ in results]
        # The mean over ranks is the global loss, and so is that of gradients.
        mean = sum(part["loss"] for part in parts) / 2
        torch.testing.assert_close(mean, expected["loss"])
        for name in ("queries", "passages"):
            gradient = torch.cat([part[name] for part in parts]) / 2
            torch.testing.assert_close(gradient, expected[name])
    assert all("differ in rules" in message for _, message in results)


BAD_RULES = {
    "rules must be of MaskingRule, got list": [[1]],
    "rules must be a sequence of MaskingRule, got Tensor": torch.ones(3),
    "rules must be a sequence of MaskingRule, got NotYetWritten": not_yet_written(3, 3),
    "query_years of NotYetWritten has shape (4,); need (3,)": [not_yet_written(4, 3)],
    "passage_years of NotYetWritten has dtype torch.float32; need torch.int64": [
        NotYetWritten(query_years=years(3), passage_years=torch.ones(3))
    ],
    "passage_years of NotYetWritten must be a torch.Tensor, got NoneType": [
        NotYetWritten(query_years=years(3))
    ],
}


@pytest.mark.parametrize("message", BAD_RULES)
def test_a_rule_is_checked_as_other_arguments_are(message):
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        info_nce(torch.eye(3), torch.eye(3), rules=BAD_RULES[message])


@dataclass(frozen=True, kw_only=True)
class Wrong(MaskingRule):
    result: Tensor = per_query(torch.bool, torch.int64)

    def excluded(self, positives: Tensor) -> Tensor:
        return self.result


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("result", "got"),
    [
        (torch.ones(3, dtype=torch.bool), r"torch.bool \(3,\)"),
        (torch.ones(3, dtype=torch.int64), r"torch.int64 \(3,\)"),
    ],
)
def test_what_a_rule_returns_is_checked(backend, result, got):
    message = rf"Wrong.excluded returned {got}; need torch.bool \(3, 3\)"
    with pytest.raises(TypeError, match=message):
        info_nce(torch.eye(3), torch.eye(3), rules=[Wrong(result=result)], backend=backend)


MASK_SCORES = Path(__file__).parents[2] / "csrc/core/contrast_rows_impl.h"
IN_OTHER_FORMS = {"excluded_columns", "rules"}  # of `negatives`; a part of the mask of a chunk
NAMES = sorted({field.name for field in fields(NegativeMask)} - IN_OTHER_FORMS)


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_stands_wherever_rules_do(name):
    """Whoever adds a field to NegativeMask is told where it is missing."""
    assert name in inspect.signature(info_nce).parameters
    assert name in InfoNCETensors.__annotations__ | InfoNCEOptions.__annotations__
    assert f"mask.{name}" in inspect.getsource(excluded_columns) + inspect.getsource(_not_owned)
    assert f"{name}:" in _core.NegativeMask.__init__.__doc__
    assert f"m.{name}" in MASK_SCORES.read_text()
    kernels = Path(cpu.__file__).with_name("triton_mask.py").read_text()
    assert f"negative_mask.{name.replace('margin', 'limits')}" in kernels
