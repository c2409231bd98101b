"""The table at the end of a benchmark run."""

from __future__ import annotations

import pytest
from headlines import BUDGETS_S, Headline, notes, number, table


def test_a_ratio_says_how_many_times_better_ours_is():
    time = Headline("loss", "float32", "s", ours=0.5, baselines={"naive": 1.5})
    rate = Headline("plan", "hybrid", "M/s", ours=30, baselines={"plain Python": 0.5})
    assert time.ratio("naive") == 3
    assert rate.ratio("plain Python") == 60


@pytest.mark.parametrize(
    ("unit", "ours", "bound", "verdict"),
    [
        ("M/s", 31, 30, ">= 30 met"),
        ("M/s", 29, 30, ">= 30 missed"),
        ("MiB", 29, 30, "<= 30 met"),
        ("MiB", 31, 30, "<= 30 missed"),
        ("s", 0.04, 0.05, "<= 50 met"),  # in ms
    ],
)
def test_a_bound_is_on_ours(unit, ours, bound, verdict):
    ((*_, goal),) = Headline("plan", "case", unit, ours, bound=bound).rows()
    assert goal == verdict


def test_rows_of_one_case():
    found = Headline(
        "loss", "float32", "s", 0.25, {"naive": 0.5, "cached loss": 2.0}, {"naive": 1.9}, bound=1
    )
    assert found.rows() == [
        ("float32", "ms", "250", "", "", "", "<= 1,000 met"),
        ("", "", "", "500", "naive", "2x", ">= 1.9x met"),
        ("", "", "", "2,000", "cached loss", "8x", ""),
    ]
    missed = Headline("loss", "float32", "s", 2.0, {"naive": 2.0}, {"naive": 1.9})
    assert missed.rows() == [("float32", "s", "2", "2", "naive", "1x", ">= 1.9x missed")]
    assert Headline("loss", "alone", "s", 3).rows() == [("alone", "s", "3", "", "", "", "")]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.00238, "0.0024"), (0.0123, "0.0123"), (0.999, "0.999"), (1.3, "1.3"),
     (12.34, "12.3"), (123.4, "123"), (1234.5, "1,234"), (6e-5, "6e-05")],
)  # fmt: skip
def test_numbers(value, text):
    assert number(value) == text


def test_parts_stand_in_their_order_with_what_they_took():
    lines = table(
        [
            Headline("plan", "hybrid", "M/s", 40, {"plain Python": 0.25}, {"plain Python": 30}),
            Headline("loss", "float32", "s", 1.0),
        ],
        {"loss": 12.4},
    )
    assert lines[1] == f"loss (12 s of {BUDGETS_S['loss']})"
    assert lines[3] == f"plan (0 s of {BUDGETS_S['plan']})"
    assert lines[4].split() == "hybrid M/s 40 0.25 plain Python 160x >= 30x met".split()
    assert len(lines) == 5


def test_what_ran_reduced_is_said_once():
    reduced = [Headline("ranks", case, "s", 1, reduced="fewer queries") for case in ("a", "b")]
    assert notes(reduced)[1:] == ["  ranks: fewer queries"]
    assert notes([Headline("ranks", "a", "s", 1)]) == []


def test_a_default_run_is_planned_to_take_ten_minutes_at_most():
    of_real_encoder = {"real encoder", "engines"}  # for those who have one, and as long again
    with_real_encoder = sum(BUDGETS_S[part] for part in of_real_encoder)
    assert sum(BUDGETS_S.values()) - with_real_encoder <= 600
    assert BUDGETS_S["real encoder"] <= 600
    assert BUDGETS_S["engines"] <= 600
