"""Stores of vectors behind one interface: FAISS in a folder, Milvus in a file or on a server."""

from hybrid_fast.retrieval.stores.addresses import create_store, open_store
from hybrid_fast.retrieval.stores.store import Rows, Store, StoreHits

__all__ = ["Rows", "Store", "StoreHits", "create_store", "open_store"]
