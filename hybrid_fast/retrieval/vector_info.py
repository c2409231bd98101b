"""What is said of vectors wherever they are kept: whose they are, and how they are compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hybrid_fast.models.similarity import Similarity, check_similarity
from hybrid_fast.retrieval.encoders import similarity_of
from hybrid_fast.retrieval.encoding import describe_model
from hybrid_fast.retrieval.fingerprint import Fingerprint


@dataclass(frozen=True)
class VectorInfo:
    """The origin of vectors, as a folder of encoded texts and a store of them keep it.

    Attributes:
        model: name of the model, for messages.
        fingerprint: of the model.
        similarity: "cosine" or "dot"; vectors are kept as the model gave them, and normalised by
            those who compare them.
        dimension: D.
        settings: how texts were encoded, in plain types.
    """

    model: str
    fingerprint: Fingerprint
    similarity: Similarity
    dimension: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, model: object) -> VectorInfo:
        """Return that of the vectors of a model, which encodes two fixed texts for it.

        Raises:
            TypeError: the model cannot encode texts.
            ValueError: it asks for a similarity other than cosine or dot product.
        """
        name, settings = describe_model(model)
        if getattr(model, "truncate_dim", None) is not None:
            settings["truncate_dim"] = model.truncate_dim  # type: ignore[attr-defined]
        fingerprint = Fingerprint.of(model)
        plain = json.loads(json.dumps(settings))  # as it will be read again
        return cls(name, fingerprint, similarity_of(model), len(fingerprint.probe[0]), plain)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VectorInfo:
        """Return what `to_dict` gave.

        Raises:
            KeyError, TypeError: a value is missing, unknown, or of another type.
            ValueError: there is no such similarity.
        """
        parts = {
            "fingerprint": Fingerprint(**values["fingerprint"]),
            "similarity": check_similarity("similarity", values["similarity"]),
            "settings": dict(values.get("settings", {})),
        }
        return cls(**{**values, **parts})

    def difference(self, other: VectorInfo) -> str:
        """Return why other vectors are of another model; "" if they are of the same."""
        if self.dimension != other.dimension:
            return f"vectors there have {self.dimension} dimensions, these {other.dimension}"
        if self.similarity != other.similarity:
            return f"vectors there are compared by {self.similarity}, these by {other.similarity}"
        return self.fingerprint.difference(other.fingerprint)

    def check_model(self, other: VectorInfo, place: str) -> None:
        """Check that other vectors are of the same model.

        Args:
            other: of the vectors that are to be added or compared.
            place: what these are kept in, for the message.

        Raises:
            ValueError: they are of another model, dimension or similarity.
        """
        reason = self.difference(other)
        if reason:
            raise ValueError(
                f"{place} holds vectors of {self.model!r}, and {other.model!r} is another model: "
                f"{reason}; use the model that encoded them, or encode the texts with this one"
            )
