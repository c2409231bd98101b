"""Tables for the checks of plans: columns, the plans over them, and facts about them."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from functools import cached_property

import numpy as np
import pytest
from plan_model import PlanModel

from hybrid_fast.data.sampler import HybridBatchSampler

PLANS = {"sampler": HybridBatchSampler.from_arrays, "model": PlanModel}


@dataclasses.dataclass(frozen=True, repr=False)
class Table:
    """Columns as `from_arrays` takes them."""

    groups: np.ndarray
    languages: np.ndarray
    queries: np.ndarray
    passages: np.ndarray
    has_query: np.ndarray
    has_passage: np.ndarray
    sources: np.ndarray
    kind_mask: np.ndarray

    @classmethod
    def of(cls, groups, languages, passages=None, has_query=None, has_passage=None, **columns):
        everywhere = np.ones(len(groups), bool)
        return cls(
            np.asarray(groups),
            np.asarray(languages),
            np.asarray(columns.get("queries", np.arange(len(groups)))),
            np.arange(len(groups)) if passages is None else np.asarray(passages),
            everywhere if has_query is None else has_query,
            everywhere if has_passage is None else has_passage,
            columns.get("sources", np.full(len(groups), "all")),
            columns.get("kind_mask", np.full(len(groups), 7, np.uint8)),
        )

    def __repr__(self):
        columns = (getattr(self, field.name)[:100].tolist() for field in dataclasses.fields(self))
        return f"Table of {len(self.groups)} rows: {[*zip(*columns, strict=True)]}"

    def _repr_pretty_(self, printer, cycle):
        """Hypothesis asks for this."""
        printer.text(repr(self))

    def plan(self, maker="sampler", **options):
        return PLANS[maker](
            self.groups, self.languages, self.passages, self.has_query, self.has_passage,
            query_ids=self.queries, sources=self.sources, kind_mask=self.kind_mask, **options,
        )  # fmt: skip

    def largest(self, maker="sampler", **options):
        """Return the batch size that the error of a far too large one names."""
        options["batch_size"] = 10**6 * options.get("world_size", 1)
        message = r"largest batch_size that works is (\d+)$|batch can be made: "
        with pytest.raises(ValueError, match=message) as caught:
            self.plan(maker, **options)
        return int(re.search(message, str(caught.value))[1] or 0)

    def facts(self, options):
        """Return the model for what it knows of the table, which no batch size changes."""
        options = {**options, "batch_size": 1}
        if self._facts.get("options") != options:
            self._facts.update(options=options, model=self.plan("model", **options))
        return self._facts["model"]

    @cached_property
    def _facts(self):
        """The last facts asked for."""
        return {}

    @cached_property
    def texts(self):
        """The passage that each row has, -1: none."""
        return np.where(self.has_passage, self.passages, -1)

    @cached_property
    def asked(self):
        """The query that each row has, -1: none."""
        return np.where(self.has_query, self.queries, -1)

    @cached_property
    def shared(self):
        """Whether two groups have one query or one passage."""
        return any(self._is_shared(texts) for texts in (self.asked, self.texts))

    def _is_shared(self, texts):
        owned = {(g, text) for g, text in zip(self.groups, texts, strict=True) if text != -1}
        return len(owned) > len({text for _, text in owned})

    @cached_property
    def complete(self):
        """Whether every group has every language, and nothing is shared or left out."""
        return (
            len(self.alternatives) == len(set(self.groups)) * len(set(self.languages))
            and (self.has_query & self.has_passage & (self.kind_mask == 7)).all()
            and not self.shared
        )

    @cached_property
    def alternatives(self):
        """Number of items of each (group, language)."""
        return Counter(zip(self.groups.tolist(), self.languages.tolist(), strict=True))
