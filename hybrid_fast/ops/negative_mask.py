"""Which columns are no negatives of a row: the rules, and rules that others add."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import reduce
from itertools import count
from typing import Any, ClassVar

import torch
from torch import Tensor

from hybrid_fast.ops.tensor_fields import (
    QUERIES,
    Layout,
    TensorFields,
    per_pair,
    per_passage,
    per_query,
)

_numbers = count()  # of classes
_UNDECORATED = "it is no dataclass; put @dataclass(frozen=True, kw_only=True) above the class"


@dataclass(frozen=True, kw_only=True, eq=False, init=False)
class MaskingRule(TensorFields, ABC):
    """A rule of your own: which columns are no negatives of a row, computed in plain torch.

    Every backend takes it, some rows at a time, so that nothing of size B x N is held; so do
    torch.compile and process groups. A subclass is a frozen dataclass whose fields are tensors
    alone, declared by `per_query`, `per_passage` or `per_pair`.

    Attributes:
        classes: all of them by `class_key`, since operators take no objects.
        class_key: by which operators know the class: a function or a notebook may define several of
            one name.
    """

    classes: ClassVar[dict[str, type[MaskingRule]]] = {}
    class_key: ClassVar[str]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.class_key = f"{cls.class_name()}#{next(_numbers)}"
        MaskingRule.classes[cls.class_key] = cls

    def __init__(self, **tensors: Tensor) -> None:
        """Take nothing: the decorator gives a class that declares tensors a method to take them.

        Raises:
            TypeError: the class has no decorator.
        """
        if tensors:
            raise TypeError(f"{type(self).__name__} takes no {', '.join(tensors)}: {_UNDECORATED}")

    @classmethod
    def class_name(cls) -> str:
        """Return the name of the class and of its module."""
        return f"{cls.__module__}.{cls.__qualname__}"

    def check_declaration(self) -> None:
        """Raise TypeError unless the class is a dataclass of tensors that are declared as such.

        Operators and ranks would not pass on anything else.
        """
        names = [field.name for field in fields(self)]
        class_name = type(self).__name__
        for name in self.layouts:
            if name not in names:
                raise TypeError(f"{class_name} declares {name}, but {_UNDECORATED}")
        for name in names:
            if name not in self.layouts:
                raise TypeError(
                    f"{name} of {class_name} is not declared by per_query, per_passage or "
                    "per_pair, as all fields of a rule are; a constant is an attribute of the "
                    "class (ClassVar)"
                )

    @classmethod
    def of_tensors(cls, tensors: Iterator[Tensor]) -> MaskingRule:
        """Return a rule whose fields are the next ones of some tensors."""
        return cls(**{name: next(tensors) for name in cls.layouts})

    @abstractmethod
    def excluded(self, positives: Tensor) -> Tensor:
        """Return bool (R, N), True where a column is no negative of a row.

        Args:
            positives: int64 (R,), the positive column of each of the rows that the fields have. It
                stays, whatever is returned for it.
        """

    def checked(self, positives: Tensor, num_columns: int) -> Tensor:
        """Return `excluded`; raise unless that is bool (R, N) on the device of the positives."""
        excluded = self.excluded(positives)
        name, needed = f"{type(self).__name__}.excluded", (len(positives), num_columns)
        if not isinstance(excluded, Tensor):
            got = type(excluded).__name__
        elif excluded.dtype != torch.bool or excluded.shape != needed:
            got = f"{excluded.dtype} {tuple(excluded.shape)}"
        elif excluded.device != positives.device:
            raise ValueError(
                f"{name} returned a tensor on {excluded.device}; need one on {positives.device}, "
                "where positives is"
            )
        else:
            return excluded
        raise TypeError(f"{name} returned {got}; need torch.bool {needed}")


@dataclass(frozen=True, kw_only=True, eq=False)
class NegativeMask(TensorFields):
    """Which columns are no negatives of a row; None for each rule that was not asked for.

    A column is excluded if any rule excludes it; the row's positive never is. Groups and ids of -1
    match nothing. What each rule means says `reference.excluded_columns`.
    """

    query_groups: Tensor | None = per_query(torch.int64)
    passage_groups: Tensor | None = per_passage(torch.int64)
    query_passage_ids: Tensor | None = per_query(torch.int64)  # of each row's positive
    passage_ids: Tensor | None = per_passage(torch.int64)
    mask: Tensor | None = per_pair(torch.bool)  # True: excluded
    excluded_columns: Tensor | None = per_passage(torch.bool)  # True: excluded from every row
    # The row that brought a hard negative, -1 elsewhere.
    owners: Tensor | None = per_passage(torch.int64, refers_to=QUERIES)
    in_batch: Tensor | None = per_query(torch.bool)  # False: only its own hard negatives are
    margin: float | None = None  # of scores before temperature
    rules: tuple[MaskingRule, ...] = ()

    def tensors(self) -> Iterator[tuple[str, Tensor, Layout]]:
        """Yield name, tensor and layout of those that are given."""
        return iter(()) if self is NOTHING_EXCLUDED else super().tensors()

    def any(self) -> bool:
        """Tell whether any rule was asked for."""
        return self.margin is not None or bool(self.rules) or any(True for _ in self.tensors())

    def of_queries(self, rows: slice) -> NegativeMask:
        """Return the mask of some queries; row numbers then count from the first of them."""
        if self is NOTHING_EXCLUDED:
            return self
        part = super().of_queries(rows)
        return replace(part, rules=tuple(rule.of_queries(rows) for rule in self.rules))

    def with_rules_in_mask(self, positives: Tensor, num_columns: int) -> NegativeMask:
        """Return a mask without `rules`, what they exclude being a part of its `mask`.

        Args:
            positives: int64 (R,), the positive columns of the rows.
            num_columns: N.

        Raises:
            TypeError: a rule returns something else than bool (R, N).
            ValueError: it is on another device.
        """
        if not self.rules:
            return self
        masks = [rule.checked(positives, num_columns) for rule in self.rules]
        if self.mask is not None:
            masks.append(self.mask)
        return replace(self, mask=reduce(torch.logical_or, masks), rules=())


NOTHING_EXCLUDED = NegativeMask()
