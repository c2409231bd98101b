"""File formats: readers of items for the aligned table, of collections, and TREC runs."""
