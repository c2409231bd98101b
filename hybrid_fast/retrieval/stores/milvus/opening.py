"""Collections that become stores: begun, opened, and put in the place of others."""

from __future__ import annotations

import time

from hybrid_fast.retrieval.stores.milvus.calls import MilvusCalls
from hybrid_fast.retrieval.stores.milvus.collections import Described, make_index, make_schema

# Added to the name of a collection that is to replace another, while it is filled.
_REPLACING = "_replacing"
_LOAD_WAIT = 0.2


def begin(calls: MilvusCalls, store: Described, index: str, partitions: int, replace: bool) -> str:
    """Make the collection of a store, and return its name, which `take_place` may change.

    Args:
        calls: to the place of the store.
        store: what the collection will say of itself.
        index: see `make_index`.
        partitions: over which languages are spread.
        replace: whether a store that is there is to be replaced.

    Raises:
        FileExistsError: there is a store, or a collection that is none.
    """
    name = calls.place.collection
    found = _own(calls, name) or _left_behind(calls)
    if found is not None and not replace:
        raise FileExistsError(_in_the_way(calls, found))
    if found is not None and found.whole:
        name += _REPLACING
        found = _own(calls, name)
    if found is not None:
        calls("drop_collection", name)
    _make_collection(calls, name, store, partitions)
    calls("create_index", name, make_index(index), sync=False)
    load(calls, name)
    return name


def open_whole(calls: MilvusCalls) -> Described:
    """Return what the collection of a store says of itself, and have it ready for searches.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is no store, or was never finished.
    """
    name = calls.place.collection
    found = describe(calls, name) or _left_behind(calls)
    if found is None:
        known = ", ".join(sorted(calls("list_collections"))) or "none"
        raise FileNotFoundError(
            f"there is no collection {name!r} at {calls.place.server}, which has {known}; "
            f"hybrid-fast index --store {calls.place.address} makes it"
        )
    if not found.whole:
        raise ValueError(
            f"{calls.place.address} was never finished: {found.writer} began it; wait for its end, "
            "or index the corpus again with --replace"
        )
    load(calls, name)
    return found


def take_place(calls: MilvusCalls, name: str) -> str:
    """Give a finished collection the name of the store, and return that."""
    wanted = calls.place.collection
    if name != wanted:
        if calls("has_collection", wanted):
            calls("drop_collection", wanted)
        calls("rename_collection", name, wanted)
        load(calls, wanted)
    return wanted


def describe(calls: MilvusCalls, name: str) -> Described | None:
    """Return what a collection says of itself; None if there is none.

    Raises:
        ValueError: it is no store.
    """
    if not calls("has_collection", name):
        return None
    try:
        found = Described.from_properties(calls("describe_collection", name)["properties"])
    except ValueError as error:
        raise ValueError(f"collection {name!r} at {calls.place.server}: {error}") from error
    if found is None:
        raise ValueError(
            f"collection {name!r} at {calls.place.server} was not made by hybrid-fast index; "
            "choose another name: put /NAME behind the address"
        )
    return found


def load(calls: MilvusCalls, name: str) -> None:
    """Have Milvus load a collection, and wait for it.

    Raises:
        OSError: it cannot be loaded.
    """
    state = _load_state(calls, name)
    if state not in ("Loaded", "Loading"):
        calls("load_collection", name, _async=True)  # else it must be done within one timeout
        state = _load_state(calls, name)
    while state == "Loading":
        time.sleep(_LOAD_WAIT)
        state = _load_state(calls, name)
    if state != "Loaded":
        raise OSError(f"Milvus at {calls.place.server} does not load collection {name!r} ({state})")


def _make_collection(calls: MilvusCalls, name: str, store: Described, partitions: int) -> None:
    try:
        calls(
            "create_collection",
            name,
            schema=make_schema(store.info.dimension, store.dtype),
            consistency_level="Strong",  # what was added is found at once
            num_partitions=partitions,
            properties=store.to_properties(),
        )
    except (ConnectionError, PermissionError):
        raise
    except OSError:
        if _own(calls, name) is None:
            raise
    made = _own(calls, name)
    if made is None or made.writer != store.writer:  # Milvus may make an equal one twice
        raise FileExistsError(f"another process has just begun a store at {calls.place.address}")


def _load_state(calls: MilvusCalls, name: str) -> str:
    return str(calls("get_load_state", name)["state"])


def _own(calls: MilvusCalls, name: str) -> Described | None:
    """Return what a collection says of itself, as `describe`, for those that want its name."""
    try:
        return describe(calls, name)
    except ValueError as error:
        raise FileExistsError(str(error)) from error


def _left_behind(calls: MilvusCalls) -> Described | None:
    """Put a finished collection in its place, if a process died between two steps of that."""
    name = f"{calls.place.collection}{_REPLACING}"
    found = describe(calls, name)
    if found is None or not found.whole:
        return None
    take_place(calls, name)
    return found


def _in_the_way(calls: MilvusCalls, found: Described) -> str:
    if found.whole:
        return (
            f"{calls.place.address} holds a store; add to it with --add, make it anew with "
            "--replace, or choose another address"
        )
    return (
        f"{calls.place.address} was begun by {found.writer} and not finished; if that no longer "
        "runs, make it anew with --replace"
    )
