"""Prompts: what is put before texts, by name, as sentence-transformers names them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from hybrid_fast.common.choices import check_choice
from hybrid_fast.common.texts import check_unicode
from hybrid_fast.models.backbones.static import StaticBackbone
from hybrid_fast.models.backbones.transformer import TransformerBackbone
from hybrid_fast.models.texts import SIDES, Side

logger = logging.getLogger(__name__)

# Names that the prompt of passages has elsewhere; the first that is there counts.
_PASSAGE_NAMES = ("document", "passage", "corpus")


class Prompts(dict[str, str]):
    """Prompts by name: "query" and "document", which are always there, and any others.

    "passage" and "corpus" are other names of "document", to read and to write, unless prompts of
    these names stand beside it.

    Args:
        prompts: by name; None is no prompt.

    Raises:
        TypeError: they are no mapping, or a prompt is not a string.
        ValueError: a prompt is no valid Unicode.
    """

    def __init__(self, prompts: Mapping[str, str | None] | None = None) -> None:
        super().__init__(query="", document="")
        self.update({} if prompts is None else prompts)

    def of_side(self, side: Side) -> str:
        """Return what is put before each query or each passage."""
        return dict.get(self, "query" if side == "query" else "document", "")

    def choose(self, prompt: str | None, name: str | None, default_name: str | None) -> str:
        """Return a prompt that is given itself, by its name or by a default name, else "".

        Raises:
            TypeError: the prompt is not a string.
            ValueError: there is no prompt of the name.
        """
        if prompt is not None:
            if name is not None:
                logger.warning("A prompt is given, so prompt_name %r is not used.", name)
            _check_prompt("", prompt)
            return prompt
        if name is None and default_name is None:
            return ""
        option = "default_prompt_name" if name is None else "prompt_name"
        return self[self.check_name(option, default_name if name is None else name)]

    def check_name(self, option: str, name: object) -> str:
        """Return the name of a prompt that is there.

        Args:
            option: that gives it, for the message.
            name: what was given.

        Raises:
            ValueError: there is none of that name; the message names those there are.
        """
        return name if isinstance(name, str) and name in self else check_choice(option, name, self)

    def _key(self, name: Any) -> Any:
        """Return the name under which a prompt is kept."""
        return name if name not in _PASSAGE_NAMES or dict.__contains__(self, name) else "document"

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(self._key(name))

    def __setitem__(self, name: str, prompt: str) -> None:
        _check_prompt(name, prompt)
        super().__setitem__(self._key(name), prompt)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(self._key(name))

    def get(self, name: str, default: Any = None) -> Any:
        """Return a prompt, or `default` if there is none of that name."""
        return super().get(self._key(name), default)

    def update(self, prompts: Mapping[str, str | None]) -> None:  # type: ignore[override]
        """Set some prompts, but for those that are None."""
        if not isinstance(prompts, Mapping):
            raise TypeError(f"prompts is {prompts!r}; a dict of texts by name is needed")
        given = {name: text for name, text in prompts.items() if text is not None}
        of_passages = next((name for name in _PASSAGE_NAMES if name in given), None)
        for name, text in given.items():
            _check_prompt(name, text)
            super().__setitem__(self._key(name) if name == of_passages else name, text)

    def __ior__(self, prompts: Any) -> Prompts:  # type: ignore[override,misc]
        self.update(prompts)
        return self

    def __eq__(self, other: object) -> bool:
        """Tell whether the prompts are the same, whatever those of passages are called."""
        if not isinstance(other, Mapping):
            return NotImplemented
        try:
            return dict(self) == dict(Prompts(other))
        except (TypeError, ValueError):  # it holds something else than texts
            return False

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Prompts, (dict(self),)


def with_sides(
    prompts: Mapping[str, str | None], query_prompt: str | None, passage_prompt: str | None
) -> Prompts:
    """Return prompts with those of the sides that are given.

    Raises:
        TypeError, ValueError: as `Prompts`.
    """
    changed = Prompts(prompts)
    changed.update({"query": query_prompt, "document": passage_prompt})
    return changed


def check_prompts(
    backbone: StaticBackbone | TransformerBackbone,
    prompts: Prompts,
    max_lengths: Mapping[Side, int],
) -> None:
    """Check that the prompts of both sides leave room for other texts, and warn of one not used.

    Raises:
        ValueError: a prompt has as many tokens as its side may have.
    """
    for side in SIDES:
        limit, prompt = max_lengths.get(side), prompts.of_side(side)
        if limit is not None and fills(backbone, prompt, side, limit):
            raise ValueError(
                f"{side}_prompt alone fills the {limit} tokens of max_{side}_length; shorten the "
                "prompt or raise the length"
            )
    unused = [name for name in _PASSAGE_NAMES if prompts.get(name)]
    if unused and not prompts.of_side("passage"):
        logger.warning(
            "The prompt %r is not put before passages: theirs is 'document', which is empty; set "
            "that, or passage_prompt.",
            unused[0],
        )


def fills(
    backbone: StaticBackbone | TransformerBackbone, prompt: str, side: Side, limit: int
) -> bool:
    """Tell whether a prompt leaves no room in a number of tokens."""
    return bool(prompt.strip()) and bool(backbone.token_ids([prompt], side)[1][0] >= limit)


def _check_prompt(name: str, prompt: object) -> None:
    named = {"query": "query_prompt", **dict.fromkeys(_PASSAGE_NAMES, "passage_prompt")}
    what = named.get(name) or (f"the prompt {name!r}" if name else "prompt")
    if not isinstance(prompt, str):
        raise TypeError(f"{what} is {prompt!r}; it must be a string")
    check_unicode(prompt, what)
