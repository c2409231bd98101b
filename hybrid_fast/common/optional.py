"""Libraries that belong to an extra of this package."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def load_optional(name: str, needed_by: str, extra: str) -> ModuleType:
    """Import a module of a library that an extra brings.

    Args:
        name: of the module.
        needed_by: what needs it, for the message.
        extra: that brings the library.

    Raises:
        ImportError: it is not installed, or something that it needs is not.
    """
    try:
        return import_module(name)
    except ImportError as error:
        library = name.partition(".")[0].replace("_", "-")
        raise ImportError(
            f"{needed_by} needs {library}, which cannot be imported ({error}); "
            f"pip install 'hybrid_fast[{extra}]'"
        ) from error
