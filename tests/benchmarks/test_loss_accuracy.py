"""The accuracy table of docs/infonce.md is what its JSON says, and errors are measured rightly."""

from __future__ import annotations

import json

import loss_accuracy
import pytest
import torch
from loss_accuracy import Case, Errors, loss_with_all_digits, measure, row, short


def test_the_page_has_the_table_of_the_newest_run():
    assert loss_accuracy.page() == loss_accuracy.PAGE.read_text(encoding="utf-8")


def test_the_newest_run_is_shown(tmp_path):
    newest = json.loads(max(loss_accuracy.RESULTS.glob("*-accuracy.json")).read_text("utf-8"))
    for date, size in (("2026-01-02", 64), ("2026-01-03", 4096)):
        found = newest | {"date": date, "size": size}
        (tmp_path / f"{date}-accuracy.json").write_text(json.dumps(found), encoding="utf-8")
    page = loss_accuracy.page(tmp_path)
    assert "4,096 x 384, 2026-01-03" in page
    assert "2026-01-02" not in page
    assert page.startswith("# The loss\n")
    assert "## How to add a masking rule" in page


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (3e-28, "3e-28"), (1.74e-4, "2e-4"), (0.05, "5e-2"), (0.31, ".3"), (1.2, "1")],
)
def test_short_numbers(value, text):
    assert short(value) == text


def test_a_row_names_what_is_special():
    errors = Errors(Case(0.005, 2.0, symmetric=True, longest=10), 0.4412, {"a": [1e-3, 0.5, 2e-9]})
    assert row(errors) == "| .005, symmetric, lengths from 1 to 10 | 0.44 | 1e-3 / .5 / 2e-9 |"


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_truth_is_cross_entropy_where_that_has_digits(symmetric):
    case = Case(0.05, 2.0, symmetric)
    inputs = [each.double() for each in loss_accuracy.embeddings(case, 40, 16)]
    logits = inputs[0] @ inputs[1].T / 0.05
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(40))
    if symmetric:
        other = torch.nn.functional.cross_entropy(logits.T, torch.arange(40))
        expected = (expected + other) / 2
    torch.testing.assert_close(loss_with_all_digits(case)(*inputs), expected)
    # Of a small one only the truth keeps them.
    easy = Case(0.01, 0.5, symmetric)
    inputs = [each.double() for each in loss_accuracy.embeddings(easy, 40, 16)]
    assert loss_with_all_digits(easy)(*inputs) > 0


def test_embeddings_are_what_bfloat16_holds():
    for each in loss_accuracy.embeddings(Case(0.05, 2.0, longest=10), 30, 16):
        assert torch.equal(each.bfloat16().float(), each)
        assert each.norm(dim=1).max() > 3 * each.norm(dim=1).min()


def test_errors_of_ways_that_are_known():
    """float32 is right to its digits; rounded scores are off where the loss is small."""
    found = measure(Case(0.05, 0.7), 128, 64, ["naive, bf16 scores", "naive, float32", "`cpu`"])
    rounded, exact, ours = found.of_ways.values()
    assert max(exact) < 5e-2
    assert min(rounded[1:]) > 5e-3 > max(ours)
    hard = measure(Case(0.05, 20.0), 128, 64, ["naive, float32"])
    assert max(hard.of_ways["naive, float32"]) < 1e-5
