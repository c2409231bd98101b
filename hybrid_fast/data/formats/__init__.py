"""Readers of file formats, which yield the items of an aligned table one by one."""
