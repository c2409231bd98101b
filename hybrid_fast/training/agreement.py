"""What ranks must share to train as one, and the check, before the first step, that they do.

Each rank takes its part of its own plan and updates its own weights; nothing in a step would notice
that these are others than elsewhere, or only by waiting.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import fields
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainingArguments

from hybrid_fast import __version__
from hybrid_fast.cpu.ways import VARIABLE
from hybrid_fast.data import AlignedTable
from hybrid_fast.evaluation.tasks import RetrievalTask
from hybrid_fast.models import BiEncoder
from hybrid_fast.models.texts import SIDES
from hybrid_fast.training.checkpoints import PLAN_FILE
from hybrid_fast.training.collectives import all_ranks, of_ranks
from hybrid_fast.training.fields import HARMLESS

# Arguments that may differ: places, names and displays of a run, and how a process loads batches.
OF_A_RANK = frozenset(
    """
    output_dir logging_dir run_name project trackio_space_id trackio_bucket_id
    trackio_static_space_id report_to disable_tqdm log_level log_level_replica log_on_each_node
    skip_memory_metrics profile token_store resume_from_checkpoint

    hub_model_id hub_strategy hub_token hub_private_repo hub_always_push hub_revision

    dataloader_num_workers dataloader_pin_memory dataloader_persistent_workers
    dataloader_prefetch_factor dataloader_multiprocessing_context ddp_timeout
    """.split()
)
_MAX_SHOWN, _MAX_LENGTH = 4, 80  # facts in a message, and characters of a value


def check_agreement(facts: Mapping[str, object]) -> None:
    """Check that all ranks, which call this together, state the same facts.

    Args:
        facts: their values are compared as text.

    Raises:
        ValueError: on all ranks, if they differ; it says which rank differs in what.
    """
    all_stated = of_ranks({name: str(value) for name, value in facts.items()})
    names = dict.fromkeys(name for stated in all_stated for name in stated)
    differing = [name for name in names if len({stated.get(name) for stated in all_stated}) > 1]
    if not differing:
        return
    shown = [_difference(name, all_stated) for name in differing[:_MAX_SHOWN]]
    more = len(differing) - len(shown)
    raise ValueError(
        f"the ranks of this training differ in {'; in '.join(shown)}"
        f"{f'; and in {more} more' if more else ''}. They train one model together: give all of "
        "them the same rows in the same order, the same model, the same arguments, seed included, "
        f"and the same {VARIABLE}"
    )


def _difference(name: str, all_stated: list[dict[str, str]]) -> str:
    ranks_by_value = defaultdict(list)
    for rank, stated in enumerate(all_stated):
        ranks_by_value[stated.get(name, "nothing")].append(str(rank))
    # The value of most ranks comes last: the others are what to look at.
    values = sorted(ranks_by_value.items(), key=lambda item: len(item[1]))
    parts = [
        f"rank{'s' * (len(ranks) > 1)} {', '.join(ranks)}: {value[:_MAX_LENGTH]}"
        for value, ranks in values
    ]
    return f"{name} ({', '.join(parts)})"


def facts_of_arguments(args: TrainingArguments) -> dict[str, object]:
    """Return the arguments that decide on weights, on results, or on when ranks communicate."""
    names = (field.name for field in fields(args))
    return {
        name: repr(getattr(args, name))
        for name in names
        if name not in OF_A_RANK and name not in HARMLESS
    }


def facts_of_run(
    args: TrainingArguments,
    table: AlignedTable,
    encoder: BiEncoder,
    evaluator: object,
) -> dict[str, object]:
    """Return what is known before training, most telling first."""
    if all_ranks() is None:
        return {}  # nobody to compare the weights with
    return {
        "version of hybrid_fast": __version__,
        "number of rows": len(table),
        "languages": table.languages,
        VARIABLE: os.environ.get(VARIABLE, "").strip() or "not set",
        **facts_of_arguments(args),
        "fingerprint of the table": table.fingerprint,
        **{f"tokens of a {side}": encoder.max_length.get(side) for side in SIDES},
        **{f"prompt of a {side}": repr(encoder.prompts.of_side(side)) for side in SIDES},
        **{f"tokenizer of a {side}": encoder.tokenizer_key(side) for side in SIDES},
        **_facts_of_task(evaluator),
        **_facts_of_weights(encoder),
    }


def facts_of_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, object]:
    """Return what an optimiser does with how many weights, by group."""
    groups = [
        {name: len(value) if name == "params" else value for name, value in group.items()}
        for group in optimizer.param_groups
    ]
    options = {
        f"{name} of group {number} of the optimizer": value
        for number, group in enumerate(groups)
        for name, value in group.items()
        if isinstance(value, int | float | tuple)
    }
    return {"optimizer": type(optimizer).__qualname__, **options}


def facts_of_checkpoint(checkpoint: Path | None) -> dict[str, object]:
    """Return what ranks that resume must share; each may see another folder of that name."""
    if checkpoint is None:
        return {"checkpoint": "none"}
    files = (PLAN_FILE, "trainer_state.json")
    contents = [path.read_bytes() for path in map(checkpoint.joinpath, files) if path.is_file()]
    return {
        "checkpoint": checkpoint.name,
        f"contents of {checkpoint.name}": _digest(*contents),
    }


def _facts_of_task(task: object) -> dict[str, object]:
    facts: dict[str, object] = {"evaluator": "none" if task is None else type(task).__qualname__}
    if isinstance(task, RetrievalTask):
        facts["task"] = task.name
        facts["languages of the task"] = task.languages
    return facts


def _facts_of_weights(encoder: nn.Module) -> dict[str, object]:
    """Return a digest of every weight by its name, and whether it is trained.

    blake2b takes 0.6 s for 120 million float32 on one core, once a run.
    """
    return {
        f"weight {name}": f"{_digest_of(weight)}{'' if weight.requires_grad else ', frozen'}"
        for name, weight in encoder.named_parameters()
    }


def _digest_of(weight: Tensor) -> str:
    flat = weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return _digest(str((tuple(weight.shape), weight.dtype)).encode(), flat.numpy())


def _digest(*contents: Any) -> str:
    digest = blake2b(digest_size=8)
    for content in contents:
        digest.update(content)
    return digest.hexdigest()
