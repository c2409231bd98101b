"""Peak memory of a training step of a real encoder, ours beside sentence-transformers' cached loss.

Each trains in a fresh process, from loading the encoder on, by the two steps of `trainers`; what
counts is memory beyond that of the process with all its imports. The encoder is that of
`test_real_encoder_speed`, and texts are cut at 32 tokens (with `--full` 256, as batches of 8,192
pairs are then): embeddings, gradients and moments take what they take at any length, and
micro-batches are of equal tokens. Where TyDi QA has too few pairs, passages are cut in two. No
activations are cached, since those take what memory there is.

The limit is what cannot be left out: weights, their gradients and moments (of the token table only
the rows of the batch), embeddings and their gradients.
"""

from __future__ import annotations

import pytest
import torch
from memory import run_fresh

from hybrid_fast.cpu import emulates

SIZE, FULL_SIZE = 64, 8192
LENGTH, FULL_LENGTH = 32, 256

TEXTS = """
from pathlib import Path
from memory import PeakMemory
from real_texts import draw_tydi, fill_up
from sentence_transformers import SentenceTransformer
from trainers import Pairs, train_ours, train_theirs
from hybrid_fast.models import BiEncoder

folder = Path(folder)
queries, passages = fill_up(*draw_tydi(Path(data), size), size)
pairs = Pairs.of(queries, passages)
"""
OURS = (
    TEXTS
    + """
with PeakMemory() as memory:
    encoder = BiEncoder.from_pretrained(
        encoder_folder, max_query_length=length, max_passage_length=length
    )
    train_ours(folder, pairs, encoder, {}, bf16=bf16, cached_activation_tokens=0)

table = encoder.backbone.model.get_input_embeddings().weight
ids = [encoder.token_ids(texts, side, warn=False)[0]
       for texts, side in ((queries, "query"), (passages, "passage"))]
num_rows = len(set(ids[0].tolist()) | set(ids[1].tolist()))
weights = sum(weight.numel() for weight in encoder.parameters())
trained = weights - table.numel() + num_rows * table.shape[1]
embeddings = 2 * size * encoder.embedding_dim
limit = 4 * (weights + 3 * trained + 2 * embeddings)
print(json.dumps([memory.extra_mib, limit / 2**20]))
"""
)
THEIRS = (
    TEXTS
    + """
with PeakMemory() as memory:
    model = SentenceTransformer(encoder_folder, device="cpu")
    model.max_seq_length = length
    prompts = {"query": model.prompts["query"], "passage": model.prompts["document"]}
    train_theirs(folder, pairs, model, {"mini_batch_size": 16}, prompts=prompts, bf16=bf16)
print(json.dumps(memory.extra_mib))
"""
)


@pytest.fixture
def given(full, tmp_path, real_encoder, shared_data):
    return {
        "encoder_folder": real_encoder,
        "folder": str(tmp_path),
        "data": str(shared_data),
        "size": FULL_SIZE if full else SIZE,
        "length": FULL_LENGTH if full else LENGTH,
        "bf16": not emulates(torch.bfloat16),
    }


def test_peak_of_a_step(benchmark, headline, full, given):
    theirs = run_fresh(THEIRS, **given)
    ours, limit = benchmark.pedantic(run_fresh, (OURS,), given, rounds=1)
    benchmark.extra_info["limit_mib"] = limit
    reduced = f"{SIZE} pairs of {LENGTH} tokens instead of {FULL_SIZE:,} of {FULL_LENGTH}"
    headline(
        "real encoder", f"training step of {given['size']:,} pairs, peak", "MiB", ours,
        {"cached 16": theirs, "limit": limit}, {"cached 16": 1}, reduced="" if full else reduced,
    )  # fmt: skip
