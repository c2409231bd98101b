"""A store as a collection of Milvus: its fields, its index, and what it says of itself.

Fields: `id`, the primary key; `language`, the partition key; `vector`; and `text`, which may be
null. Milvus takes properties that it does not know; ours begin with "hybrid_fast.".
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from hybrid_fast.common.choices import check_choice
from hybrid_fast.retrieval.stores.milvus.packages import load_package
from hybrid_fast.retrieval.vector_info import VectorInfo

MAX_PARTITIONS = 1024
MAX_BYTES = 65_535  # of an id, a language or a text, in UTF-8
INDEXES = (
    "AUTOINDEX",
    "FLAT",
    "HNSW",
    "HNSW_SQ",
    "HNSW_PQ",
    "IVF_FLAT",
    "IVF_SQ8",
    "IVF_PQ",
    "IVF_RABITQ",
    "SCANN",
    "DISKANN",
)
# Milvus Lite builds others in the background, and says in its log alone that it cannot.
LITE_INDEXES = ("AUTOINDEX", "FLAT", "HNSW", "HNSW_SQ", "IVF_FLAT", "IVF_SQ8")
VectorDtype = Literal["float32", "float16"]
DTYPES: tuple[VectorDtype, ...] = ("float32", "float16")
# Cosines are inner products of vectors of length 1, which no engine needs to normalise again.
METRIC = "IP"
_LAYOUT = "1"
_PREFIX = "hybrid_fast."
_LANGUAGE = f"{_PREFIX}language."


@dataclass(frozen=True)
class Described:
    """What a collection says of itself.

    Attributes:
        info: whose vectors it keeps.
        dtype: of the vectors.
        index: its kind of index.
        whole: whether it was ever finished.
        writer: who began it.
        languages: all that were ever added, maybe more than it has.
    """

    info: VectorInfo
    dtype: VectorDtype
    index: str
    whole: bool
    writer: str
    languages: frozenset[str] = frozenset()

    def to_properties(self) -> dict[str, str]:
        """Return properties of a collection."""
        return {
            f"{_PREFIX}layout": _LAYOUT,
            f"{_PREFIX}info": json.dumps(self.info.to_dict()),
            f"{_PREFIX}dtype": self.dtype,
            f"{_PREFIX}index": self.index,
            f"{_PREFIX}writer": self.writer,
            **state_property(self.whole),
            **language_properties(self.languages),
        }

    @classmethod
    def from_properties(cls, properties: Mapping[str, str]) -> Self | None:
        """Read properties; None if they are not those of a store.

        Raises:
            ValueError: one is missing or damaged.
        """
        if f"{_PREFIX}layout" not in properties:
            return None
        try:
            layout = properties[f"{_PREFIX}layout"]
            if layout != _LAYOUT:
                raise ValueError(f"layout {layout}, and this version knows {_LAYOUT}")
            return cls(
                VectorInfo.from_dict(json.loads(properties[f"{_PREFIX}info"])),
                check_choice("dtype", properties[f"{_PREFIX}dtype"], DTYPES),
                properties[f"{_PREFIX}index"],
                properties[f"{_PREFIX}state"] == "whole",
                properties[f"{_PREFIX}writer"],
                frozenset(
                    name.removeprefix(_LANGUAGE)
                    for name in properties
                    if name.startswith(_LANGUAGE)
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"its properties are not those of a store: {error}") from error


def state_property(whole: bool) -> dict[str, str]:
    """Return the property that says whether a collection was ever finished."""
    return {f"{_PREFIX}state": "whole" if whole else "unfinished"}


def language_properties(languages: Iterable[str]) -> dict[str, str]:
    """Return one property a language, so that writers do not undo what others wrote."""
    return {f"{_LANGUAGE}{language}": "1" for language in sorted(languages)}


def this_writer() -> str:
    """Name this process, and this very attempt to make a collection."""
    return f"process {os.getpid()} on {socket.gethostname()} ({os.urandom(4).hex()})"


def make_schema(dimension: int, dtype: VectorDtype) -> Any:
    """Return the fields of a collection."""
    pymilvus = load_package("pymilvus")
    kinds = pymilvus.DataType
    schema = pymilvus.MilvusClient.create_schema(enable_dynamic_field=False)
    schema.add_field("id", kinds.VARCHAR, is_primary=True, max_length=MAX_BYTES)
    schema.add_field("language", kinds.VARCHAR, is_partition_key=True, max_length=MAX_BYTES)
    vector = kinds.FLOAT_VECTOR if dtype == "float32" else kinds.FLOAT16_VECTOR
    schema.add_field("vector", vector, dim=dimension)
    schema.add_field("text", kinds.VARCHAR, nullable=True, max_length=MAX_BYTES)
    return schema


def make_index(index: str) -> Any:
    """Return the index of the vectors.

    Args:
        index: "NAME" or "NAME,KEY=VALUE,...", such as "HNSW,M=32,efConstruction=200".
    """
    name, parameters = split_index(index)
    indexes = load_package("pymilvus").MilvusClient.prepare_index_params()
    indexes.add_index("vector", index_type=name, metric_type=METRIC, params=parameters)
    return indexes


def split_index(index: str) -> tuple[str, dict[str, Any]]:
    """Split an index into its kind and its parameters.

    Raises:
        ValueError: there is no such kind, or a parameter has no value.
    """
    name, _, parameters = index.partition(",")
    return check_choice("index", name.strip().upper().replace("-", "_"), INDEXES), read_parameters(
        parameters
    )


def read_parameters(given: str | Mapping[str, Any]) -> dict[str, Any]:
    """Read "KEY=VALUE,...", such as "ef=200"; numbers become numbers, and a mapping stays.

    Raises:
        ValueError: one has no value.
    """
    if isinstance(given, Mapping):
        return dict(given)
    found: dict[str, Any] = {}
    for part in filter(None, str(given).split(",")):
        key, equals, value = part.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise ValueError(f"{part!r} is no parameter; KEY=VALUE is needed, such as ef=200")
        found[key.strip()] = _number(value.strip())
    return found


def _number(value: str) -> Any:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def quoted(values: Iterable[str]) -> str:
    """Return texts as a list of Milvus' filter expressions, `["a", "b"]`.

    Milvus Lite fills in no templates, and pymilvus does not escape ids.
    """
    return "[" + ", ".join(f'"{value.translate(_ESCAPES)}"' for value in values) + "]"


_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
