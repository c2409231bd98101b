"""Splits of data sets, and folders of `save_to_disk`: one data set, or one for each split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, ReadInstruction, concatenate_datasets, load_from_disk

from hybrid_fast.common.choices import nearest

_FILES = ("dataset_dict.json", "state.json", "data-*-of-*.arrow")


def is_saved(folder: Path) -> bool:
    """Tell whether `save_to_disk` wrote a folder."""
    return any(any(folder.glob(name)) for name in _FILES)


def open_saved(folder: Path, config: str | None, split: str | None) -> Dataset:
    """Open a data set, memory-mapped.

    Args:
        folder: one that `save_to_disk` wrote.
        config: must be None: the folder holds one configuration.
        split: the split, or a slice of it: "train[:1000]". "train" stands for all of a data set
            that was saved without splits. None: the only one.

    Raises:
        ValueError: there is no such split, or a file is missing or damaged.
    """
    if config is not None:
        raise ValueError(f"{folder} was saved with one configuration; leave out config={config!r}")
    try:
        saved = load_from_disk(str(folder))
        splits = saved if isinstance(saved, dict) else {_name_of_split(saved, split): saved}
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise ValueError(
            f"{folder} is damaged, or not what save_to_disk wrote: {error}; save it again"
        ) from error
    return take_split(splits, split or only_split(splits, str(folder)), str(folder))


def only_split(splits: Mapping[str, Any], origin: str) -> str:
    """Return the name of the only split; ValueError if there is none, or several."""
    if not splits:
        raise ValueError(f"{origin} has no split at all")
    first, *others = splits
    if others:
        raise ValueError(
            f"{origin} has {len(splits)} splits: {', '.join(splits)}; give split={first!r}"
        )
    return first


def take_split(splits: Mapping[str, Any], split: str, origin: str) -> Any:
    """Return a split, a slice of one, or several one after the other: "train[:1000]+test".

    Args:
        splits: {name: Dataset}, or {name: IterableDataset}, which has no slices.
        split: what to take.
        origin: where the splits are, for messages.

    Raises:
        ValueError: there is no such split.
    """
    if split in splits:
        return splits[split]
    for name in ReadInstruction.from_spec(split).to_spec().split("+"):
        wanted = name.split("[")[0]
        if wanted not in splits:
            raise ValueError(
                f"{origin} has no split {wanted!r}; it has {', '.join(splits)}"
                f"{nearest(wanted, splits)}"
            )
    if not all(isinstance(each, Dataset) for each in splits.values()):
        raise ValueError(f"streams have no slices, got split={split!r}; give max_rows=")
    sizes = {name: len(dataset) for name, dataset in splits.items()}
    parts = ReadInstruction.from_spec(split).to_absolute(sizes)
    return concatenate_datasets(
        [splits[part.splitname].select(range(part.from_, part.to)) for part in parts]
    )


def _name_of_split(dataset: Dataset, wanted: str | None) -> str:
    """Return the name of the split of a data set that was saved alone."""
    return "train" if dataset.split is None or wanted == "train" else str(dataset.split)
