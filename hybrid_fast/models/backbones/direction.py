"""The direction of attention: decoders that read a text in both directions, as encoders do.

transformers 5 keeps it in the configuration: `is_causal`, or what Gemma 3 and 4 call
`use_bidirectional_attention`, which also halves their sliding windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from hybrid_fast.common.json_files import read_json, write_json
from hybrid_fast.models.compat import with_padding_attention

# What models raise that give no gradient to embeddings of tokens in evaluation mode.
_NO_GRADIENT = (AssertionError, AttributeError, NotImplementedError, RuntimeError, TypeError)
_FLAG = "use_bidirectional_attention"
# Kinds of models that heed the flag in all that they do, by its value for both directions.
_FLAGGED: dict[str, object] = {"gemma3_text": True, "gemma4_text": "all"}


def reads_both_ways(config: Any) -> bool:
    """Tell whether a configuration makes attention bidirectional that would be causal without."""
    is_causal = getattr(config, "is_causal", None)
    return getattr(config, _FLAG, None) in (True, "all") if is_causal is None else not is_causal


def direction_options(config: Any) -> dict[str, dict[str, object]]:
    """Return options of a Transformer of sentence-transformers that turn a saved base.

    They stand beside an adapter of a decoder that was turned after it was loaded. Where its
    library cannot turn the base, it refuses them: attention would go in the other direction.
    """
    both, value = reads_both_ways(config), _FLAGGED.get(config.model_type)
    if value is not None:
        return {"config_kwargs": {_FLAG: value if both else None}}
    return {"model_kwargs": {"is_causal": not both}}


def take_direction(options: dict[str, Any]) -> bool | None:
    """Take away what `direction_options` wrote; return whether attention goes both ways."""
    of_config, of_model = (options.get(name) or {} for name in ("config_kwargs", "model_kwargs"))
    if _FLAG in of_config:
        return of_config.pop(_FLAG) in (True, "all")
    if "is_causal" in of_model:
        return not of_model.pop("is_causal")
    return None


def turned_config(config: Any, folder: Path, bidirectional: bool | None) -> Any:
    """Return the configuration that a model is to be made of.

    Args:
        config: as saved.
        folder: where it is saved.
        bidirectional: whether attention goes in both directions; None as saved.

    Raises:
        ValueError: bidirectional is something else.
    """
    if bidirectional is not None and not isinstance(bidirectional, bool):
        raise ValueError(
            f"bidirectional is {bidirectional!r}; it must be True, False or None, which follows "
            "the folder"
        )
    value = _FLAGGED.get(config.model_type)
    if value is None:
        if reads_both_ways(config) and bidirectional is None:
            # Gemma and Gemma 2 heed the flag without padding, and `is_causal` always.
            config.is_causal = False
        return config
    if bidirectional is None or bidirectional == reads_both_ways(config):
        return config
    content = read_json(folder / "config.json", dict) | {_FLAG: value if bidirectional else None}
    content.pop("is_causal", None)
    return type(config).from_dict(content)  # which makes windows of the right size


def keep_windows(config: Any, folder: Path) -> None:
    """Correct the sliding windows of a saved configuration, so that they are read as they are.

    transformers halves those of a bidirectional Gemma 3 whenever it reads them. Versions such as
    5.4 write them halved.

    Args:
        config: of the model.
        folder: where `save_pretrained` wrote it.
    """
    if config.model_type not in _FLAGGED or not reads_both_ways(config):
        return
    if type(config).from_pretrained(folder).sliding_window != config.sliding_window:
        content = read_json(folder / "config.json", dict)
        content["sliding_window"] = 2 * (config.sliding_window - 1)
        write_json(folder / "config.json", content)


def turn(model: PreTrainedModel, bidirectional: bool) -> None:
    """Make a model attend in both directions, or to what is before a token alone.

    What it does is measured, in texts with and without padding.

    Args:
        model: made of what `turned_config` returned.
        bidirectional: whether it shall attend in both directions.

    Raises:
        ValueError: its attention cannot be changed so, or not measured.
    """
    config, kind = model.config, model.config.model_type
    if _directions(model) == {bidirectional} and (bidirectional or not reads_both_ways(config)):
        return
    if bidirectional:
        config.is_causal = False
    elif reads_both_ways(config):
        config.is_causal = True
    if _directions(model) == {bidirectional}:
        return
    if bidirectional:
        raise ValueError(
            f"bidirectional is True, and the attention of a {kind} stays causal in transformers; "
            "leave it out to use the decoder as it is, or give a decoder whose attention can be "
            "turned (such as Qwen3, Llama, Mistral or Gemma)"
        )
    raise ValueError(
        f"bidirectional is False, and a {kind} is an encoder, whose tokens attend in both "
        "directions; leave it out"
    )


def _directions(model: PreTrainedModel) -> set[bool]:
    try:
        with with_padding_attention(model):
            return {_sees_ahead(model, padded) for padded in (False, True)}
    except _NO_GRADIENT as error:
        raise ValueError(
            f"bidirectional is given, and a {model.config.model_type} does not tell which way its "
            f"attention goes ({type(error).__name__}: {error}); leave it out"
        ) from error


def _sees_ahead(model: PreTrainedModel, padded: bool) -> bool:
    """Tell whether the first token's state has a gradient to the embedding of the last.

    A causal mask makes it exactly 0.
    """
    table = model.get_input_embeddings().weight
    ids = torch.arange(1, 4 + padded, device=table.device)[None] % len(table)
    mask = (torch.arange(ids.shape[1], device=table.device) < 3).long()[None]
    with torch.enable_grad(), _taken_embeddings(model) as taken:
        states = model(input_ids=ids, attention_mask=mask).last_hidden_state
        # No multiple of the norm, which a last layer norm fixes.
        weights = torch.linspace(-1, 1, states.shape[-1], device=states.device)
        (gradient,) = torch.autograd.grad((states[0, 0].float() * weights).sum(), taken[:1])
    return bool(gradient.flatten(0, 1)[2].any())  # XLNet puts tokens before texts


@contextmanager
def _taken_embeddings(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """Collect the embeddings of tokens that a model looks up, as the leaves of its graph."""
    taken: list[Tensor] = []

    def take(module: object, inputs: object, output: Tensor) -> Tensor:
        taken.append(output.detach().requires_grad_())
        return taken[-1].clone()  # which may be changed in place

    table = model.get_input_embeddings().weight
    # A T5 looks them up in another module with the same weights.
    modules = [each for each in model.modules() if getattr(each, "weight", None) is table]
    hooks = [module.register_forward_hook(take) for module in modules]
    try:
        yield taken
    finally:
        for hook in hooks:
            hook.remove()
