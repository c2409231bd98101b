"""The store of Milvus: in a file, on a server or on a cluster."""
