"""What a checkpoint holds beside weights and the Trainer's own state, and which are complete.

Settings of the run, the token budget and the ways to compute on a CPU stand in it, since a resumed
run must follow them to give the same weights; see `resumption` and `cpu_ways`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hybrid_fast.common.files import complete_file
from hybrid_fast.common.json_files import read_json, read_optional
from hybrid_fast.training.arguments import HybridTrainingArguments
from hybrid_fast.training.memory import TokenBudget

PLAN_FILE = "plan.json"
BUDGET_FILE = "token_budget.json"
WAYS_FILE = "cpu_ways.json"
OPTIMIZER_FILE = "optimizer.pt"


def last_checkpoint(output_dir: str) -> Path:
    """Return the last complete checkpoint.

    Raises:
        ValueError: there is none.
    """
    checkpoints = complete_checkpoints(output_dir)
    if not checkpoints:
        raise ValueError(f"no complete checkpoint to resume from in {output_dir}; start anew")
    return checkpoints[-1]


def complete_checkpoints(output_dir: str) -> list[Path]:
    """Return the complete checkpoints in order."""
    folders = [
        folder
        for folder in Path(output_dir).glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        if is_complete(folder)
    ]
    return sorted(folders, key=lambda folder: int(folder.name.rsplit("-", 1)[1]))


def checkpoint_folder(output_dir: str, step: int) -> Path:
    """Return the folder of the checkpoint of a step, which may not exist."""
    return Path(output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{step}"


def sibling(checkpoint: Path, step: int) -> Path:
    """Return the folder of the checkpoint of another step of the same run, which may not exist."""
    return checkpoint_folder(str(checkpoint.parent), step)


def is_complete(folder: Path) -> bool:
    """Tell whether a checkpoint is complete: trainer_state.json is the last file written."""
    return (folder / "trainer_state.json").is_file()


def is_checkpoint(folder: Path) -> bool:
    """Tell a checkpoint from a model that is saved elsewhere, by the name of its folder."""
    return folder.name.startswith(PREFIX_CHECKPOINT_DIR)


def save_settings(settings: dict[str, Any], budget: TokenBudget | None, checkpoint: Path) -> None:
    """Write settings of the run, and the token budget if there is one yet."""
    _write_json(checkpoint / PLAN_FILE, settings)
    if budget is not None:
        _write_json(checkpoint / BUDGET_FILE, asdict(budget))


def read_settings(checkpoint: Path) -> dict[str, Any]:
    """Return what `save_settings` wrote into a checkpoint to resume from.

    Raises:
        ValueError: it is no checkpoint of HybridTrainer, or of another version, or lacks the state
            of the optimiser.
    """
    path = checkpoint / PLAN_FILE
    settings = settings_in(checkpoint)
    if settings is None:
        raise ValueError(f"{checkpoint} is no checkpoint of HybridTrainer: {path} is missing")
    if not (checkpoint / OPTIMIZER_FILE).is_file():
        raise ValueError(
            f"{checkpoint} was saved with save_only_model=True, without the state of the "
            "optimiser, so that training cannot go on from it; load it as a model and start anew"
        )
    return settings


def settings_in(folder: Path) -> dict[str, Any] | None:
    """Return what `save_settings` wrote into a folder; None: nothing.

    Raises:
        ValueError: another version wrote it.
    """
    path = folder / PLAN_FILE
    settings = read_json(path, dict) if path.is_file() else None
    if settings is not None and not {"same", "followed"} <= settings.keys():
        raise ValueError(f"{path} is of an older version of hybrid_fast; start anew")
    return settings


def load_budget(
    args: HybridTrainingArguments, checkpoint: Path, followed: dict[str, Any]
) -> TokenBudget | None:
    """Return the budget to resume with; None: it is to be found, as in a new run.

    It decides which texts are padded together and so on the last bits of the result. What the
    arguments set goes first, and what they set no more does not come back.

    Args:
        args: of the run.
        checkpoint: the folder.
        followed: arguments that it was written with, by name.
    """
    path = checkpoint / BUDGET_FILE
    set_no_more = any(
        followed.get(name) is not None and getattr(args, name) is None
        for name in ("micro_batch_tokens", "cached_activation_tokens")
    )
    if args.micro_batch_tokens is not None or set_no_more or not path.is_file():
        return None
    budget = TokenBudget(**read_json(path, dict))
    if args.cached_activation_tokens is not None:
        budget.cached = args.cached_activation_tokens
    return budget


def save_ways(ways: Mapping[str, str], checkpoint: Path) -> None:
    """Write the ways that a run computes by, see `cpu_ways`; no file if it has chosen none."""
    path = checkpoint / WAYS_FILE
    if ways:
        _write_json(path, dict(sorted(ways.items())))
    else:
        path.unlink(missing_ok=True)


def read_ways(checkpoint: Path) -> dict[str, str]:
    """Return what `save_ways` wrote into a checkpoint; {} if it wrote nothing.

    Raises:
        ValueError: the file holds something else.
    """
    path = checkpoint / WAYS_FILE
    ways = read_optional(path)
    for name, way in ways.items():
        if not isinstance(way, str):
            raise ValueError(
                f"{path}: {name} is {way!r}; the name of a way is needed. Remove the file to let "
                "ways be chosen anew"
            )
    return ways


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with complete_file(path) as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
