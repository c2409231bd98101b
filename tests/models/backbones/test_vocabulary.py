"""The trained tokenizer: normalisation, unsegmented scripts, determinism, sampling and weights."""

import math

import numpy as np
import pytest

from hybrid_fast.models.backbones import vocabulary
from hybrid_fast.models.backbones.vocabulary import sample_texts, token_weights, train_tokenizer


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("RIVER", "river"),
        ("ﬁsh １２", "fish 12"),  # compatibility forms
        ("كِتَابٌ", "كتاب"),  # vowel signs
        ("أحمد", "احمد"),
        ("مدينة", "مدينه"),
        ("ΠΟΤΑΜΌΣ", "ποταμός"),
    ],
)
def test_variants_of_a_word_are_one_token_sequence(texts, one, other):
    tokenizer = train_tokenizer([*texts, other], 300)
    assert tokenizer.encode(one).ids == tokenizer.encode(other).ids
    assert tokenizer.token_to_id("[UNK]") not in tokenizer.encode(one).ids


def test_words_numbers_and_punctuation_are_apart(texts):
    tokens = train_tokenizer(texts * 9, 300).encode("Sea1250!").tokens
    assert tokens == ["sea", "1250", "[UNK]"]


def test_unsegmented_scripts_get_words(texts):
    tokenizer = train_tokenizer(texts * 9, 300)
    for text in ("แม่น้ำเริ่มต้น", "这条河发源于山区"):
        assert len(tokenizer.encode(text).tokens) < len(text) / 2


def test_long_runs_are_cut_for_training_only():
    assert next(vocabulary._cut_long_runs(["山" * 20])).split() == ["山" * 8, "山" * 8, "山" * 4]
    assert next(vocabulary._cut_long_runs(["x" * 70])).split() == ["x" * 64, "x" * 6]
    assert next(vocabulary._cut_long_runs(["short words stay"])) == "short words stay"
    tokenizer = train_tokenizer(["山河" * 50, "x" * 500], 40)
    assert all(len(token) <= 16 for token in tokenizer.get_vocab())


@pytest.mark.parametrize("vocab_size", [30, 99, 200])  # the first two cannot hold the alphabet
def test_same_texts_give_the_same_tokenizer(texts, vocab_size):
    assert len({train_tokenizer(texts, vocab_size).to_str() for _ in range(5)}) == 1


@pytest.mark.parametrize("vocab_size", [16, 40, 100])
def test_vocabulary_is_never_larger_than_asked(texts, vocab_size):
    assert train_tokenizer(texts, vocab_size).get_vocab_size() <= vocab_size


def test_sample_is_seeded_and_bounded(texts, monkeypatch):
    assert sorted(sample_texts(texts, 0)) == sorted(texts)
    assert sample_texts(texts, 1) == sample_texts(texts, 1) != sample_texts(texts, 2)
    monkeypatch.setattr(vocabulary, "MAX_CHARACTERS", 50)
    monkeypatch.setattr(vocabulary, "MAX_CHARACTERS_A_TEXT", 20)
    sample = sample_texts([text * 3 for text in texts], 0)
    assert 50 <= sum(map(len, sample)) < 70
    assert max(map(len, sample)) == 20


def test_weights_are_idf_with_mean_one():
    texts = ["one two", "one three", "one two two", "one"]
    tokenizer = train_tokenizer(texts, 40)
    weights = token_weights(tokenizer, texts).numpy()
    assert weights.mean() == pytest.approx(1, rel=1e-5)
    by_token = {token: weights[row] for token, row in tokenizer.get_vocab().items()}
    ratio = math.log(5 / 2.5) / math.log(5 / 4.5)  # in 2 and in 4 of the 4 texts
    assert by_token["two"] / by_token["one"] == pytest.approx(ratio, rel=1e-5)
    assert by_token["[UNK]"] == weights.min() > 0
    assert np.isfinite(weights).all()
