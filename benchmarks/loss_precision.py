"""What `loss_precision="bf16"` costs in accuracy, beside bf16 autocast itself, on a real encoder.

python benchmarks/loss_precision.py --encoder FOLDER --data FOLDER [--pairs 1024] [--tokens 64]

Prints and writes, for each temperature, how far loss and gradients lie from those of a loss in
float32 over the same embeddings, and how far those lie from a training in float32. Writes one JSON
to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import ROOT, commit, today, versions
from real_texts import draw_tydi, fill_up
from torch import Tensor

from hybrid_fast.cpu import processor
from hybrid_fast.models import BiEncoder
from hybrid_fast.models.kernels.encoder import fast_encoder
from hybrid_fast.models.micro_batches import cut_by_length
from hybrid_fast.models.texts import Features
from hybrid_fast.ops import info_nce

TEMPERATURES = (0.05, 0.01)
MICRO_BATCH = 1024  # tokens


def micro_batches(
    encoder: BiEncoder, texts: dict[str, list[str]]
) -> Iterator[tuple[Any, Features]]:
    """Yield texts of like length, queries first among all: their rows and features."""
    ids, lengths = [], []
    for side, of_side in texts.items():
        found = encoder.token_ids(of_side, side)
        ids.append(found[0])
        lengths.append(found[1])
    flat, all_lengths = np.concatenate(ids), np.concatenate(lengths)
    offsets = np.concatenate([[0], all_lengths.cumsum()])
    for rows, length in cut_by_length(all_lengths, MICRO_BATCH):
        yield rows, encoder.backbone.features(flat, offsets, rows, length)


def loss_gradients(embeddings: Tensor, temperature: float, precision: str | None) -> dict[str, Any]:
    """Return the loss of embeddings, half of them queries, and its gradient."""
    leaf = embeddings.detach().float().requires_grad_()
    queries, passages = leaf.chunk(2)
    loss = info_nce(queries, passages, temperature=temperature, precision=precision)
    loss.backward()
    return {"loss": loss.item(), "embeddings": leaf.grad}


def weight_gradients(
    encoder: BiEncoder, parts: list[tuple[Any, Features]], towards: dict[Any, Tensor], context: Any
) -> dict[Any, Tensor]:
    """Return the gradient of all weights, in one vector, for each gradient of the embeddings."""
    weights = [each for each in encoder.parameters() if each.requires_grad]
    sums = {name: [torch.zeros_like(each) for each in weights] for name in towards}
    with context():
        for number, (rows, features) in enumerate(parts):
            output = encoder(features)
            for name, gradient in towards.items():
                more = torch.autograd.grad(
                    output, weights, gradient[rows].to(output), retain_graph=True, allow_unused=True
                )
                for total, each in zip(sums[name], more, strict=True):
                    total += 0 if each is None else each
            print(f"\r{number + 1} of {len(parts)} micro-batches", end="", flush=True)
    print()
    return {name: torch.cat([each.flatten() for each in found]) for name, found in sums.items()}


def embed(encoder: BiEncoder, parts: list[tuple[Any, Features]], context: Any) -> Tensor:
    """Return all embeddings, float32 (M, D)."""
    found = torch.empty(sum(len(rows) for rows, _ in parts), encoder.embedding_dim)
    with torch.no_grad(), context():
        for rows, features in parts:
            found[rows] = encoder(features).float()
    return found


def relative(found: Tensor, expected: Tensor) -> float:
    """Return the norm of a difference over that of what is expected."""
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def measure(encoder: BiEncoder, parts: list[tuple[Any, Features]]) -> list[dict[str, Any]]:
    """Return the figures of each temperature."""

    def autocast() -> Any:
        return torch.autocast("cpu", torch.bfloat16)

    embeddings = {
        "bf16": embed(encoder, parts, autocast),
        "float32": embed(encoder, parts, nullcontext),
    }
    of_loss, towards = {}, {"bf16": {}, "float32": {}}
    for temperature in TEMPERATURES:
        for ways in (("bf16", "bf16"), ("bf16", "float32"), ("float32", "float32")):
            of_encoder, of_products = ways
            precision = "bf16" if of_products == "bf16" else None
            found = loss_gradients(embeddings[of_encoder], temperature, precision)
            of_loss[temperature, ways] = found
            towards[of_encoder][temperature, ways] = found["embeddings"]
    of_weights = weight_gradients(encoder, parts, towards["bf16"], autocast)
    of_weights |= weight_gradients(encoder, parts, towards["float32"], nullcontext)
    rows = []
    for temperature in TEMPERATURES:
        exact, half, both = ("float32", "float32"), ("bf16", "float32"), ("bf16", "bf16")
        row: dict[str, Any] = {
            "temperature": temperature,
            "loss": of_loss[temperature, half]["loss"],
        }
        for name, (found, expected) in {
            "bf16 products": (both, half),
            "bf16 autocast": (half, exact),
            "both": (both, exact),
        }.items():
            losses = [of_loss[temperature, ways] for ways in (found, expected)]
            row[name] = {
                "loss": abs(losses[0]["loss"] - losses[1]["loss"]) / losses[1]["loss"],
                "gradient of embeddings": relative(*(each["embeddings"] for each in losses)),
                "gradient of weights": relative(
                    of_weights[temperature, found], of_weights[temperature, expected]
                ),
            }
        rows.append(row)
    return rows


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=1024)
    parser.add_argument("--tokens", type=int, default=64, help="at most, of a text")
    given = parser.parse_args()
    prompts = {"query_prompt": "query: ", "passage_prompt": "passage: "}
    encoder = BiEncoder.from_pretrained(given.encoder, **prompts).eval()
    encoder.backbone.max_lengths = {"query": given.tokens, "passage": given.tokens}
    queries, passages = fill_up(*draw_tydi(given.data, given.pairs), given.pairs)
    parts = list(micro_batches(encoder, {"query": queries, "passage": passages}))
    with fast_encoder(encoder):
        rows = measure(encoder, parts)
    report = {
        "date": today(),
        "commit": commit(),
        "machine": processor(),
        "versions": versions(),
        "encoder": given.encoder.name,
        "pairs": len(queries),
        "tokens": sum(features["input_ids"].numel() for _, features in parts),
        "relative errors": rows,
    }
    print(json.dumps(report, indent=2))
    path = ROOT / "benchmarks" / "results" / f"{today()}-loss-precision.json"
    path.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
