"""By what vectors are known to be of one model: its weights, and vectors of fixed texts.

Weights are digested as bfloat16 and as float16, so that a model is the same in float32 and in
either, and tensor by tensor without names, so that libraries that name them otherwise agree. How a
model pools, prompts passages and normalises shows in the vectors of two fixed texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np
import torch

from hybrid_fast.retrieval.embeddings import check_finite, to_float32
from hybrid_fast.retrieval.encoders import find_encoders

# In letters that all tokenizers know: of others they would say that they do not.
_PROBES = ("The ferry leaves at noon.", "Die letzte Bahn kommt um 23 Uhr.")
# Vectors in half precision, and those of other kernels and batches, are nearer to one another.
_SAME_COSINE = 0.995
# Where weights do not tell: so near are vectors in bfloat16 and in float16.
_SAME_IN_HALF = 0.9995
_HALF = {"bfloat16", "float16"}


@dataclass(frozen=True)
class Fingerprint:
    """What tells the vectors of one model from those of another.

    Attributes:
        weights: digest of all weights as bfloat16; "" for a model without torch modules.
        probe: vectors of fixed texts, rounded.
        half: digest of all weights as float16.
        dtypes: of the weights, as the model was loaded.
    """

    weights: str
    probe: Sequence[Sequence[float]]
    half: str = ""
    dtypes: Sequence[str] = field(default_factory=list)

    @classmethod
    def of(cls, model: object) -> Fingerprint:
        """Take it from a model, which encodes the fixed texts as passages.

        Raises:
            TypeError: the model cannot encode texts.
            ValueError: their vectors hold NaN or infinity.
        """
        _, encode = find_encoders(model)
        vectors = to_float32(encode(list(_PROBES)), "embeddings of fixed texts")
        check_finite(vectors, "embeddings of fixed texts")
        probe = [[float(f"{x:.4g}") for x in row] for row in vectors.tolist()]
        weights = list(_weights(model))
        dtypes = {str(each.dtype).removeprefix("torch.") for each in weights}
        return cls(
            digest(weights, torch.bfloat16),
            probe,
            digest(weights, torch.float16),
            sorted(dtypes),
        )

    def difference(self, other: Fingerprint) -> str:
        """Return why another fingerprint is of another model; "" if it is of the same."""
        is_known = self.weights == other.weights or (self.half and self.half == other.half)
        if not is_known and not self._is_rounded_otherwise(other):
            return "their weights differ"
        ours, theirs = np.array(self.probe), np.array(other.probe)
        if ours.shape != theirs.shape:
            return "their dimensions differ"
        cosine = _least_cosine(ours, theirs)
        if cosine < (_SAME_COSINE if is_known else _SAME_IN_HALF):
            return (
                f"they embed a fixed passage differently, with a cosine of {cosine:.4f}; compare "
                "prompts, pooling and adapters"
            )
        return ""

    def _is_rounded_otherwise(self, other: Fingerprint) -> bool:
        """Tell whether both may be roundings of one model, neither of which tells the other."""
        return {*self.dtypes, *other.dtypes} >= _HALF and self.dtypes != other.dtypes


def digest(weights: Sequence[torch.Tensor], dtype: torch.dtype) -> str:
    """Return a digest of tensors as a dtype of floats, whatever their order and number.

    Those that are equal count once: a matrix that layers share may have become two.
    """
    if not weights:
        return ""
    digests = sorted({_digest(each, dtype) for each in weights})
    return sha256(b"".join(digests)).hexdigest()[:32]


def _digest(tensor: torch.Tensor, dtype: torch.dtype) -> bytes:
    values = tensor.to(dtype) if tensor.is_floating_point() else tensor
    found = sha256(str(tuple(values.shape)).encode())
    found.update(values.contiguous().cpu().view(-1).view(torch.uint8).numpy().data)
    return found.digest()


def _weights(model: object) -> Iterator[torch.Tensor]:
    """Yield the tensors that a model, or one that it wraps, would save."""
    if not isinstance(model, torch.nn.Module):
        for each in vars(model).values() if hasattr(model, "__dict__") else ():
            if isinstance(each, torch.nn.Module):
                yield from _weights(each)
        return
    for name, value in model.state_dict().items():
        # Libraries make one that the folder lacks, at random; no text embedding is taken from it.
        if "pooler." not in name:
            yield from _tensors(value)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of an entry of a state; linear layers in int8 pack theirs in tuples."""
    if isinstance(value, torch.Tensor):
        dense = value.to_dense() if value.layout != torch.strided else value
        yield dense.dequantize() if dense.is_quantized else dense
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _tensors(each)


def _least_cosine(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the least cosine of two rows; rows of zeros are like one another alone."""
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    cosines = (ours * theirs).sum(axis=1) / np.where(norms == 0, 1, norms)
    are_zeros = ~(ours.any(axis=1) | theirs.any(axis=1))
    return float(np.where(are_zeros, 1.0, cosines).min())
