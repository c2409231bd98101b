"""What was evaluated: the model, and how it was trained and used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class RunInfo:
    """The model of a run, and under which settings it was trained and used.

    Attributes:
        model: name of the model or of what else scores, None if not told.
        kind: batch kind it was trained with, None if not told.
        seed: seed it was trained with, None if not told.
        settings: "candidate_text", "max_length", "prompts", "dtype", and what a caller adds.
    """

    model: str | None = None
    kind: str | None = None
    seed: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def with_defaults(self, model: str | None = None, **settings: Any) -> RunInfo:
        """Return it with a name and settings where it has none; a setting of None is none."""
        told = {name: value for name, value in self.settings.items() if value is not None}
        return replace(
            self,
            model=model if self.model is None else self.model,
            settings={**settings, **told},
        )
