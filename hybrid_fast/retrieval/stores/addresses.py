"""Stores by address, KIND:PLACE: ours, and those of other packages, found through entry points.

A package offers a kind of store by an entry point of the group `hybrid_fast.stores`, which names a
module with two functions:

    def create(place: str, info: VectorInfo, *, index="auto", dtype="float32", replace=False)
    def open(place: str)

Further keywords are the options of the kind. `index` names what searches are done by, `dtype` is
that of the vectors, and with `replace` a store that is there stays as it is until the new one is
first committed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

from hybrid_fast.common.choices import nearest
from hybrid_fast.common.plugins import find_plugin, plugin_names
from hybrid_fast.retrieval.stores.store import Store
from hybrid_fast.retrieval.vector_info import VectorInfo

GROUP = "hybrid_fast.stores"
_STORES = "hybrid_fast.retrieval.stores"
# The entry points of pyproject.toml, so that our stores are known in a checkout too.
OWN_STORES = {"faiss": f"{_STORES}.faiss.store", "milvus": f"{_STORES}.milvus.store"}


def create_store(address: str, info: VectorInfo, **options: Any) -> Store:
    """Make an empty store, to be used as a context manager or committed and closed.

    Args:
        address: such as "faiss:FOLDER", "milvus:FILE.db" or "milvus:http://HOST:19530".
        info: whose vectors it will keep.
        **options: `index`, `dtype`, `replace`, and those of the kind of store.

    Raises:
        FileExistsError: there is a store already, or another process writes to it.
        ValueError: the address names no kind of store, or an option is wrong.
        ImportError: the store needs a package that is not installed.
    """
    module, place = _find(address)
    return _call(module.create, address, options, place, info)


def open_store(address: str, **options: Any) -> Store:
    """Open a store.

    Args:
        address: see `create_store`.
        **options: those of the kind of store.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it was never finished or is damaged, the address names no kind of store, or an
            option is wrong.
        ImportError: the store needs a package that is not installed.
    """
    module, place = _find(address)
    return _call(module.open, address, options, place)


def check_options(address: str, info: VectorInfo, **options: Any) -> None:
    """Check what `create_store` is to be called with, as far as its kind of store can tell.

    Raises:
        ValueError: the address names no kind of store, or an option is wrong.
        ImportError: the store needs a package that is not installed.
    """
    module, _ = _find(address)
    _check_known(module.create, address, options)
    if hasattr(module, "check"):
        module.check(info, **options)


def _call(
    function: Callable[..., Store], address: str, options: dict[str, Any], *given: Any
) -> Store:
    _check_known(function, address, options)
    return function(*given, **options)


def _check_known(function: Callable[..., Store], address: str, options: dict[str, Any]) -> None:
    """Raise a ValueError for an option that a function of a kind of store does not have."""
    known = _options_of(function)
    unknown = [name for name in options if name not in known]
    if unknown:
        kind = address.partition(":")[0]  # alone: the rest may hold a password
        raise ValueError(
            f"a store of the kind {kind!r} has no option {unknown[0]!r} to {function.__name__} it "
            f"with; it takes {', '.join(known) or 'none'}{nearest(unknown[0], known)}"
        )


def options_of(address: str) -> tuple[list[str], list[str]]:
    """Return the names of the options to make a store with at an address, and to open one with."""
    module, _ = _find(address)
    return _options_of(module.create), _options_of(module.open)


def _options_of(function: Callable[..., Store]) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]


def check_address(address: str) -> tuple[str, str]:
    """Return the kind of a store and its place.

    Raises:
        ValueError: the address is not KIND:PLACE, or there is no such kind.
    """
    kind, colon, place = str(address).partition(":")
    known = store_kinds()
    if not colon or not place or kind not in known:
        shown = f"{kind}:..." if "@" in place else str(address)  # without a password
        raise ValueError(
            f"{shown!r} is no address of a store: KIND:PLACE is needed, such as "
            "faiss:FOLDER, milvus:FILE.db or milvus:http://HOST:19530; the kinds are "
            f"{', '.join(known)}{nearest(kind, known) if colon else ''}"
        )
    return kind, place


def store_kinds() -> tuple[str, ...]:
    """Return the kinds of stores, ours first."""
    return tuple(dict.fromkeys([*OWN_STORES, *plugin_names(GROUP)]))


def _find(address: str) -> tuple[ModuleType, str]:
    kind, place = check_address(address)
    if kind in OWN_STORES:
        return import_module(OWN_STORES[kind]), place
    module: ModuleType = find_plugin(GROUP, kind, "store").load()
    return module, place
