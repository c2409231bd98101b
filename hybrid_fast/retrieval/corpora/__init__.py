"""A corpus as vectors in a folder: its encoding, which can be gone on with, and its reading."""
