"""Dropout: rates, and its computation on CPUs."""
