"""What is trained: the loss compares embeddings as the encoder says, with weights in float32."""

import pytest
import torch

from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainingArguments
from hybrid_fast.training.model import make_model

TEXTS = ["one river", "two rivers and a sea", "sea", "a mountain"]


def loss_of(tmp_path, scale=1.0, **options):
    encoder = BiEncoder.static(TEXTS, 16, 50, **options)
    encoder.backbone.embedding.weight.data *= scale
    args = HybridTrainingArguments(str(tmp_path), batch_size=4, use_cpu=True, report_to="none")
    model = make_model(encoder, args)
    queries, passages = (encoder(encoder.tokenize(TEXTS, side)) for side in ("query", "passage"))
    return model.loss(queries, passages).item()


def test_the_loss_normalises_where_the_similarity_is_cosine_and_the_encoder_does_not(tmp_path):
    expected = loss_of(tmp_path, normalize=True)
    assert loss_of(tmp_path, normalize=False) == pytest.approx(expected, abs=1e-5)
    assert loss_of(tmp_path, scale=9, normalize=False) == pytest.approx(expected, abs=1e-5)


def test_the_loss_takes_embeddings_as_they_are_where_the_similarity_is_dot(tmp_path):
    options = {"normalize": False, "similarity": "dot"}
    assert abs(loss_of(tmp_path, 9, **options) - loss_of(tmp_path, 1, **options)) > 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_are_trained_in_float32(tmp_path, dtype):
    encoder = BiEncoder.static(TEXTS, 16, 50).to(dtype)
    args = HybridTrainingArguments(str(tmp_path), batch_size=4, use_cpu=True, report_to="none")
    model = make_model(encoder, args)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    encoder.save_pretrained(tmp_path / "saved")
    saved = BiEncoder.from_pretrained(tmp_path / "saved")
    assert {parameter.dtype for parameter in saved.parameters()} == {torch.float32}
