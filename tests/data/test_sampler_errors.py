"""Bad options and columns of the batch plan: what was given, what is needed, what to do."""

from __future__ import annotations

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sampler_columns import complete

from hybrid_fast.data import AlignedTable, PlanIndex
from hybrid_fast.data.sampler import HybridBatchSampler
from hybrid_fast.data.sampling_weights import (
    parse_language_sampling,
    parse_pair_weights,
    parse_source_weights,
)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "monos"}, "did you mean 'mono'"),
        ({"alpha": 1.2}, "alpha is 1.2"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"batch_size": 0}, r"positive multiple of the number of ranks \(1\)"),
        ({"batch_size": 9, "world_size": 2}, r"multiple of the number of ranks \(2\)"),
        ({"rank": 2, "world_size": 2}, "rank is 2 of world_size 2"),
        ({"pairs": "single", "kind": "mixed"}, "for batches of one language use kind='mono'"),
        ({"pairs": "one"}, "one of 'mixed', 'single'"),
        ({"language_sampling": "unifrom"}, "did you mean 'uniform'"),
        ({"language_sampling": float("inf")}, "exponent"),
        ({"language_sampling": {"l000": 1, "xx": 2}}, "names 'xx', which the table does not have"),
        ({"language_sampling": {"l000": -1}}, "finite and non-negative"),
        ({"language_sampling": {"l000": 0}}, "one of them positive"),
        ({"pair_weights": {"l000-l00x": 1}}, "names 'l000-l00x'"),
        ({"source_weights": {"web": 1}}, "tells sources apart"),
        ({"sources": ["clean"] * 120, "source_weights": {"web": 1}}, "names 'web'"),
        ({"batch_size": 400}, "the largest batch_size that works is 40"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        complete(40, 3).sampler(**{"batch_size": 8, **options})


def test_numbers_of_the_wrong_type_are_named():
    columns = complete(40, 3)
    with pytest.raises(TypeError, match=r"batch_size is 8\.0; it must be a whole number"):
        columns.sampler(batch_size=8.0)
    with pytest.raises(TypeError, match=r"alpha is '0\.5'"):
        columns.sampler(batch_size=8, alpha="0.5")
    assert np.float32(0.5) == columns.sampler(batch_size=8, alpha=np.float32(0.5)).alpha
    with pytest.raises(TypeError, match="gives 'l000' the weight 'x'"):
        columns.sampler(batch_size=8, language_sampling={"l000": "x"})
    with pytest.raises(TypeError, match="language_sampling is None"):
        columns.sampler(batch_size=8, language_sampling=None)
    with pytest.raises(ValueError, match=r"step is 1\.5"):
        columns.sampler(batch_size=8).batch(1.5)


def test_bad_columns_are_named():
    with pytest.raises(ValueError, match="languages has shape"):
        HybridBatchSampler.from_arrays([1, 2], ["en"], batch_size=1)
    with pytest.raises(TypeError, match="languages is an array"):
        HybridBatchSampler.from_arrays([1, 2], [3, 4], batch_size=1)
    with pytest.raises(TypeError, match="group_ids is an array"):
        HybridBatchSampler.from_arrays([1.5, 2.5], ["en", "en"], batch_size=1)
    two = [1, 2], ["en", "de"]
    with pytest.raises(ValueError, match=r"passage_ids\[1\] is -5; -1 \(none\) or more"):
        HybridBatchSampler.from_arrays(*two, [3, -5], batch_size=1)
    with pytest.raises(ValueError, match="kind_mask must hold whole numbers from 0 to 7"):
        HybridBatchSampler.from_arrays(*two, kind_mask=[1, 8], batch_size=1)
    with pytest.raises(ValueError, match="ids must fit int64"):
        HybridBatchSampler.from_arrays(np.array([1, 2**63], np.uint64), two[1], batch_size=1)
    with pytest.raises(TypeError, match="has_query has type int64"):
        HybridBatchSampler.from_arrays(*two, has_query=[0, 1], batch_size=1)
    with pytest.raises(ValueError, match="no rows"):
        HybridBatchSampler.from_arrays(np.zeros(0, np.int64), np.zeros(0, "U2"), batch_size=1)


def table_of(rows, **columns):
    """Return a table of (group, language) rows, or of columns that replace some."""
    given = {
        "group_id": [group for group, _ in rows],
        "lang": [language for _, language in rows],
        "query": [f"q {row}" for row in rows],
        "passage": [f"p {row}" for row in rows],
    }
    return AlignedTable.from_columns(given | columns)


PARALLEL = [(n, language) for n in range(8) for language in ("de", "en")]
APART = [(f"{language}{n}", language) for n in range(8) for language in ("de", "en")]
SENTENCES = [f"{language} {n}" for n, language in PARALLEL]


@pytest.mark.parametrize("kind", ["cross", "hybrid"])
@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            table_of([(n, "en") for n in range(8)]),
            "all items are in one language, 'en'; add items in other",
        ),
        (table_of(APART), "none of the 2 languages are parallel: .*translations need one group_id"),
    ],
)
def test_data_without_translations_say_so(table, kind, alpha, message):
    with pytest.raises(ValueError, match=rf"no cross batch can be made: {message}") as caught:
        HybridBatchSampler(table, batch_size=4, kind=kind, alpha=alpha)
    assert "kind='mono'" in str(caught.value)
    assert "works is" not in str(caught.value)


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (
            table_of(PARALLEL, passage=[None] * 16),
            {},
            "no mono batch can be made: no item has a pas",
        ),
        (table_of(PARALLEL, query=[None] * 16), {"kind": "cross"}, "no item has a query$"),
        (
            table_of(PARALLEL, query=["q", None] * 8, passage=[None, "p"] * 8),
            {},
            "no item has both a query and a passage; give kind='cross'$",
        ),
        (
            table_of(PARALLEL, query=SENTENCES, passage=SENTENCES),
            {"kind": "mono"},
            "of 16 items with a query and a passage none may be in it: .*give kind='cross'",
        ),
        (
            table_of(PARALLEL, query=SENTENCES, passage=SENTENCES),
            {"kind": "hybrid", "alpha": 0.5},
            "no mono batch can be made: of 16 items",
        ),
        (
            table_of(PARALLEL, kinds=[["cross"]] * 16),
            {"kind": "mixed"},
            "no mixed batch can be made",
        ),
        (
            table_of(PARALLEL),
            {"kind": "cross", "pair_weights": {"de-de": 1}},
            "the weights leave out every pair of languages",
        ),
        (
            table_of(PARALLEL),
            {"kind": "cross", "language_sampling": {"de": 1}},
            "the weights leave out every pair of languages",
        ),
        (
            table_of(PARALLEL[:4]),
            {"kind": "mono", "batch_size": 16, "world_size": 16},
            "too few groups or passages for each of 16 ranks to get one",
        ),
    ],
)
def test_no_batch_at_all_has_its_reason(table, options, message):
    with pytest.raises(ValueError, match=message):
        HybridBatchSampler(table, **{"batch_size": 4, **options})


def test_bitext_gives_cross_batches_where_no_share_of_mono_is_asked_for(caplog):
    sentences = table_of(PARALLEL, query=SENTENCES, passage=SENTENCES)
    sampler = HybridBatchSampler(sentences, batch_size=4)
    assert (sampler.alpha, sampler.report().batches) == (0.0, {"cross": 4})
    assert "none of 16 items" in caplog.text
    assert HybridBatchSampler(table_of(PARALLEL), batch_size=4).alpha == 0.5


def test_a_batch_of_one_needs_hard_negatives():
    with pytest.raises(ValueError, match="batch_size is 1, and no item has hard negatives"):
        HybridBatchSampler(table_of(PARALLEL), batch_size=1)
    hard = table_of(PARALLEL, negatives=[["n"]] + [None] * 15)
    assert len(HybridBatchSampler(hard, batch_size=1).batch(0)) == 1


@pytest.mark.parametrize(
    ("pair", "hint"),
    [
        ("deu_Latn_eng_Latn", "; did you mean 'de-en'?"),
        ("de_en", "; did you mean 'de-en'?"),
        ("de->en", "; did you mean 'de-en'?"),
        ("zh-hant->en", "; did you mean 'zh-Hant-en'?"),
        ("xx", ""),
    ],
)
def test_a_pair_that_is_none_names_the_nearest_few(pair, hint):
    languages = ("de", "en", "zh-Hant", *(f"l{n:03}" for n in range(200)))
    with pytest.raises(
        ValueError, match="which the table does not have; a pair is a query"
    ) as caught:
        parse_pair_weights({pair: 1}, languages)
    message = str(caught.value)
    assert len(message) < 400
    assert "and 183 more" in message
    if hint.startswith(";"):
        assert message.endswith(hint)


def test_pairs_of_codes_with_hyphens():
    weights = parse_pair_weights({"zh-Hant-en": 2, "en-zh-Hant": 3}, ("en", "zh-Hant"))
    assert weights == [0, 3, 2, 0]


def test_languages_are_known_in_every_spelling():
    languages = ("de", "en", "zh", "zh-Hant")
    given = {"deu": 1, "eng_Latn": 2, "zho": 3, "zh_hant": 4}
    assert parse_language_sampling(given, languages) == (0.0, [1, 2, 3, 4])
    assert parse_language_sampling({"zh_Hans": 1}, languages) == (0.0, [0, 0, 1, 0])
    with pytest.raises(ValueError, match="language_sampling names 'de' and 'deu', which are one"):
        parse_language_sampling({"de": 1, "deu": 2}, languages)
    with pytest.raises(ValueError, match="source_weights names 'deu', which the table does not"):
        parse_source_weights({"deu": 1}, ("de", "en"))


def test_pairs_are_known_in_every_spelling():
    pairs = {"deu_Latn-eng_Latn": 1, "zh-hant-en": 2}
    weights = parse_pair_weights(pairs, ("de", "en", "zh-Hant"))
    assert weights == [0, 1, 0, 0, 0, 0, 0, 2, 0]
    with pytest.raises(ValueError, match="pair_weights names 'de-en' and 'deu-eng', which are one"):
        parse_pair_weights({"de-en": 1, "deu-eng": 2}, ("de", "en"))
    with pytest.raises(ValueError, match="names 'en-de-fr', which the table does not have"):
        parse_pair_weights({"en-de-fr": 1}, ("de", "en", "fr"))  # of German in France, or of French


@pytest.mark.parametrize("integer", [np.int64, np.int32, np.uint8, np.uint64])
@pytest.mark.parametrize("number", [np.float32, np.float64, np.float16, np.int64])
def test_numbers_of_numpy_are_numbers(integer, number):
    options = {
        "batch_size": 8,
        "seed": 200,
        "rank": 1,
        "world_size": 2,
        "alpha": 1,
        "language_sampling": {"de": 2, "en": 1},
        "pair_weights": {"de-en": 2},
        "source_weights": {"data": 1},
    }
    given = {
        name: {key: number(each) for key, each in value.items()}
        if isinstance(value, dict)
        else number(value)
        if name == "alpha"
        else integer(value)
        for name, value in options.items()
    }
    table = table_of([(n, lang) for n in range(400) for lang in ("de", "en")])
    plain, same = (HybridBatchSampler(table, **each) for each in (options, given))
    plain.set_epoch(60)
    same.set_epoch(integer(60))
    for expected, batch in zip(plain, same, strict=True):
        assert (expected.step, expected[:]) == (batch.step, batch[:])
    assert same.batch(integer(5))[:] == plain.batch(5)[:]
    assert same.report(integer(3)) == plain.report(3)
    assert HybridBatchSampler(table, batch_size=8, language_sampling=number(1)).batch(0)


def test_truth_values_are_no_numbers():
    for name in ("batch_size", "seed", "alpha", "language_sampling"):
        with pytest.raises(TypeError, match=f"{name} is True; it must be"):
            HybridBatchSampler(table_of(PARALLEL), **{"batch_size": 4, name: True})
    assert HybridBatchSampler(table_of(PARALLEL), batch_size=4, seed=np.int64(-1)).batch(0)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pa.array([2**32 - 1, None, 0, None], pa.uint32()), [2**32 - 1, -1, 0, -1]),
        (pa.array([1, None, 255, 0], pa.uint8()), [1, -1, 255, 0]),
        (
            pa.chunked_array([pa.array([2**63 - 1, None], pa.uint64()), [0, 1]]),
            [2**63 - 1, -1, 0, 1],
        ),
        (np.array([2**32 - 1, 1, 2, 3], np.uint32), [2**32 - 1, 1, 2, 3]),
    ],
)
def test_unsigned_ids_with_missing_ones_are_ids(ids, expected):
    given, plain = (
        HybridBatchSampler.from_arrays(
            [1, 1, 2, 2], ["de", "en"] * 2, each, batch_size=2, kind="cross"
        )
        for each in (ids, np.array(expected))
    )
    assert [given.batch(n)[:] for n in range(9)] == [plain.batch(n)[:] for n in range(9)]
    with pytest.raises(
        ValueError, match="passage_ids holds 9223372036854775808; ids must fit int64"
    ):
        HybridBatchSampler.from_arrays(
            [1], ["de"], pa.array([2**63], pa.uint64()), batch_size=1, kind="mono"
        )


@pytest.mark.parametrize("form", [pa.string_view(), pa.dictionary(pa.int8(), pa.large_string())])
def test_texts_of_any_arrow_type_are_columns_of_a_plan(form):
    languages = pa.array(["de", "en"] * 2, pa.large_string())
    given = (
        languages.dictionary_encode().cast(form)
        if pa.types.is_dictionary(form)
        else languages.cast(form)
    )
    sampler = HybridBatchSampler.from_arrays(
        ["a", "a", "b", "b"], given, batch_size=2, kind="cross"
    )
    assert sampler.languages == ("de", "en")


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (
            datasets.Dataset.from_dict({"query": ["q"]}),
            r"got Dataset; load_table\(data\) makes one",
        ),
        (datasets.DatasetDict(), r"got DatasetDict; load_table\(splits, split='train'\) makes"),
        (pd.DataFrame({"query": ["q"]}), r"got DataFrame; load_table\(data\)"),
        (pa.table({"query": ["q"]}), r"got Table; load_table\(data\)"),
        ({"query": ["q"]}, r"got dict; load_table\(columns\)"),
        ([{"query": "q"}], r"got list; load_table\(data\)"),
        ("table.jsonl", r"got str; load_table\('table\.jsonl'\)"),
        (None, r"got NoneType; load_table\(path_or_data\)"),
    ],
)
def test_what_is_no_table_is_a_type_error_that_names_the_door(value, hint):
    with pytest.raises(TypeError, match=f"an AlignedTable is needed, {hint}"):
        HybridBatchSampler(value, batch_size=4)
    with pytest.raises(TypeError, match=f"an AlignedTable is needed, {hint}"):
        PlanIndex.of_table(value)
    with pytest.raises(TypeError, match=f"an AlignedTable is needed, {hint}"):
        AlignedTable.concatenate([value])
