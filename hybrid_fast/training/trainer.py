"""HybridTrainer: transformers' Trainer over hybrid batches and the contrastive loss.

The loop, checkpoints, logging and callbacks are the Trainer's. Ours are the batches (a step is a
pure function of its number, so a resumed run fetches only steps it has not seen), the step through
the gradient cache with the negatives of all processes, the evaluation by retrieval tasks, and the
format of saved models.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback

from hybrid_fast.common.disk import writing
from hybrid_fast.common.paths import expanded
from hybrid_fast.data import AlignedTable
from hybrid_fast.evaluation.tasks import RetrievalTask
from hybrid_fast.models import BiEncoder
from hybrid_fast.training import checkpoints, inputs, resumption
from hybrid_fast.training.agreement import (
    check_agreement,
    facts_of_arguments,
    facts_of_checkpoint,
    facts_of_optimizer,
    facts_of_run,
)
from hybrid_fast.training.arguments import HybridTrainingArguments
from hybrid_fast.training.cached_step import CachedStep
from hybrid_fast.training.collectives import average_gradients, awaited_by_all, ended_by_any
from hybrid_fast.training.compat import check_trainer_hooks, state_of
from hybrid_fast.training.compiled_layers import compile_layers
from hybrid_fast.training.cpu_ways import CpuWays
from hybrid_fast.training.devices import say_if_emulated
from hybrid_fast.training.divergence import DivergenceError, InEffect, divergence
from hybrid_fast.training.evaluating import EvaluatingTrainer
from hybrid_fast.training.learning import LearningWatch, Logged
from hybrid_fast.training.model import make_model
from hybrid_fast.training.negatives import check_negatives, describe_negatives
from hybrid_fast.training.optimiser import as_lazy_adamw, lazy_updates
from hybrid_fast.training.resuming import TrainsNoMore
from hybrid_fast.training.steps import (
    Batch,
    SetEpoch,
    StepLoader,
    make_loader,
    make_sampler,
    make_steps,
)
from hybrid_fast.training.termination import StopOnSignal
from hybrid_fast.training.timing import EndOfUpdate, StepTimer, Throughput
from hybrid_fast.training.token_tables import clip_gradients

logger = logging.getLogger(__name__)
# Of padded texts; attention on GPUs has a code of its own for masks of other widths.
_LENGTH_MULTIPLE_COMPILED = 8


class HybridTrainer(EvaluatingTrainer):
    """Trains a BiEncoder on an aligned table.

    Args:
        model: the encoder, trained in place.
        args: see HybridTrainingArguments.
        train_table: the items.
        evaluator: a task of `load_task`, evaluated as `eval_strategy` says; its metrics appear as
            eval_mono_map, eval_cross_map, eval_multi_map, ..., eval_rank_distance, and
            `metric_for_best_model="multi_map"` picks the best checkpoint by one of them.
        callbacks: transformers callbacks.
        optimizers: optimiser and schedule, as of transformers.Trainer; None for the arguments'.
        optimizer_cls_and_kwargs: class and options of the optimiser, as of transformers.Trainer.

    Raises:
        TypeError: an argument of the wrong type, or one that only other trainers have.
        ValueError: options that the plan or the loss cannot satisfy, nothing to train, or ranks
            that differ in what they train.
        ImportError: the installed transformers lacks a hook that this class overrides.
    """

    args: HybridTrainingArguments

    def __new__(cls, *_: Any, **options: Any) -> HybridTrainer:
        """Refuse arguments of other trainers, with what to give instead."""
        inputs.check_argument_names(options)
        return super().__new__(cls)

    @ended_by_any()
    def __init__(
        self,
        model: BiEncoder,
        args: HybridTrainingArguments,
        train_table: AlignedTable,
        evaluator: RetrievalTask | None = None,
        callbacks: list[TrainerCallback] | None = None,
        *,
        optimizers: tuple[Any, Any] = (None, None),
        optimizer_cls_and_kwargs: tuple[type[torch.optim.Optimizer], dict[str, Any]] | None = None,
    ) -> None:
        check_trainer_hooks(Trainer)
        inputs.check_types(model, args, train_table, callbacks, optimizers)
        if evaluator is not None:
            inputs.check_evaluator(evaluator)
        inputs.check_evaluation(args, evaluator)
        inputs.check_activations(model, args)
        inputs.check_optimizers(args, optimizers[0])
        check_negatives(args, train_table)
        self.negatives = describe_negatives(args, train_table)
        self.sampler = make_sampler(args, train_table)
        logger.info(
            "The table has %s; no batch has one of them twice.", self.sampler.report(0).contents
        )
        self.languages = train_table.languages
        self.table_fingerprint = train_table.fingerprint
        super().__init__(
            model=make_model(model, args),
            args=args,
            train_dataset=make_steps(args, self.sampler, train_table, model),
            eval_dataset=evaluator,
            callbacks=None if callbacks is None else list(callbacks),
            optimizers=optimizers,
            optimizer_cls_and_kwargs=optimizer_cls_and_kwargs,
        )
        self.timer = StepTimer(args.profile)
        self.throughput = Throughput()
        self.cached_step = CachedStep(
            self.model,
            args.device,
            self.timer,
            self.accelerator.autocast,
            self.accelerator.backward,
            length_multiple=_LENGTH_MULTIPLE_COMPILED if args.torch_compile else 1,
            compiled=compile_layers(model, args),
            micro_batch_tokens=args.micro_batch_tokens,
            cached_activation_tokens=args.cached_activation_tokens,
        )
        self.learning = LearningWatch(args)
        self._own_schedule = optimizers[1]
        self._last_step = 0
        self._batches_in_update = 1
        self._termination = StopOnSignal(self.cached_step)
        self.add_callback(self._termination)
        self.cpu_ways = CpuWays()
        self.add_callback(self.cpu_ways)
        self.add_callback(EndOfUpdate(self.timer))
        self.add_callback(SetEpoch(self.sampler))
        self.add_callback(TrainsNoMore(self.evaluate_late))
        self.accelerator_state = state_of(self.accelerator)
        self.made_with = resumption.plain_arguments(args)
        self.settings = self.describe_run()
        check_agreement(facts_of_run(args, train_table, model, evaluator))

    def train(self, resume_from_checkpoint: str | Path | bool | None = None) -> Any:
        """Train, from the start or from a checkpoint.

        What each argument does in a run that goes on stands in `resumption`. A checkpoint of the
        last step trains no more.

        Args:
            resume_from_checkpoint: a folder, or True for the last complete one of `output_dir`;
                default that of the arguments.

        Raises:
            TypeError: an argument was set to a value of the wrong type.
            ValueError: True was given and there is no complete checkpoint, or an argument cannot
                be followed, as where the checkpoint is of another plan, or training diverged.
            PartlyDoneError: something else failed after a step; the model is saved.
            SystemExit: SIGTERM came; the status is 143.
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        with ended_by_any():
            checkpoint = self._prepare(resume_from_checkpoint)
        logger.info("%s; gradient accumulation adds none.", self.negatives)
        self.throughput.restart()
        with self._termination, lazy_updates(self.optimizer, self.cached_step):
            with self.saved_on_failure(), ended_by_any():
                result = super().train(
                    resume_from_checkpoint=str(checkpoint) if checkpoint else None
                )
        if self._termination.is_due:
            self.keep_ended()
            self._termination.end()
        if self.trained_from is None:
            result = result._replace(training_loss=math.nan)
        return result

    def _prepare(self, resume_from_checkpoint: str | Path | bool | None) -> Path | None:
        """Return the checkpoint to resume from, if any, after all checks."""
        resume: Any = resume_from_checkpoint
        resume = self.args.resume_from_checkpoint if resume is None else resume
        if resume is True:
            resume = checkpoints.last_checkpoint(self.args.output_dir)
        checkpoint = expanded(resume) if resume else None
        self.follow_arguments(checkpoint)
        self.check_saving()
        check_agreement(
            {
                **facts_of_arguments(self.args),
                **facts_of_checkpoint(checkpoint),
                **facts_of_optimizer(self.optimizer),
            }
        )
        self.cpu_ways.begin(checkpoint)
        say_if_emulated(self.args, checkpoint)
        return checkpoint

    def get_train_dataloader(self) -> StepLoader:
        """Return the loader of this process's share of the batches."""
        # Not given to accelerate: it would take every world_size-th step of a rank-aware sampler.
        return make_loader(self.args, self.train_dataset)

    def num_examples(self, dataloader: StepLoader) -> int:
        """Return the number of examples of one epoch over all processes."""
        return len(dataloader) * self.sampler.batch_size

    def floating_point_ops(self, inputs: Batch) -> int:
        """Return 0: none are counted. transformers looks for features by name in the batch."""
        return 0

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], None]:
        """Return the batches of an update, none after the last step."""
        if self.state.global_step >= self.state.max_steps:
            return [], None
        with self.timer.part("data"):
            batches = list(islice(epoch_iterator, num_batches))
        self._batches_in_update = len(batches)
        return batches, None

    def training_step(
        self, model: nn.Module, inputs: Batch, num_items_in_batch: None = None
    ) -> Tensor:
        """Add the gradient of one local batch; the last of an update averages over processes.

        Raises:
            ValueError: the loss or an embedding is not finite.
        """
        model.train()
        if self.trained_from is None:
            self.trained_from = self.state.global_step
        self._last_step = inputs.step
        # The bare model: the loss needs the embeddings of all processes before any gradient, and
        # one reduction at the end does what DDP's hooks would do bucket by bucket.
        try:
            loss = self.cached_step(inputs, self._batches_in_update)
        except FloatingPointError as error:
            raise self._divergence(error) from error
        self.learning.count(len(inputs.queries), len(inputs.passages), inputs.own_negatives)
        self.throughput.count(len(inputs.queries), len(inputs.ids), self.cached_step.num_padded)
        if self.accelerator.sync_gradients:
            if self.args.world_size > 1:
                with self.timer.part("communication"):
                    average_gradients(self.model)
            self.timer.begin("optimiser")
        return loss

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        if as_lazy_adamw(self.optimizer):
            return clip_gradients(model.parameters(), self.args.max_grad_norm)
        norm: Tensor = super()._clip_grad_norm(model)
        return norm

    def _get_grad_norm(self, model: nn.Module, grad_norm: Tensor | None = None) -> Any:
        if grad_norm is None and as_lazy_adamw(self.optimizer):
            grad_norm = clip_gradients(model.parameters(), math.inf)
        norm = super()._get_grad_norm(model, grad_norm)
        # Before it reaches weights and checkpoints. Loss scaling of fp16 skips such updates itself.
        if not self.args.fp16 and not math.isfinite(norm):
            raise self._divergence("the gradient is not finite")
        return norm

    def _divergence(self, reason: object) -> DivergenceError:
        return divergence(self.in_effect(), self.sampler.batch(self._last_step), reason)

    def in_effect(self) -> InEffect:
        """Return the learning rate and the temperature that the last step had."""
        return InEffect.now(self.args, self.model.loss, self.optimizer, self._own_schedule)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log; the loss comes with the rates since it was last logged and a learned temperature.

        Where nothing was left to train there is no mean loss.
        """
        if self.trained_from is None:
            logs.pop("train_loss", None)
        if "loss" in logs:
            logs.update(self.throughput.take(self.args.device))
            in_effect = self.in_effect()
            if self.args.learn_temperature:
                logs["temperature"] = in_effect.temperature
            self._watch(logs, in_effect)
        super().log(logs, start_time)

    def _watch(self, logs: dict[str, float], in_effect: InEffect) -> None:
        """Say once that the run does not learn, if what is logged shows it."""
        chance, spread = self.learning.mean_chance(), self.cached_step.spread
        if spread is None or not self.is_world_process_zero():
            return
        gradient = logs.get("grad_norm")
        logged = Logged(
            step=self.state.global_step,
            loss=float(logs["loss"]),
            chance=chance,
            gradient=None if gradient is None else float(gradient),
            temperature=in_effect.temperature,
            spread=float(spread),
        )
        self.learning.see(logged, str(in_effect))

    def _save_checkpoint(self, *arguments: Any, **options: Any) -> None:
        folder = checkpoints.checkpoint_folder(self.args.output_dir, self.state.global_step)
        self.cpu_ways.agree()
        with awaited_by_all(), writing(folder):
            super()._save_checkpoint(*arguments, **options)
