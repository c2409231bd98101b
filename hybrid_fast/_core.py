"""Imported only if the C++ extension of this name, which takes precedence, is not built."""

raise ImportError(
    "hybrid_fast is imported from a source folder without its C++ extension; run Python from "
    "another folder (or with -P), or build the extension here with: pip install -e ."
)
