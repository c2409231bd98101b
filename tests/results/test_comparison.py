"""Comparisons in the shape of results.json, and which run of a difference is the better one."""

import pytest

from hybrid_fast.results.comparison import (
    Comparison,
    ComparisonSettings,
    Difference,
    RunEstimate,
)


def difference(score=0.25, p_holm=0.01, setting="mono", metric="map", language=None):
    return Difference(metric, setting, language, score, 0.125, 0.5, "a", "b", 0.005, p_holm)


def test_keys_of_the_file():
    settings = ComparisonSettings(1000, 10000, 0, 0.95, 0.05)
    score = RunEstimate("map", "mono", "de", 0.5, 0.25, 0.75, "a")
    content = Comparison((score,), (difference(),), settings).to_dict()
    row = {"metric": "map", "setting": "mono"}
    interval = {"figure": 0.5, "low": 0.25, "high": 0.75}
    numbers = {"figure": 0.25, "low": 0.125, "high": 0.5, "p": 0.005, "p_holm": 0.01}
    assert content == {
        "figures": [{"run": "a", **row, "language": "de", **interval}],
        "differences": [{"a": "a", "b": "b", **row, "language": None, **numbers}],
        "settings": {
            "num_bootstrap": 1000,
            "num_exchanges": 10000,
            "seed": 0,
            "confidence": 0.95,
            "level": 0.05,
        },
    }
    assert list(content["differences"][0])[:5] == ["a", "b", "metric", "setting", "language"]


@pytest.mark.parametrize(
    ("score", "p", "higher_is_better", "better"),
    [
        (0.25, 0.049, True, "a"),
        (-0.25, 0.049, True, "b"),
        (0.25, 0.049, False, "b"),
        (-0.25, 0.049, False, "a"),
        (0.25, 0.05, True, None),
        (0.25, 0.01, None, None),
        (None, 0.01, True, None),
    ],
)
def test_the_better_run(score, p, higher_is_better, better):
    assert difference(score, p).better(higher_is_better, 0.05) == better


def test_differences_of_a_measure():
    rank_distance = difference(setting="multi", metric="rank_distance")
    overall, german = difference(), difference(language="de")
    settings = ComparisonSettings(1000, 10000, 0, 0.95, 0.05)
    comparison = Comparison((), (overall, german, rank_distance), settings)
    assert comparison.of("mono_map") == [overall]
    assert comparison.of("mono_map", "de") == [german]
    assert comparison.of("rank_distance") == [rank_distance]
    assert comparison.of("cross_map") == []
