"""Adapters (peft): options, layers, folders."""
