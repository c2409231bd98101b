"""Pushing to the hub: the model with its card, and checkpoints if they are asked for."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelCard, ModelCardData
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, HubStrategy
from transformers.utils import PushInProgress

from hybrid_fast.common.hub import is_hub_name
from hybrid_fast.models import BiEncoder
from hybrid_fast.training.arguments import HybridTrainingArguments

logger = logging.getLogger(__name__)
_LAST_CHECKPOINT = "last-checkpoint"  # where transformers' Trainer puts it
_SHOWN_ARGUMENTS = (
    "kind",
    "alpha",
    "language_sampling",
    "batch_size",
    "temperature",
    "learning_rate",
    "seed",
)
_USE = """\
```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{name}")
queries = model.encode_query(["..."])
passages = model.encode_document(["..."])
```
"""


def push_in_background(
    args: HybridTrainingArguments, repo_id: str, checkpoint: Path, step: int
) -> PushInProgress:
    """Start to upload the model in `output_dir`, and the checkpoint if `hub_strategy` says so."""
    upload: Any = HfApi().upload_folder
    message = f"Training in progress, step {step}"
    options = {
        "repo_id": repo_id,
        "token": args.hub_token,
        "revision": args.hub_revision,
        "run_as_future": True,
    }
    of_model = {
        "folder_path": args.output_dir,
        "commit_message": message,
        "ignore_patterns": ["_*", ".*", f"{PREFIX_CHECKPOINT_DIR}-*"],
    }
    jobs = [upload(**of_model, **options)]
    if args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
        last = args.hub_strategy == HubStrategy.CHECKPOINT
        of_checkpoint = {
            "folder_path": str(checkpoint),
            "path_in_repo": _LAST_CHECKPOINT if last else checkpoint.name,
            "commit_message": f"{message}, checkpoint",
        }
        jobs.append(upload(**of_checkpoint, **options))
    return PushInProgress(jobs)


def is_running(push: PushInProgress | None) -> bool:
    """Tell whether an upload has been started and is not finished."""
    return push is not None and not push.is_done()


def warn_of_failures(push: PushInProgress | None) -> None:
    """Warn once of an upload that has failed; training goes on."""
    for job in [] if push is None else push.jobs:
        if job.done() and job.exception() is not None:
            logger.warning("The model was not pushed to the hub: %s", job.exception())
            return


def base_model(encoder: BiEncoder) -> str | None:
    """Return the hub name that an encoder was loaded from, None if it was not."""
    name = encoder.name_or_path
    return name if "/" in name and is_hub_name(name) and not Path(name).exists() else None


def last_scores(log_history: list[dict[str, float]], step: int | None = None) -> dict[str, float]:
    """Return the scores of the last evaluation, by name; none if there was no evaluation.

    Args:
        log_history: of the run.
        step: the last evaluation of this step; None: of all.
    """
    for entry in reversed(log_history):
        if step not in (None, entry["step"]):
            continue
        scores = {name.removeprefix("eval_"): entry[name] for name in entry if "eval_" in name[:5]}
        if scores:
            return scores
    return {}


def model_card(
    args: HybridTrainingArguments,
    *,
    name: str,
    languages: str | list[str],
    scores: dict[str, float],
    tags: list[str],
    base_model: str | None,
    **metadata: Any,
) -> ModelCard:
    """Return the card of a model.

    Args:
        args: of its training.
        name: of the model.
        languages: of the training table.
        scores: of the evaluation of this model.
        tags: more tags.
        base_model: the hub name it was trained from, if any.
        **metadata: further fields of its head, such as license; None is left out.
    """
    head = ModelCardData(
        language=languages,
        library_name="sentence-transformers",
        pipeline_tag="sentence-similarity",
        tags=["sentence-transformers", "feature-extraction", "hybrid-fast", *tags],
        base_model=base_model,
        **{field: value for field, value in metadata.items() if value is not None},
    )
    parts = [
        f"---\n{head.to_yaml()}\n---",
        f"# {name}",
        "A multilingual dense retriever, trained with hybrid_fast.",
        _USE.format(name=args.hub_model_id or name),
        "## Training",
        _rows("field", {field: getattr(args, field) for field in _SHOWN_ARGUMENTS}),
    ]
    if scores:
        parts += ["## Evaluation", _rows("score", {k: f"{v:.4f}" for k, v in scores.items()})]
    return ModelCard("\n\n".join(parts) + "\n")


def _rows(title: str, values: dict[str, Any]) -> str:
    lines = [f"| {title} | value |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {value} |" for name, value in values.items())])
