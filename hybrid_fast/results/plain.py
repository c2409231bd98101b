"""Settings in plain types, which JSON can hold: they are recorded hours after they were given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from datetime import date, time
from enum import Enum
from os import PathLike, fspath
from typing import Any
from uuid import UUID

import numpy as np

_AS_TEXT = (np.dtype, UUID, date, time, complex)


def plain(value: Any, where: str) -> Any:
    """Return a value in the types of JSON: None, bool, int, float, text, lists and objects.

    Scalars, arrays and tensors become numbers and lists; paths, dtypes, devices, dates and UUIDs
    text; enumerations their value; numbers that are not finite "nan", "inf" or "-inf", which JSON
    has no number for; sets sorted lists.

    Args:
        value: any value.
        where: what to call it in errors, such as "settings".

    Raises:
        TypeError: if it, or something in it, is none of these.
    """
    if isinstance(value, Enum):
        return plain(value.value, where)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return printed(value)
    if isinstance(value, PathLike):
        return printed(str(fspath(value)))
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, Mapping):
        return {printed(str(key)): plain(each, f"{where}.{key}") for key, each in value.items()}
    if isinstance(value, Set):
        return sorted((plain(each, where) for each in value), key=str)
    if isinstance(value, list | tuple):
        return [plain(each, f"{where}[{place}]") for place, each in enumerate(value)]
    return str(value) if isinstance(value, _AS_TEXT) else _of_library(value, where)


def printed(text: str) -> str:
    r"""Return a text that UTF-8 can hold; half of a surrogate pair becomes "\udcff"."""
    return text.encode("utf-8", "backslashreplace").decode()


def _of_library(value: Any, where: str) -> Any:
    """Return numbers and types of NumPy, torch or another library in plain types."""
    if isinstance(value, type) and issubclass(value, np.generic):
        return str(np.dtype(value))
    # torch is not imported for this.
    if type(value).__module__.partition(".")[0] == "torch" and not hasattr(value, "tolist"):
        return str(value).removeprefix("torch.")
    if hasattr(value, "tolist"):
        listed = value.tolist()
        if not isinstance(listed, type(value)):
            return plain(listed, where)
    raise TypeError(
        f"{where} is {value!r:.60} ({type(value).__name__}), which no file of results can hold; "
        "give numbers, text, lists or dicts of them"
    )
