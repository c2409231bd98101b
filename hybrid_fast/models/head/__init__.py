"""Modules between pooling and the embedding."""
