"""Going on from a checkpoint, or with other arguments: the part of HybridTrainer that does it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_utils import IntervalStrategy

from hybrid_fast.data import HybridBatchSampler
from hybrid_fast.training import checkpoints, inputs, resumption, schedules
from hybrid_fast.training.compat import restore_state
from hybrid_fast.training.layer_rates import groups_digest
from hybrid_fast.training.loss_precision import follow_precision, precision_of
from hybrid_fast.training.optimising import OptimisingTrainer

logger = logging.getLogger(__name__)
_OF_BEST = ("metric_for_best_model", "greater_is_better")
_OF_SCHEDULE = ("lr_scheduler_type", "lr_scheduler_kwargs", *_OF_BEST)


class ResumingTrainer(OptimisingTrainer):
    """An OptimisingTrainer that follows its arguments, or refuses them.

    Attributes:
        sampler: the batch plan.
        table_fingerprint: of the training table.
        made_with: `resumption.plain_arguments` when the trainer was made.
        accelerator_state: `compat.state_of` the accelerator when the trainer was made.
        options: of the optimiser as asked for; None before it is made.
    """

    sampler: HybridBatchSampler
    table_fingerprint: str
    made_with: dict[str, Any]
    accelerator_state: dict[str, Any]
    options: schedules.Options | None = None
    _made_optimizer = False
    _resumed = Path()  # the checkpoint

    def describe_run(self) -> dict[str, Any]:
        """Return what checkpoints keep of the run, the optimiser aside."""
        return resumption.run_settings(
            self.args,
            self.sampler,
            self.table_fingerprint,
            self.encoder,
            precision_of(self.model.loss),
        )

    def follow_arguments(self, checkpoint: Path | None) -> None:
        """Make the optimiser, and bring it and the token budget to what is asked for now.

        Args:
            checkpoint: what the run goes on from; None: from what there is.

        Raises:
            TypeError: an argument was set to a value of the wrong type.
            ValueError: an argument cannot be followed.
        """
        restore_state(self.accelerator, self.accelerator_state)
        resumption.take_changes(self.args, self.made_with)
        inputs.check_evaluation(self.args, self.eval_dataset)
        saved = None if checkpoint is None else checkpoints.read_settings(checkpoint)
        if checkpoint is not None and saved is not None and self.args.loss_precision is None:
            follow_precision(self.model.loss, saved["same"]["loss_precision"], checkpoint)
        self.settings = self.describe_run()
        if checkpoint is not None and saved is not None:
            resumption.check_same(saved["same"], self.settings["same"], checkpoint)
            budget = checkpoints.load_budget(self.args, checkpoint, saved["followed"])
            self.cached_step.budget = budget or self.cached_step.budget
        self._follow_optimiser()
        if checkpoint is not None and saved is not None:
            resumption.check_layer_rates(saved, self.settings, checkpoint)
            resumption.check_same(saved["optimizer"], self.settings["optimizer"], checkpoint)
            resumption.log_changes(self._changes(saved), checkpoint)

    def _follow_optimiser(self) -> None:
        if self.optimizer is None:
            self._made_optimizer = True
            self.options = schedules.options_of(self.create_optimizer())
        elif self.options is None:
            self.options = schedules.options_of(self.optimizer)
        elif self._made_optimizer:
            asked = schedules.options_of(self._new_optimizer())
            schedules.follow_options(self.optimizer, self.options, asked)
            self.options = asked
        self.settings["options"] = self.options
        self.settings["optimizer"] = {
            "optimizer": schedules.kind_of(self.optimizer),
            "optimizer_groups": len(self.options or ()),
            "optimizer_weights": groups_digest(self.optimizer, self.model),
        }

    def _new_optimizer(self) -> torch.optim.Optimizer:
        kept, self.optimizer = self.optimizer, None
        try:
            return self.create_optimizer()
        finally:
            self.optimizer = kept

    def _changes(self, saved: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
        return resumption.changes(saved["followed"], self.settings["followed"])

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        self._resumed = folder = Path(checkpoint)
        saved = checkpoints.read_settings(folder)
        changed = self._changes(saved)
        # After the weights, whose names and shapes say more.
        resumption.check_same(saved["encoder"], self.settings["encoder"], folder)
        # On the CPU first, which has more memory, unless it would hold the states of many ranks.
        many = self.args.world_size > 1 and self.args.device.type != "cpu"
        device = self.args.device if many else "cpu"  # never "cpu:0", which torch.load refuses
        schedules.load_optimiser(
            self.optimizer, folder, device, saved["options"], self.settings["options"]
        )
        same_kind = saved["schedule"] == type(self.lr_scheduler).__qualname__
        schedules.load_schedule(
            self.lr_scheduler,
            self.optimizer,
            folder,
            self.settings["options"],
            self.state.global_step,
            same=same_kind and not any(name in changed for name in _OF_SCHEDULE),
        )
        self.state.compute_steps(self.args, self.state.max_steps)  # of logging, saving, evaluation
        if any(name in changed for name in _OF_BEST):
            self._choose_best(folder)
        self._find_best(folder)

    def _choose_best(self, checkpoint: Path) -> None:
        """Choose the best checkpoint so far by another score."""
        name = f"eval_{str(self.args.metric_for_best_model).removeprefix('eval_')}"
        scores = {
            entry["step"]: entry[name]
            for entry in self.state.log_history
            if name in entry
            and checkpoints.is_complete(checkpoints.sibling(checkpoint, entry["step"]))
        }
        choose = max if self.args.greater_is_better else min
        best = choose(scores, key=lambda step: scores[step], default=None)
        self.state.best_global_step = best
        self.state.best_metric = None if best is None else scores[best]
        self.state.best_model_checkpoint = None

    def _find_best(self, checkpoint: Path) -> None:
        """Look for the best checkpoint beside this one: the folder of the run may have moved."""
        if self.state.best_global_step:
            folder = checkpoints.sibling(checkpoint, self.state.best_global_step)
            if checkpoints.is_complete(folder):
                self.state.best_model_checkpoint = str(folder)

    def evaluate_late(self) -> None:
        """Evaluate the checkpoint that is resumed; it may be the best one."""
        self._determine_best_metric(self._evaluate(None, None), None)
        self._find_best(self._resumed)


class TrainsNoMore(TrainerCallback):
    """Ends a run whose checkpoint has reached the last step, without another one.

    Args:
        evaluate: an evaluation, for one that was to follow the last step and did not.
    """

    def __init__(self, evaluate: Callable[[], object]) -> None:
        self.evaluate = evaluate
        self._is_due = False

    def on_train_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """See whether any step is left."""
        self._is_due = state.global_step >= state.max_steps
        if not self._is_due:
            return
        logger.info(
            "The checkpoint is of step %d of %d: nothing is left to train.",
            state.global_step,
            state.max_steps,
        )
        if _is_to_be_evaluated(args, state) and not _is_evaluated(state):
            self.evaluate()

    def on_epoch_begin(self, args: Any, state: Any, control: TrainerControl, **kw: Any) -> None:
        """Stop before the first step."""
        if self._is_due:
            control.should_training_stop = True

    def on_epoch_end(self, args: Any, state: Any, control: TrainerControl, **kw: Any) -> None:
        """Neither evaluate nor save again."""
        if self._is_due:
            control.should_evaluate = control.should_save = False


def _is_to_be_evaluated(args: Any, state: TrainerState) -> bool:
    """Tell whether an evaluation follows the last step."""
    if args.eval_strategy == IntervalStrategy.EPOCH:
        return bool(args.eval_delay <= (state.epoch or 0))
    return bool(args.eval_strategy != IntervalStrategy.NO and args.eval_delay <= state.global_step)


def _is_evaluated(state: TrainerState) -> bool:
    return any(
        entry["step"] == state.global_step and any(name.startswith("eval_") for name in entry)
        for entry in state.log_history
    )
