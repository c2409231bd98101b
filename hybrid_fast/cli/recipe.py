"""Recipes: one YAML file is one training run."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hybrid_fast.cli.fields import Fields, check_options, nothing_extra, read_fields, read_value
from hybrid_fast.evaluation import load_task
from hybrid_fast.models import BiEncoder
from hybrid_fast.training import HybridTrainingArguments

GIVEN_ELSEWHERE = {"output_dir": "--out", "resume_from_checkpoint": "--resume"}


@dataclass
class Recipe:
    """What a run is made of besides its HybridTrainingArguments.

    Attributes:
        model: "static" for an encoder trained from scratch on the texts of `train`, else a folder
            or hub name.
        model_options: keyword arguments of BiEncoder.static or BiEncoder.from_pretrained.
        train: "builtin", or sources as keyword arguments of load_table (`path`, `format`, ...).
        data_root: folder that relative paths start from, itself relative to the recipe's folder.
        task: task that the trained model, and `eval_strategy`, is evaluated on.
        task_data: its files.
        task_options: further keyword arguments of load_task.
    """

    model: str = "static"
    model_options: dict[str, Any] = field(default_factory=dict)
    train: str | list[dict[str, Any]] = "builtin"
    data_root: str | None = None
    task: str | None = None
    task_data: str | None = None
    task_options: dict[str, Any] = field(default_factory=dict)
