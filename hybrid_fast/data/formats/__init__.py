"""Readers of file formats; each yields the items of an aligned table, row by row."""
