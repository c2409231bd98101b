"""Measures: which score is the best, and how scores are read and printed."""

from run_contents import make_run

from hybrid_fast.results.measures import (
    BIAS_MEASURES,
    HEADLINE,
    MEASURES,
    RANK_DISTANCE,
    RANK_DISTANCES,
    bias_measures,
    metric_measures,
)


def test_best_is_lowest_for_distances_and_none_if_all_tie():
    assert HEADLINE[0].best_positions([0.1, None, 0.3]) == {2}
    assert HEADLINE[0].best_positions([0.10001, 0.10002, 0.05]) == {0, 1}
    assert RANK_DISTANCE.best_positions([300.0, 200.0]) == {1}
    assert HEADLINE[0].best_positions([0.2, 0.2]) == set()
    assert HEADLINE[0].best_positions([None, None]) == set()


def test_names_are_those_of_flat_results():
    run = make_run()
    read = {measure.name: measure.read(run) for measure in MEASURES}
    assert {name: value for name, value in read.items() if value is not None} == run.flat()
    assert [measure.read(run) for measure in RANK_DISTANCES] == [12.5, 12.0, 0.125]


def test_headline_by_query_language():
    run = make_run(grid={"map": {"de": {"de": 0.9, "th": 0.2, "zh": 0.4, "en": None, "all": 0.3}}})
    assert [measure.read_language(run, "de") for measure in HEADLINE[:2]] == [0.9, (0.2 + 0.4) / 2]
    assert [measure.read_language(run, "de") for measure in HEADLINE[2:]] == [0.3, 12.5]
    assert [measure.read_language(run, "fi") for measure in HEADLINE] == [None] * len(HEADLINE)


def test_measures_of_bias_are_empty_without_rankings_and_read_levels_of_any_run():
    run, bias = make_run(), {"rank_distance": 1.0, "by_language": {}}
    assert [measure.read(run) for measure in bias_measures([run])] == [None] * len(BIAS_MEASURES)
    scores = {"figure": 0.25, "by_language": {"de": 0.5}}
    bias |= {"language_share_gap@20": 0.75, "query_language_preference": {**scores, "chance": 0.1}}
    bias |= {"mrc": scores, "mrc@20": {"figure": -1}, "peer@20": {"grade 2": scores, "none": None}}
    other = make_run(language_bias=bias)
    measures = bias_measures([run, other])
    assert [measure.title for measure in measures[-2:]] == ["MRC@20", "PEER@20, grade 2"]
    assert [measure.read(other) for measure in measures] == [0.75, 0.25, 0.1, 0.25, -1, 0.25]
    by_language = [measure.read_language(other, "de") for measure in measures]
    assert by_language == [None, 0.5, None, 0.5, None, 0.5]
    assert all(measure.meaning for measure in measures)
    assert [measure.read(run) for measure in measures] == [None] * len(measures)
    assert measures[1].best_positions([0.1, 0.9]) == set()  # neither direction is good


def test_metrics_of_any_run_have_measures_by_setting():
    scores = {"map": 0.5, "recall@1": 0.25, "recall@10": 0.75}
    metrics = dict.fromkeys(("mono", "cross", "multi"), scores) | {"official": {"r@2kt": 0.25}}
    found = metric_measures([make_run(), make_run(metrics=metrics)])
    assert list(found) == ["mono", "cross", "multi", "official"]
    assert [measure.title for measure in found["mono"]] == ["mAP", "recall@1", "recall@10"]
    (official,) = found["official"]
    assert (official.name, official.title) == ("official_r@2kt", "R@2kt")
    assert official.read(make_run()) is None


def test_scores_are_printed_as_fractions_or_ranks():
    fraction = HEADLINE[0]
    assert [fraction.show(0.12345), fraction.show(None), fraction.show(None, "?")] == [
        "0.123",
        "-",
        "?",
    ]
    assert [RANK_DISTANCE.show(value) for value in (12.34, 1234.4)] == ["12.3", "1,234"]
    assert [fraction.show_signed(-0.5), RANK_DISTANCE.show_signed(2029.1)] == ["-0.500", "+2,029.1"]
    assert fraction.show_signed(None) == "-"
    assert fraction.show_spread([0.7, None, 0.9]) == "0.800 ± 0.141"
    assert fraction.show_spread([None, 0.5]) == "0.500"
