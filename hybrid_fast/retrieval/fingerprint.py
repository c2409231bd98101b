"""By what vectors are known to be of one model: its weights, and vectors of fixed texts.

Weights are digested as bfloat16, so that a model has one fingerprint in float32 and in bfloat16,
and tensor by tensor without names, so that libraries that name them otherwise agree. How a model
pools, prompts and normalises shows in the vectors of two fixed texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch

from hybrid_fast.retrieval.embeddings import to_float32
from hybrid_fast.retrieval.encoders import find_encoders

_PROBES = ("The ferry leaves at noon.", "Die Fähre legt mittags ab, 渡轮中午出发。")
# Vectors in bfloat16, and those of other kernels and batches, are nearer to one another.
_SAME_COSINE = 0.995


@dataclass(frozen=True)
class Fingerprint:
    """What tells the vectors of one model from those of another.

    Attributes:
        weights: digest of all weights; "" for a model that is no torch module.
        probe: vectors of fixed texts, rounded.
    """

    weights: str
    probe: Sequence[Sequence[float]]

    @classmethod
    def of(cls, model: object) -> Fingerprint:
        """Take it from a model, which encodes the fixed texts as passages.

        Raises:
            TypeError: the model cannot encode texts.
        """
        _, encode = find_encoders(model)
        vectors = to_float32(encode(list(_PROBES)), "embeddings of fixed texts")
        weights = digest_weights(model) if isinstance(model, torch.nn.Module) else ""
        return cls(weights, [[float(f"{x:.4g}") for x in row] for row in vectors.tolist()])

    def difference(self, other: Fingerprint) -> str:
        """Return why another fingerprint is of another model; "" if it is of the same."""
        if self.weights != other.weights:
            return "their weights differ"
        ours, theirs = np.array(self.probe), np.array(other.probe)
        if ours.shape != theirs.shape:
            return "their dimensions differ"
        norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
        cosines = (ours * theirs).sum(axis=1) / np.where(norms == 0, 1, norms)
        if cosines.min() < _SAME_COSINE:
            return (
                "they embed a fixed passage differently, with a cosine of "
                f"{cosines.min():.3f}; compare prompts, pooling and adapters"
            )
        return ""


def digest_weights(model: torch.nn.Module) -> str:
    """Return a digest of the parameters of a model, as bfloat16 and whatever their names."""
    digests = sorted(
        blake2b(
            parameter.detach()
            .to(torch.bfloat16)
            .contiguous()
            .cpu()
            .view(torch.uint8)
            .numpy()
            .tobytes(),
            digest_size=16,
            person=str(tuple(parameter.shape)).encode()[:16],
        ).digest()
        for parameter in model.parameters()
    )
    return blake2b(b"".join(digests), digest_size=16).hexdigest()
