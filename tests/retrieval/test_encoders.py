"""Any model serves by the methods and the similarity it has; others fail."""

import pytest
import torch

from hybrid_fast.retrieval.encoders import describe_model, find_encoders, similarity_of


class WithMethods:
    def __init__(self, *names):
        for name in names:
            setattr(self, name, lambda texts, name=name: name)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("encode_queries", "encode_passages"), ("encode_queries", "encode_passages")),
        (("encode", "encode_query", "encode_document"), ("encode_query", "encode_document")),
        (("encode", "encode_query"), ("encode", "encode")),
    ],
)
def test_methods_by_name(names, expected):
    query, passage = find_encoders(WithMethods(*names))
    assert (query([]), passage([])) == expected


def test_model_that_cannot_encode():
    with pytest.raises(TypeError, match=r"model is a dict.* it needs encode_queries and"):
        find_encoders({})


def test_description_of_a_module():
    model = torch.nn.Linear(2, 2, dtype=torch.bfloat16)
    assert describe_model(model) == (
        "Linear",
        {"max_length": None, "prompts": None, "dtype": "bfloat16"},
    )


def test_similarity_is_the_models():
    model = WithMethods("encode")
    assert similarity_of(model) == "dot"
    model.similarity_fn_name = "cosine"
    assert similarity_of(model) == "cosine"
    model.similarity_fn_name = "manhattan"
    with pytest.raises(ValueError, match="similarity_fn_name is 'manhattan'; only cosine and dot"):
        similarity_of(model)
