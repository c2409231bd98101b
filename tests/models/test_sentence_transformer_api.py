"""The methods of a SentenceTransformer on ours: the same calls, the same answers."""

import inspect
import math

import datasets
import numpy as np
import pytest
import torch

from hybrid_fast.models import BiEncoder

PROMPTS = {"query_prompt": "the ", "passage_prompt": "in "}
OPTIONS = [
    {},
    {"prompt_name": "query"},
    {"prompt": "sea "},
    {"batch_size": 3},
    {"normalize_embeddings": True, "truncate_dim": 5},
    {"truncate_dim": 5},
    {"convert_to_tensor": True},
    {"convert_to_numpy": False},
    {"precision": "int8"},
    {"precision": "uint8", "convert_to_tensor": True},
    {"precision": "binary", "convert_to_numpy": False},
    {"precision": "ubinary", "truncate_dim": 9},
    {"precision": None, "show_progress_bar": True},
    {"device": "cpu"},
]


@pytest.fixture(scope="module", params=["bert", "qwen", "static", "raw"])
def pair(request, texts, tmp_path_factory):
    """Ours, and a SentenceTransformer of the same folder."""
    SentenceTransformer = pytest.importorskip("sentence_transformers").SentenceTransformer
    if request.param == "static":
        model = BiEncoder.static(texts, dim=16, vocab_size=200, **PROMPTS)
    else:
        name = "qwen_folder" if request.param == "qwen" else "bert_folder"
        lengths = {"max_query_length": 9, "max_passage_length": 14}
        model = BiEncoder.from_pretrained(
            request.getfixturevalue(name), normalize=request.param != "raw", **lengths, **PROMPTS
        )
    folder = tmp_path_factory.mktemp("pair") / request.param
    model.save_pretrained(folder)
    return model, SentenceTransformer(str(folder), device="cpu")


def as_array(embeddings):
    if isinstance(embeddings, list):
        return np.array([as_array(row) for row in embeddings])
    return np.asarray(embeddings, dtype=np.float32)


def assert_equal(ours, theirs, tolerance=1e-5):
    assert type(ours) is type(theirs)
    if not isinstance(ours, list):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    np.testing.assert_allclose(as_array(ours), as_array(theirs), atol=tolerance)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", ["encode", "encode_query", "encode_document"])
def test_encodes_as_a_sentence_transformer(pair, texts, name, options):
    ours, theirs = (getattr(model, name)([*texts, "", "river " * 30], **options) for model in pair)
    # A value at the edge of a bucket, or at zero, may fall on either side.
    is_quantised = options.get("precision", None) is not None
    assert_equal(ours, theirs, tolerance=1 if is_quantised and "int8" in str(options) else 1e-5)


@pytest.mark.parametrize("options", [{}, {"convert_to_tensor": True}, {"convert_to_numpy": False}])
def test_one_text_and_none(pair, options):
    for texts in ("The river.", "", [], ["Sea."]):
        ours, theirs = (model.encode_query(texts, **options) for model in pair)
        assert_equal(ours, theirs)


def test_any_sequence_of_texts(pair, texts):
    model, _ = pair
    expected = model.encode(texts)
    column = datasets.Dataset.from_dict({"text": texts})["text"]
    for given in (tuple(texts), np.array(texts), np.array(texts, object), column, iter(texts)):
        np.testing.assert_array_equal(model.encode(given), expected)


def test_token_embeddings(pair, texts):
    ours, theirs = pair
    if not ours.max_length:
        with pytest.raises(ValueError, match="a static encoder has no token embeddings"):
            ours.encode(texts, output_value="token_embeddings")
        return
    theirs.tokenizer.padding_side = "right"
    for given in (texts, "The river."):
        for options in ({}, {"convert_to_tensor": True}):
            options |= {"output_value": "token_embeddings", "batch_size": 4}
            found, expected = (model.encode_document(given, **options) for model in pair)
            assert type(found) is type(expected)
            if given is texts:
                for one, other in zip(found, expected, strict=True):
                    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
            else:
                torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_ours_are_the_same_bits(pair, texts):
    model, _ = pair
    np.testing.assert_array_equal(model.encode_query(texts), model.encode_queries(texts))
    np.testing.assert_array_equal(model.encode_document(texts), model.encode_passages(texts))


def test_similarities(pair, texts):
    ours, theirs = pair
    for name in ("cosine", "dot"):
        ours.similarity_fn_name = theirs.similarity_fn_name = name
        left, right = ours.encode_query(texts[:4]), ours.encode_document(texts)
        for a, b in (
            (left, right),
            (torch.from_numpy(left), list(right)),
            (list(torch.from_numpy(left)), right.tolist()),
            (left[0], right),
            (left.astype(np.float16), torch.from_numpy(right).bfloat16()),
        ):
            torch.testing.assert_close(ours.similarity(a, b), theirs.similarity(a, b))
            torch.testing.assert_close(
                ours.similarity_pairwise(a, b[: len(a)] if len(a) == 4 else b),
                theirs.similarity_pairwise(a, b[: len(a)] if len(a) == 4 else b),
            )
    ours.similarity_fn_name = theirs.similarity_fn_name = "cosine"
    frozen = right.copy()
    frozen.flags.writeable = False
    assert ours.similarity(frozen, frozen).diagonal().allclose(torch.ones(len(texts)))


def test_shapes_that_do_not_fit():
    model = BiEncoder.static(["the river"], dim=8, vocab_size=99)
    ones = np.ones((3, 8), dtype=np.float32)
    for other, shapes in (
        (ones[:, :4], r"\(3, 8\) and \(3, 4\); \(n, D\) or \(D,\) is needed, with one D"),
        (ones[None], r"\(3, 8\) and \(1, 3, 8\)"),
        (3.0, r"\(3, 8\) and \(\)"),
        ([], r"\(3, 8\) and \(0,\)"),
    ):
        for method in (model.similarity, model.similarity_pairwise):
            with pytest.raises(ValueError, match=f"embeddings have the shapes {shapes}"):
                method(ones, other)
    with pytest.raises(ValueError, match="there are 3 and 2 embeddings; as many of both"):
        model.similarity_pairwise(ones, ones[:2])
    assert model.similarity(ones, ones[:2]).shape == (3, 2)


def test_similarity_may_be_given_by_their_names():
    enum = pytest.importorskip("sentence_transformers").SimilarityFunction
    model = BiEncoder.static(["the river"], dim=8, vocab_size=99, normalize=False)
    model.similarity_fn_name = enum.DOT_PRODUCT
    assert model.similarity_fn_name == "dot"
    with pytest.raises(ValueError, match="similarity is 'euclidean'; it must be one of 'cosine'"):
        model.similarity_fn_name = enum.EUCLIDEAN
    model.similarity_fn_name = None
    assert model.similarity_fn_name == "cosine"


def test_attributes(pair):
    ours, theirs = pair
    for name in ("prompts", "default_prompt_name", "similarity_fn_name", "truncate_dim", "device"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.get_embedding_dimension() == theirs.get_embedding_dimension()
    assert ours.max_seq_length == theirs.max_seq_length
    assert ours.dtype == theirs.dtype == torch.float32
    assert ours.tokenizer is ours.backbone.tokenizer


def test_older_names_that_much_code_uses(pair, texts):
    ours, theirs = pair
    with pytest.warns(FutureWarning, match="get_embedding_dimension"):
        dim = theirs.get_sentence_embedding_dimension()
    assert ours.get_sentence_embedding_dimension() == dim
    with ours.truncate_embeddings(4):
        assert ours.get_sentence_embedding_dimension() == 4
    for name in ("encode", "encode_query", "encode_document"):
        encode = getattr(ours, name)
        np.testing.assert_array_equal(
            encode(sentences=texts, batch_size=3), encode(texts, batch_size=3)
        )
        assert_equal(encode(sentences=texts[0]), getattr(theirs, name)(sentences=texts[0]))
        with pytest.raises(TypeError, match="inputs and sentences are given"):
            encode(inputs=texts, sentences=texts)


def test_max_seq_length(bert_folder, texts):
    model = BiEncoder.from_pretrained(bert_folder, max_query_length=9, query_prompt="the river ")
    assert model.max_seq_length == 256
    model.max_seq_length = 20
    assert model.max_length == {"query": 20, "passage": 20}
    text = " ".join(texts)
    cut = model.encode_document(text, output_value="token_embeddings")
    assert len(cut) == len(model.encode(text, output_value="token_embeddings")) == 20
    for length, message in ((301, "max_query_length is 301"), ("9", "is '9'"), (4, "alone fills")):
        with pytest.raises(ValueError, match=message):
            model.max_seq_length = length
        assert model.max_length == {"query": 20, "passage": 20}
    static = BiEncoder.static(texts, dim=8, vocab_size=99)
    assert static.max_seq_length == math.inf
    with pytest.raises(ValueError, match="static encoder has no maximum length"):
        static.max_seq_length = 9


def test_tasks_choose_the_length(bert_folder, texts):
    model = BiEncoder.from_pretrained(bert_folder, max_query_length=15, max_passage_length=7)
    text = " ".join(texts)
    lengths = {task: 15 if task != "document" else 7 for task in (None, "query", "document")}
    for task, length in lengths.items():
        states = model.encode(text, output_value="token_embeddings", task=task)
        assert len(states) == length
    with pytest.raises(ValueError, match=r"task is 'queries'; .* did you mean 'query'"):
        model.encode(text, task="queries")


def test_signatures_are_theirs():
    theirs = pytest.importorskip("sentence_transformers").SentenceTransformer
    for name in ("encode", "encode_query", "encode_document"):
        ours = inspect.signature(getattr(BiEncoder, name)).parameters
        for parameter in inspect.signature(getattr(theirs, name)).parameters.values():
            if parameter.kind is not parameter.VAR_KEYWORD:
                assert ours[parameter.name].default == parameter.default
    names = [*inspect.signature(theirs.encode).parameters][:-1]
    assert [*inspect.signature(BiEncoder.encode).parameters][: len(names)] == names


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"precision": "int4"}, ValueError, "precision is 'int4'; it must be one of 'float32'"),
        ({"output_value": None}, ValueError, "output_value is None; it must be one of 'sent"),
        ({"batch_size": 0}, ValueError, "batch_size is 0; it must be at least 1"),
        ({"truncate_dim": 99}, ValueError, "truncate_dim is 99; .* have 8 dimensions"),
        ({"truncate_dim": 0}, ValueError, "truncate_dim is 0; .* from 1 to 8"),
        ({"prompt": 3}, TypeError, "prompt is 3; it must be a string"),
        ({"device": "nowhere"}, ValueError, "device is 'nowhere', which cannot be used here"),
        ({"device": []}, ValueError, "device is empty; name one for each process"),
        ({"device": ["cpu", "nowhere"]}, ValueError, "device is 'nowhere', which is not here"),
        ({"device": ["cpu", "cuda:99"]}, ValueError, "device is 'cuda:99', which is not here"),
        ({"pool": {"input": None}}, ValueError, "pool is no pool of this model but {'input'"),
        ({"max_length": 9}, TypeError, "unexpected keyword argument 'max_length'"),
        ({"precision": "int8", "output_value": "token_embeddings"}, ValueError, "float32 alone"),
    ],
)
def test_bad_options(options, error, message):
    model = BiEncoder.static(["the river"], dim=8, vocab_size=99)
    with pytest.raises(error, match=message):
        model.encode(["river"], **options)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (["river", 3], TypeError, "text 1 is a int"),
        ([("river", "sea")], TypeError, "text 0 is a tuple"),
        ({"text": "river"}, TypeError, "inputs is a dict; a text or a list of texts"),
        (b"river", TypeError, "inputs is a bytes"),
        (3, TypeError, "inputs is a int"),
        (None, TypeError, "inputs is a NoneType"),
        ("sea\ud83d", ValueError, "text 0 is no valid Unicode"),
    ],
)
def test_bad_inputs(inputs, error, message):
    with pytest.raises(error, match=message):
        BiEncoder.static(["the river"], dim=8, vocab_size=99).encode(inputs)


def test_modes_stay_and_no_graph_is_kept(bert_folder, texts):
    model = BiEncoder.from_pretrained(bert_folder).train()
    model.backbone.model.embeddings.eval()
    modes = [module.training for module in model.modules()]
    assert not model.encode(texts, convert_to_tensor=True).requires_grad
    assert [module.training for module in model.modules()] == modes


def test_half_precision(bert_folder, texts):
    model = BiEncoder.from_pretrained(bert_folder, dtype="bf16")
    assert model.encode(texts).dtype == np.float32
    tensor = model.encode(texts, convert_to_tensor=True)
    assert tensor.dtype == torch.bfloat16
    np.testing.assert_array_equal(tensor.float().numpy(), model.encode(texts))
