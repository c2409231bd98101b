"""What a checkpoint holds beside weights and the Trainer's own state, and which are complete.

The settings of the batch plan and the token budget stand in it, since a resumed run must follow
both to give the same weights.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hybrid_fast.common.files import complete_file
from hybrid_fast.data import HybridBatchSampler
from hybrid_fast.training.arguments import HybridTrainingArguments
from hybrid_fast.training.memory import TokenBudget

PLAN_FILE = "plan.json"
BUDGET_FILE = "token_budget.json"
OPTIMIZER_FILE = "optimizer.pt"

# Arguments that decide on the batches.
_PLAN_ARGUMENTS = (
    "batch_size",
    "kind",
    "language_sampling",
    "pair_weights",
    "source_weights",
    "pairs",
)


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


def is_complete(folder: Path) -> bool:
    """Tell whether a checkpoint is complete: trainer_state.json is the last file written."""
    return (folder / "trainer_state.json").is_file()


def is_checkpoint(folder: Path) -> bool:
    """Tell a checkpoint from a model that is saved elsewhere, by the name of its folder."""
    return folder.name.startswith(PREFIX_CHECKPOINT_DIR)


def plan_settings(
    args: HybridTrainingArguments, sampler: HybridBatchSampler, table_fingerprint: str
) -> dict[str, Any]:
    """Return what a resumed run must share with the one it continues."""
    return {
        **{name: getattr(args, name) for name in _PLAN_ARGUMENTS},
        "alpha": sampler.alpha,
        "seed": sampler.seed,
        "learn_temperature": args.learn_temperature,
        "table": table_fingerprint,
    }


def save_settings(plan: dict[str, Any], budget: TokenBudget | None, checkpoint: Path) -> None:
    """Write the result of `plan_settings`, and the token budget if there is one yet."""
    _write_json(checkpoint / PLAN_FILE, plan)
    if budget is not None:
        _write_json(checkpoint / BUDGET_FILE, asdict(budget))


def check_plan(plan: dict[str, Any], checkpoint: Path) -> None:
    """Check that a run may resume from a checkpoint.

    Args:
        plan: `plan_settings` of the run.
        checkpoint: the folder.

    Raises:
        ValueError: it is no checkpoint of HybridTrainer, lacks the state of the optimiser, or has
            other settings; the first is named with both values.
    """
    path = checkpoint / PLAN_FILE
    if not path.is_file():
        raise ValueError(f"{checkpoint} is no checkpoint of HybridTrainer: {path} is missing")
    if not (checkpoint / OPTIMIZER_FILE).is_file():
        raise ValueError(
            f"{checkpoint} was saved with save_only_model=True, without the state of the "
            "optimiser, so that training cannot go on from it; load it as a model and start anew"
        )
    saved = _read_json(path)
    for name, value in json.loads(json.dumps(plan)).items():
        if saved.get(name) != value:
            raise ValueError(
                f"{checkpoint} was trained with {name} = {saved.get(name)!r}, this run has "
                f"{value!r}; resume with the same plan, or start anew"
            )


def load_budget(args: HybridTrainingArguments, checkpoint: Path) -> TokenBudget | None:
    """Return the budget to resume with; None: it is to be found, as in a new run.

    It decides which texts are padded together and so on the last bits of the result. What the
    arguments set goes first.
    """
    path = checkpoint / BUDGET_FILE
    if args.micro_batch_tokens is not None or not path.is_file():
        return None
    budget = TokenBudget(**_read_json(path))
    if args.cached_activation_tokens is not None:
        budget.cached = args.cached_activation_tokens
    return budget


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with complete_file(path) as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
