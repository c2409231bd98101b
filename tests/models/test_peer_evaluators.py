"""Evaluators and tools of sentence-transformers on ours: the figures that its own model gets."""

import datasets
import numpy as np
import pytest

from hybrid_fast.models import BiEncoder

sentence_transformers = pytest.importorskip("sentence_transformers")
evaluation = pytest.importorskip("sentence_transformers.sentence_transformer.evaluation")
SequentialEvaluator = pytest.importorskip(
    "sentence_transformers.base.evaluation"
).SequentialEvaluator
util = sentence_transformers.util


@pytest.fixture(scope="module", params=["bert", "static"])
def pair(request, texts, tmp_path_factory):
    """Ours, and a SentenceTransformer of the same folder."""
    prompts = {"query_prompt": "the ", "passage_prompt": "in "}
    if request.param == "bert":
        model = BiEncoder.from_pretrained(request.getfixturevalue("bert_folder"), **prompts)
    else:
        model = BiEncoder.static(texts, dim=16, vocab_size=200, **prompts)
    folder = tmp_path_factory.mktemp("pair") / request.param
    model.save_pretrained(folder)
    return model, sentence_transformers.SentenceTransformer(str(folder), device="cpu")


def retrieval(texts, **options):
    queries = {str(i): text for i, text in enumerate(texts[:5])}
    corpus = {str(i): text for i, text in enumerate(texts)}
    relevant = {name: {str(int(name) + 1)} for name in queries}
    options = {"name": "own", "accuracy_at_k": [1, 3], "map_at_k": [5], **options}
    return evaluation.InformationRetrievalEvaluator(queries, corpus, relevant, **options)


def make(name, texts):
    """Return an evaluator by name, on a few texts."""
    first, second = texts[:5], texts[5:]
    samples = [
        {"query": text, "positive": [texts[i + 1]], "negative": texts[i + 2 :]}
        for i, text in enumerate(first)
    ]
    made = {
        "retrieval": lambda: retrieval(texts),
        "retrieval with prompts": lambda: retrieval(
            texts, query_prompt="sea ", corpus_prompt_name="document", truncate_dim=6
        ),
        "retrieval from chunks": lambda: retrieval(
            texts, corpus_chunk_size=4, show_progress_bar=True, main_score_function="cosine"
        ),
        "translation": lambda: evaluation.TranslationEvaluator(first, second, name="own"),
        "similarity": lambda: evaluation.EmbeddingSimilarityEvaluator(
            first, second, [0.1, 0.9, 0.3, 0.4, 0.0], name="own"
        ),
        "similarity of bits": lambda: evaluation.EmbeddingSimilarityEvaluator(
            first, second, [0.1, 0.9, 0.3, 0.4, 0.0], precision="ubinary", truncate_dim=8
        ),
        "classification": lambda: evaluation.BinaryClassificationEvaluator(
            first, second, [0, 1, 1, 0, 1]
        ),
        "triplets": lambda: evaluation.TripletEvaluator(first, second, texts[2:7], name="own"),
        "triplets by dot": lambda: evaluation.TripletEvaluator(
            first, second, texts[2:7], main_similarity_function="dot"
        ),
        "reranking": lambda: evaluation.RerankingEvaluator(samples),
        "reranking one by one": lambda: evaluation.RerankingEvaluator(
            samples, use_batched_encoding=False
        ),
        "paraphrases": lambda: evaluation.ParaphraseMiningEvaluator(
            {str(i): text for i, text in enumerate(texts)}, [("0", "1"), ("2", "3"), ("4", "5")]
        ),
        "several": lambda: SequentialEvaluator(
            [make("triplets", texts), make("retrieval", texts)], main_score_function=np.mean
        ),
    }
    return made[name]()


@pytest.mark.parametrize(
    "name",
    [
        "retrieval",
        "retrieval with prompts",
        "retrieval from chunks",
        "translation",
        "similarity",
        "similarity of bits",
        "classification",
        "triplets",
        "triplets by dot",
        "reranking",
        "reranking one by one",
        "paraphrases",
        "several",
    ],
)
def test_evaluators(pair, texts, tmp_path, name):
    results = []
    for model, folder in zip(pair, ("ours", "theirs"), strict=True):
        evaluator = make(name, texts)
        results.append(model.evaluate(evaluator, str(tmp_path / folder)))
    ours, theirs = results
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert ours[key] == pytest.approx(value, abs=1e-5), key
    written = sorted(path.name for path in (tmp_path / "theirs").iterdir())
    assert written == sorted(path.name for path in (tmp_path / "ours").iterdir())
    assert written
    for file in written:
        heads = [
            (tmp_path / name / file).read_text().splitlines()[0] for name in ("ours", "theirs")
        ]
        assert heads[0] == heads[1]


@pytest.mark.parametrize("teacher", [0, 1])
def test_distance_to_a_teacher(pair, texts, teacher):
    for student in pair:
        evaluator = evaluation.MSEEvaluator(texts, texts[::-1], teacher_model=pair[teacher])
        result = evaluator(student)["negative_mse"]
        expected = pair[1].encode(texts) - pair[1].encode(texts[::-1])
        assert result == pytest.approx(-100 * (expected**2).mean(), abs=1e-4)
    same = evaluation.MSEEvaluator(texts, texts, teacher_model=pair[teacher])
    assert same(pair[1 - teacher])["negative_mse"] == pytest.approx(0, abs=1e-8)


def test_distance_to_a_teacher_by_languages(pair, texts):
    rows = [{"en": first, "de": second} for first, second in zip(texts[:5], texts[5:], strict=True)]
    options = {"teacher_model": pair[1], "combinations": [("en", "de"), ("de", "en")]}
    ours, theirs = (
        evaluation.MSEEvaluatorFromDataFrame(rows, **options)(model)["negative_mse"]
        for model in pair
    )
    assert ours == pytest.approx(theirs, abs=1e-4)


def test_nano_beir(pair, texts, monkeypatch):
    parts = {
        "queries": [{"_id": str(i), "text": text} for i, text in enumerate(texts[:5])],
        "corpus": [{"_id": str(i), "text": text} for i, text in enumerate(texts)],
        "qrels": [{"query-id": str(i), "corpus-id": [str(i + 1)]} for i in range(5)],
    }
    nano_beir = evaluation.NanoBEIREvaluator
    monkeypatch.setattr(
        nano_beir,
        "_load_dataset_subset_split",
        lambda _, subset, **options: datasets.Dataset.from_list(parts[subset]),
    )
    prompts = {"query_prompts": {"scifact": "sea "}, "truncate_dim": 8}
    ours, theirs = (
        nano_beir(dataset_names=["scifact"], write_csv=False, **prompts)(model) for model in pair
    )
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert any(key.startswith("NanoBEIR_mean") for key in ours)


def test_metrics_are_kept(pair, texts):
    model, _ = pair
    found = make("translation", texts)(model)
    assert model.model_card_data.metrics["own"] == found


def test_semantic_search_and_communities(pair, texts):
    found = []
    for model in pair:
        queries = model.encode_query(texts[:3], convert_to_tensor=True)
        corpus = model.encode_document(texts, convert_to_tensor=True)
        hits = util.semantic_search(queries, corpus, top_k=4, score_function=model.similarity)
        groups = util.community_detection(corpus, threshold=0.3, min_community_size=2)
        found.append(([[hit["corpus_id"] for hit in each] for each in hits], groups))
    assert found[0] == found[1]


def test_paraphrase_mining(pair, texts):
    ours, theirs = (util.paraphrase_mining(model, texts, prompt_name="query") for model in pair)
    assert [pair[1:] for pair in ours] == [pair[1:] for pair in theirs]
    np.testing.assert_allclose([x[0] for x in ours], [x[0] for x in theirs], atol=1e-5)


def test_hard_negatives(pair, texts, tmp_path):
    pairs = datasets.Dataset.from_dict({"anchor": texts[:5], "positive": texts[5:]})
    mined = [
        util.mine_hard_negatives(
            pairs,
            model,
            num_negatives=2,
            query_prompt="sea ",
            verbose=False,
            cache_folder=str(tmp_path / type(model).__name__),
            output_format="n-tuple",
        )
        for model in pair
    ]
    assert mined[0].to_dict() == mined[1].to_dict()
    assert len(mined[0])


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_their_quantisation_of_our_embeddings(pair, texts, precision):
    quantize_embeddings = pytest.importorskip(
        "sentence_transformers.quantization"
    ).quantize_embeddings
    model, _ = pair
    for kinds in ({}, {"convert_to_tensor": True}, {"convert_to_numpy": False}):
        quantised = quantize_embeddings(model.encode(texts, **kinds), precision)
        np.testing.assert_array_equal(quantised, model.encode(texts, precision=precision))
