"""The part of HybridTrainer that makes its optimiser and its schedule."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import Trainer

from hybrid_fast.training.arguments import BY_METRIC, HybridTrainingArguments
from hybrid_fast.training.layer_rates import factor_of, split_groups
from hybrid_fast.training.lazy_adam import LazyAdamW
from hybrid_fast.training.model import ContrastiveModel
from hybrid_fast.training.optimiser import accept_lazy_states, can_update_lazily
from hybrid_fast.training.saving import SavingTrainer


class OptimisingTrainer(SavingTrainer):
    """A SavingTrainer whose optimiser updates large tables lazily and has rates of layers."""

    optimizer: Any

    @staticmethod
    def get_optimizer_cls_and_kwargs(
        args: HybridTrainingArguments, model: ContrastiveModel | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Return the class of the optimiser and its options: LazyAdamW for AdamW if it applies."""
        optimizer, options = Trainer.get_optimizer_cls_and_kwargs(args, model)
        lazy = model is not None and can_update_lazily(args, model)
        if optimizer is torch.optim.AdamW and lazy:
            optimizer = LazyAdamW
        return optimizer, options

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Return the optimiser, with learning rates of layers in groups of its own.

        A torch.optim.AdamW also loads the state of a LazyAdamW.
        """
        is_new = self.optimizer is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if is_new:
            split_groups(optimizer, self.encoder, self.args)
        accept_lazy_states(optimizer)
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Return the schedule; one by scores takes the best of them for the best, as the run does.

        transformers would lower the rate whenever a score such as mAP rises.
        """
        given = self.args.lr_scheduler_kwargs
        if self.args.lr_scheduler_type in BY_METRIC:
            mode = "max" if self.args.greater_is_better else "min"
            self.args.lr_scheduler_kwargs = {"mode": mode, **(given or {})}
        try:
            return super().create_scheduler(num_training_steps, optimizer)
        finally:
            self.args.lr_scheduler_kwargs = given

    def _get_learning_rate(self) -> float:
        """Return the rate in effect that `learning_rate` is the base of."""
        rate: float = super()._get_learning_rate()
        return rate / factor_of(self.optimizer.param_groups[0])

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Return the parameters that weight decay applies to: transformers', no temperature."""
        names = super().get_decay_parameter_names(model)
        return [name for name in names if not name.endswith("log_temperature")]
