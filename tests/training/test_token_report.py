"""What the tokens of a table lose, counted by language: unknown tokens, equal texts, cut texts."""

from __future__ import annotations

import logging
from functools import partial

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from toy_training import make_args, make_table

from hybrid_fast.data import AlignedTable, open_token_store
from hybrid_fast.models import BiEncoder
from hybrid_fast.models.backbones.static import StaticBackbone
from hybrid_fast.training import HybridTrainer
from hybrid_fast.training.token_report import LanguageCounts, count_tokens, report_tokens

WORDS = ["[UNK]", *"abcdefghij"]


def make_model(words=WORDS, **prompts) -> BiEncoder:
    """Knows single letters; every other word is unknown."""
    tokenizer = Tokenizer(
        models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    static = BiEncoder.static(WORDS, dim=8, vocab_size=100)
    weights = static.backbone.embedding.weight.detach()[:1].repeat(len(words), 1)
    return BiEncoder(StaticBackbone(tokenizer, weights.contiguous()), **prompts)


def table_of(queries: dict[str, list[str]], negatives=None) -> AlignedTable:
    keys = [(n, lang) for lang in queries for n in range(len(queries[lang]))]
    columns = {
        "group_id": [str(n) for n, _ in keys],
        "lang": [lang for _, lang in keys],
        "query": [queries[lang][n] for n, lang in keys],
        "passage": [f"{'abcdefghij'[n]} {'abcdefghij'[k]}" for k, (n, _) in enumerate(keys)],
    }
    if negatives:
        columns["negatives"] = [negatives.get(key, []) for key in keys]
    return AlignedTable.from_columns(columns)


def store_of(table, side, model, folder):
    tokenize = partial(model.token_ids, side=side)
    return open_token_store(table, side, tokenize, model.tokenizer_key(side), folder)


TABLE = {"en": ["a b", "b a c", "a  b", "d x"], "th": ["สะพาน", "แม่น้ำ a", "โรงสี", "บ้าน"]}


def test_counts_by_language(tmp_path):
    model, table = make_model(), table_of(TABLE)
    store = store_of(table, "query", model, tmp_path)
    assert count_tokens(table, store, unknown_id=0, max_length=3) == [
        LanguageCounts("en", texts=4, alike=2, full=1, tokens=9, unknown=1),
        LanguageCounts("th", texts=4, alike=3, full=0, tokens=5, unknown=4),
    ]
    assert [c.unknown for c in count_tokens(table, store)] == [0, 0]


def test_hard_negatives_count_for_the_language_of_their_row(tmp_path):
    table = table_of(TABLE, {(1, "th"): ["ตลาด วัด", "a b c d e"], (0, "en"): ["j j"]})
    store = store_of(table, "passage", make_model(), tmp_path)
    en, th = count_tokens(table, store, unknown_id=0, max_length=5)
    assert (en.texts, en.unknown, en.full) == (5, 0, 0)
    assert (th.texts, th.unknown, th.full) == (6, 2, 1)


def trained(table, model, tmp_path, caplog, **options):
    """The lines of the log when a trainer is made."""
    with caplog.at_level(logging.INFO, logger="hybrid_fast"):
        args = make_args(tmp_path / "out", batch_size=2, kind="mono",
                         token_store=str(tmp_path), **options)  # fmt: skip
        HybridTrainer(model, args, table)
    return [r.getMessage() for r in caplog.records if r.name.endswith("token_report")]


def test_languages_above_a_share_are_named_before_the_first_step(tmp_path, caplog):
    unknown, alike = trained(table_of(TABLE), make_model(), tmp_path, caplog)
    assert unknown.startswith("queries: th 80%, en 11% of the tokens are unknown")
    assert alike.startswith("queries: th 75%, en 50% of the different texts have the same tokens")


@pytest.mark.parametrize("prompt", ["a b c d e f g h i j ", "query: a passage: "])
def test_the_prompt_counts_for_nothing(tmp_path, caplog, prompt):
    model = make_model(query_prompt=prompt)
    unknown, _ = trained(table_of(TABLE), model, tmp_path, caplog)
    assert unknown.startswith("queries: th 80%, en 11% of the tokens")


def test_a_text_may_end_with_the_unknown_token(tmp_path, xlm_roberta_folder, caplog):
    """Of GPT-2 and its kin the token that ends a text is the unknown one, too."""
    model = BiEncoder.from_pretrained(xlm_roberta_folder)
    tokenizer = model.backbone.tokenizer
    tokenizer.unk_token = tokenizer.eos_token
    ids, lengths, _ = model.token_ids(["sea"], "query")
    assert ids[lengths[0] - 1] == model.backbone.unknown_id
    table = table_of({"en": ["sea", "river", "the sea", "the river"]})
    lines = trained(table, model, tmp_path, caplog)
    assert [line for line in lines if "are unknown to the tokenizer" in line] == []


def test_nothing_is_said_of_texts_that_differ(tmp_path, caplog):
    table = table_of({"en": ["a b", "b a", "c", "d"], "de": ["e", "f", "g", "h"]})
    assert trained(table, make_model(), tmp_path, caplog) == []


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (["สะพาน", "แม่น้ำ x", "โรงสี y z"], "all 6 tokens of the 3 different queries are unknown"),
        (["สะพาน b", "แม่น้ำ b", "โรงสี b"], "the 3 different queries all have the same 2 tokens"),
    ],
)  # fmt: skip
def test_texts_that_are_all_one_are_an_error(tmp_path, caplog, queries, message):
    with pytest.raises(ValueError, match=message):
        trained(table_of({"th": queries}), make_model(), tmp_path, caplog)


def test_one_text_alone_is_no_error(tmp_path):
    table, model = table_of({"en": ["a"], "de": ["a"]}), make_model()
    store = store_of(table, "query", model, tmp_path)
    assert len(store.tokens) == 1
    report_tokens(table, store, "query", model)


def test_most_texts_cut_is_a_warning(tmp_path, xlm_roberta_folder, caplog):
    model = BiEncoder.from_pretrained(xlm_roberta_folder, max_query_length=9, max_passage_length=12)
    with caplog.at_level(logging.INFO, logger="hybrid_fast"):
        HybridTrainer(model, make_args(tmp_path), make_table())
    (cut,) = [r for r in caplog.records if "different passage texts exceed 12 tokens" in r.message]
    assert cut.levelno == logging.WARNING
    assert "are truncated: de 100%, en 100%, fr 100% are that long" in cut.message


def test_what_is_reported_by_language_is_not_said_by_the_model_too(
    tmp_path, xlm_roberta_folder, caplog
):
    """Truncated texts that are encoded later are said then."""
    model = BiEncoder.from_pretrained(xlm_roberta_folder, max_query_length=9, max_passage_length=12)
    HybridTrainer(model, make_args(tmp_path, token_store=str(tmp_path / "new")), make_table())
    assert model.num_truncated["passage"] > 0
    assert not [r for r in caplog.records if r.name.endswith("token_counts")]
    model.encode_passages(["one word after another " * 9] * 2)
    (later,) = [r.getMessage() for r in caplog.records if r.name.endswith("token_counts")]
    assert later.startswith("A passage has more than 12 tokens and was truncated")
