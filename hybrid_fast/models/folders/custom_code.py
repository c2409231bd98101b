"""Modules whose code comes with a model: which are ordinary ones under another name.

A class that adds nothing to how texts are embedded is trained as the one that it is derived from.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from transformers.dynamic_module_utils import get_class_from_dynamic_module

from hybrid_fast.models.folders.foreign import untrainable

_HOME = "sentence_transformers."
# What a class may have of its own without embedding texts otherwise; names that its ancestors in
# sentence-transformers do not have do no harm either, since nothing calls them.
_HARMLESS = ("save", "save_config", "get_config_dict", "config_keys", "__repr__", "__str__")
_PARTS_OF_EACH_CLASS = (
    *("__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__"),
    *("__annotate__", "__annotate_func__", "__annotations_cache__", "__firstlineno__"),
    *("__static_attributes__", "__parameters__", "__abstractmethods__", "_abc_impl"),
)


def find_ordinary(
    reference: str, model: Path, place: Path, known: Sequence[str], trust_remote_code: bool
) -> str:
    """Return the known class that a class with code of its own is, with its package.

    Args:
        reference: the class as modules.json has it, such as "custom_st.Transformer".
        model: folder of the model.
        place: folder of the module.
        known: classes of sentence-transformers that are trained, without their packages.
        trust_remote_code: whether the code may be run.

    Raises:
        UntrainableChainError: it is none of them, or embeds in a way of its own.
        ValueError: the code may not be run, or cannot.
    """
    if not trust_remote_code:
        raise ValueError(
            f"{model} lists the module {reference}, a class that sentence-transformers does not "
            "have and whose code is not run; give trust_remote_code=True (--trust-remote-code) if "
            "you have read it and trust it"
        )
    found = _load_class(reference, model, place)
    for index, ancestor in enumerate(found.__mro__):
        if ancestor.__module__.startswith(_HOME) and ancestor.__name__ in known:
            own = {name for each in found.__mro__[:index] for name in vars(each)}
            changed = sorted(
                own.intersection(dir(ancestor)).difference(_HARMLESS, _PARTS_OF_EACH_CLASS)
            )
            if not changed:
                return f"{ancestor.__module__}.{ancestor.__name__}"
            what = (
                f"has its own {', '.join(changed)}, unlike the {ancestor.__name__} it is a kind of"
            )
            break
    else:
        what = "is no kind of a module that can be trained"
    raise untrainable(model, f"the module {reference} of {model} {what}", trust_remote_code=True)


def _load_class(reference: str, model: Path, place: Path) -> type:
    """Load a class from a file of the model or of the module, else from an installed package."""
    for folder in dict.fromkeys((model, place)):
        if "--" in reference or (folder / f"{reference.rpartition('.')[0]}.py").is_file():
            try:
                return get_class_from_dynamic_module(reference, str(folder))
            except (ImportError, AttributeError, SyntaxError, OSError, ValueError) as error:
                raise ValueError(f"{folder}: {reference} cannot be loaded: {error}") from error
    package, _, name = reference.rpartition(".")
    try:
        found: type = getattr(importlib.import_module(package), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{model} lists the module {reference}, but holds no {package or reference}.py, and no "
            f"package that is installed has it: {error}"
        ) from error
    return found
