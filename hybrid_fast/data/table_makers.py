"""What makes a table of a value that is none, for messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from datasets import Dataset, DatasetDict, IterableDataset


def maker_of(value: object) -> str:
    """Tell what makes a table of a value that is none, "" if nothing does."""
    if hasattr(value, "to_dict") and hasattr(value, "columns"):  # a DataFrame
        return "AlignedTable.from_columns takes it"
    makers = {
        DatasetDict: "AlignedTable.from_dataset takes one of its splits",
        Dataset: "AlignedTable.from_dataset takes it",
        IterableDataset: "AlignedTable.from_dataset takes Dataset.from_list(list(...)) of a stream",
        pa.Table: "AlignedTable.from_arrow takes it",
        str | Path: "load_table reads it",
        Mapping: "AlignedTable.from_columns takes columns",
        Sequence: "AlignedTable.from_dataset takes Dataset.from_list(...) of records",
    }
    return next((how for kind, how in makers.items() if isinstance(value, kind)), "")
