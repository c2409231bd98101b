"""HybridTrainer: transformers' Trainer over hybrid batches and the contrastive loss.

The loop, checkpoints, logging and callbacks are the Trainer's. Ours are the batches (a step is a
pure function of its number, so resuming fetches unseen steps only), the step through the gradient
cache over the negatives of all processes, the evaluation by retrieval tasks, and how a model is
saved.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hybrid_fast.common.files import complete_file, staged_file
from hybrid_fast.data import AlignedTable
from hybrid_fast.evaluation.tasks import RetrievalTask
from hybrid_fast.models import BiEncoder
from hybrid_fast.models.transformer import TransformerBackbone
from hybrid_fast.ops import InfoNCELoss
from hybrid_fast.training.arguments import HybridTrainingArguments
from hybrid_fast.training.cached_step import CachedStep
from hybrid_fast.training.checkpoints import complete_checkpoints, last_checkpoint
from hybrid_fast.training.lazy_adam import LazyAdamW, adamw_state, momentum_fades
from hybrid_fast.training.memory import TokenBudget
from hybrid_fast.training.model import ContrastiveModel
from hybrid_fast.training.steps import Batch, SetEpoch, StepLoader, make_sampler, make_steps
from hybrid_fast.training.termination import TERMINATED, StopOnSigterm
from hybrid_fast.training.timing import EndOfUpdate, StepTimer, Throughput
from hybrid_fast.training.token_tables import clip_gradients, large_tables, rows_caught_up

logger = logging.getLogger(__name__)
LOSS_FILE = "loss.safetensors"
PLAN_FILE = "plan.json"
BUDGET_FILE = "token_budget.json"
# Fewer lengths need fewer compiled kernels.
_LENGTH_MULTIPLE_COMPILED = 16


class HybridTrainer(Trainer):
    """Trains a BiEncoder on an aligned table.

    Args:
        model: the encoder, trained in place.
        args: see HybridTrainingArguments.
        train_table: the items.
        evaluator: a task of `load_task`, evaluated as `eval_strategy` says; its metrics appear as
            eval_mono_map, eval_cross_map, eval_multi_map, ..., eval_rank_distance, and
            `metric_for_best_model="multi_map"` picks the best checkpoint by one of them.
        callbacks: transformers callbacks.
        **kwargs: further arguments of transformers.Trainer.

    Raises:
        ValueError: options that the plan or the loss cannot serve, or nothing to train.
    """

    args: HybridTrainingArguments

    def __init__(
        self,
        model: BiEncoder,
        args: HybridTrainingArguments,
        train_table: AlignedTable,
        evaluator: RetrievalTask | None = None,
        callbacks: list[TrainerCallback] | None = None,
        **kwargs: Any,
    ) -> None:
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ValueError(
                "all weights of the encoder are frozen; set requires_grad of those to train"
            )
        self.sampler = make_sampler(args, train_table)
        self._table_fingerprint = train_table.fingerprint
        loss = InfoNCELoss(
            args.temperature,
            learnable=args.learn_temperature,
            symmetric=args.symmetric,
            margin=args.margin,
            negatives=args.negatives,
            precision=args.loss_precision,
            process_group=dist.group.WORLD if shares_negatives(args) else None,
        )
        super().__init__(
            model=ContrastiveModel(model, loss),
            args=args,
            train_dataset=make_steps(args, self.sampler, train_table, model),
            eval_dataset=evaluator,
            callbacks=callbacks,
            **kwargs,
        )
        self.timer = StepTimer(args.profile)
        self.throughput = Throughput()
        self._last_step = 0
        self.cached_step = CachedStep(
            self.model,
            args.device,
            self.timer,
            self.accelerator.autocast,
            self.accelerator.backward,
            length_multiple=_LENGTH_MULTIPLE_COMPILED if args.torch_compile else 1,
            sparse_tables=not args.torch_compile,
            micro_batch_tokens=args.micro_batch_tokens,
            kept_tokens=args.kept_graph_tokens,
        )
        self._termination = StopOnSigterm(self.cached_step)
        self.add_callback(self._termination)
        self.add_callback(EndOfUpdate(self.timer))
        self.add_callback(SetEpoch(self.sampler))
        if args.torch_compile and isinstance(model.backbone, TransformerBackbone):
            model.backbone.model.compile(
                backend=args.torch_compile_backend, mode=args.torch_compile_mode, dynamic=True
            )

    @property
    def encoder(self) -> BiEncoder:
        """The model being trained."""
        return self.model.encoder

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """Train, from the start or from a checkpoint.

        Args:
            resume_from_checkpoint: a folder, or True for the last complete one of `output_dir`.
            **kwargs: further arguments of transformers.Trainer.train.

        Raises:
            ValueError: True was given and there is no complete checkpoint, or the checkpoint is of
                another plan, or training diverged.
            SystemExit: SIGTERM came; the status is 143.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = str(last_checkpoint(self.args.output_dir))
        if resume_from_checkpoint:
            self._check_plan(Path(resume_from_checkpoint))
            self._load_budget(Path(resume_from_checkpoint))
        num_negatives = self.sampler.batch_size
        if not shares_negatives(self.args):
            num_negatives //= self.args.world_size
        logger.info(
            "A query meets %d passages of its batch besides its own%s; gradient accumulation adds "
            "none.",
            num_negatives - 1,
            f" (shared over {self.args.world_size} processes)"
            if shares_negatives(self.args)
            else "",
        )
        self.throughput.restart()
        self.create_optimizer()
        lazy = self._lazy_adamw is not None
        self.cached_step.stay_sparse = lazy
        rows = rows_caught_up(self.encoder, self._catch_up) if lazy else nullcontext()
        with self._termination, rows:
            result = super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)
        if self._termination.is_due:
            raise SystemExit(TERMINATED)
        return result

    def get_train_dataloader(self) -> StepLoader:
        """Return the loader of this process's slices; the plan itself knows the ranks."""
        # Not handed to accelerate: it would take every world_size-th step of a rank-aware sampler.
        workers = self.args.dataloader_num_workers
        return StepLoader(
            self.train_dataset,
            num_workers=workers,
            pin_memory=self.args.dataloader_pin_memory and torch.cuda.is_available(),
            persistent_workers=self.args.dataloader_persistent_workers,
            prefetch_factor=self.args.dataloader_prefetch_factor,
        )

    def num_examples(self, dataloader: StepLoader) -> int:
        """Examples of one epoch over all processes."""
        return len(dataloader) * self.sampler.batch_size

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], None]:
        """Return the batches of an update."""
        with self.timer.part("data"):
            return list(islice(epoch_iterator, num_batches)), None

    def training_step(
        self, model: nn.Module, inputs: Batch, num_items_in_batch: None = None
    ) -> Tensor:
        """Add the gradient of one local batch; the last of an update averages over processes.

        Raises:
            ValueError: the loss or an embedding is not finite.
        """
        model.train()
        # The bare model: the loss needs the embeddings of all processes before any gradient, and
        # one reduction at the end does what DDP's hooks would do bucket by bucket.
        try:
            loss = self.cached_step(inputs, self.current_gradient_accumulation_steps)
        except FloatingPointError as error:
            raise ValueError(f"{self._describe(inputs.step)}: {error}") from error
        self._last_step = inputs.step
        self.throughput.count(len(inputs.queries), len(inputs.ids), self.cached_step.num_padded)
        if self.accelerator.sync_gradients:
            if self.args.world_size > 1:
                with self.timer.part("communication"):
                    average_gradients(self.model)
            self.timer.begin("optimiser")
        return loss

    @property
    def _lazy_adamw(self) -> LazyAdamW | None:
        optimizer = getattr(self.optimizer, "optimizer", self.optimizer)  # accelerate wraps it
        return optimizer if isinstance(optimizer, LazyAdamW) else None

    def _catch_up(self, table: Tensor, rows: Tensor | None) -> None:
        optimizer = self._lazy_adamw
        assert optimizer is not None
        with self.timer.part("optimiser"):
            optimizer.catch_up(table, rows)

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        if self._lazy_adamw is not None:
            return clip_gradients(model.parameters(), self.args.max_grad_norm)
        norm: Tensor = super()._clip_grad_norm(model)
        return norm

    def _get_grad_norm(self, model: nn.Module, grad_norm: Tensor | None = None) -> Any:
        if grad_norm is None and self._lazy_adamw is not None:
            grad_norm = clip_gradients(model.parameters(), float("inf"))
        norm = super()._get_grad_norm(model, grad_norm)
        # Before it reaches the weights, and a checkpoint. Loss scaling of fp16 skips such updates.
        if not self.args.fp16 and not math.isfinite(norm):
            raise ValueError(f"{self._describe(self._last_step)}: the gradient is not finite")
        return norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log; with the loss go the rates of training since it was logged last."""
        if "loss" in logs:
            logs.update(self.throughput.take(self.args.device))
        super().log(logs, start_time)

    def _describe(self, step: int) -> str:
        """Say where training diverged."""
        plan = self.sampler.batch(step)
        checkpoints = complete_checkpoints(self.args.output_dir)
        last = f"the last checkpoint is {checkpoints[-1]}" if checkpoints else "no checkpoint yet"
        return (
            f"training diverged at step {step} (query rows {_some(plan.query_rows)}, passage "
            f"rows {_some(plan.passage_rows)}; {last}); lower learning_rate, which is "
            f"{self.args.learning_rate}, or raise temperature, which is {self.args.temperature}"
        )

    def evaluate(
        self,
        eval_dataset: RetrievalTask | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Evaluate a retrieval task, by default the trainer's own, and log its metrics.

        Raises:
            ValueError: there is no task to evaluate.
        """
        task = eval_dataset if eval_dataset is not None else self.eval_dataset
        if task is None:
            raise ValueError("there is no task to evaluate; give HybridTrainer an evaluator")
        found: list[Any] = [None]
        if self.is_world_process_zero():
            training = self.model.training
            results = task.evaluate(self.encoder, batch_size=self.args.per_device_eval_batch_size)
            self.model.train(training)
            found = [{f"{metric_key_prefix}_{k}": v for k, v in results.flat().items()}]
        if self.args.world_size > 1:
            dist.broadcast_object_list(found, src=0)
        metrics: dict[str, float] = found[0]
        self.log(metrics)
        control = self.control  # type: ignore[has-type]
        self.control = self.callback_handler.on_evaluate(self.args, self.state, control, metrics)
        return metrics

    @staticmethod
    def get_optimizer_cls_and_kwargs(
        args: HybridTrainingArguments, model: ContrastiveModel | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Return the class of the optimiser and its options: LazyAdamW wherever it can serve."""
        optimizer, options = Trainer.get_optimizer_cls_and_kwargs(args, model)
        lazy = model is not None and can_update_lazily(args, model)
        if optimizer is torch.optim.AdamW and lazy:
            optimizer = LazyAdamW
        return optimizer, options

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Return the optimiser; a torch.optim.AdamW also loads the state of a LazyAdamW."""
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if type(optimizer) is torch.optim.AdamW:
            optimizer.register_load_state_dict_pre_hook(lambda _, state: adamw_state(state))
        return optimizer

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Parameters that weight decay applies to: all that transformers says, no temperature."""
        names = super().get_decay_parameter_names(model)
        return [name for name in names if not name.endswith("log_temperature")]

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None
    ) -> None:
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        self.encoder.save_pretrained(folder)
        loss_state = self.model.loss.state_dict()
        if loss_state:
            with staged_file(folder / LOSS_FILE) as staged:
                save_file(loss_state, staged)

        if folder.name.startswith(PREFIX_CHECKPOINT_DIR):
            plan = json.dumps(self._plan_settings(), indent=1, ensure_ascii=False)
            with complete_file(folder / PLAN_FILE) as file:
                file.write(plan + "\n")
            if self.cached_step.budget is not None:
                budget = json.dumps(asdict(self.cached_step.budget))
                with complete_file(folder / BUDGET_FILE) as file:
                    file.write(budget + "\n")

    def _plan_settings(self) -> dict[str, Any]:
        """What must be the same for a resumed run to go on with the same batches."""
        names = (
            "batch_size",
            "kind",
            "alpha",
            "language_sampling",
            "pair_weights",
            "source_weights",
        )
        return {
            **{name: getattr(self.args, name) for name in names},
            "pairs": self.args.pairs,
            "seed": self.sampler.seed,
            "learn_temperature": self.args.learn_temperature,
            "table": self._table_fingerprint,
        }

    def _check_plan(self, checkpoint: Path) -> None:
        path = checkpoint / PLAN_FILE
        if not path.is_file():
            raise ValueError(f"{checkpoint} is no checkpoint of HybridTrainer: {path} is missing")
        saved = json.loads(path.read_text(encoding="utf-8"))
        now = json.loads(json.dumps(self._plan_settings()))
        for name, value in now.items():
            if saved.get(name) != value:
                raise ValueError(
                    f"{checkpoint} was trained with {name} = {saved.get(name)!r}, this run has "
                    f"{value!r}; resume with the same plan, or start anew"
                )

    def _load_budget(self, checkpoint: Path) -> None:
        """Go on with the budget of the checkpoint, where none was asked for: it decides on bits."""
        path = checkpoint / BUDGET_FILE
        if path.is_file() and self.args.micro_batch_tokens is None:
            budget = TokenBudget(**json.loads(path.read_text(encoding="utf-8")))
            if self.args.kept_graph_tokens is not None:
                budget.kept = self.args.kept_graph_tokens
            self.cached_step.budget = budget

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        saved = BiEncoder.from_pretrained(resume_from_checkpoint)
        shapes = [
            {name: tuple(value.shape) for name, value in model.state_dict().items()}
            for model in (saved, self.encoder)
        ]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"{resume_from_checkpoint} holds another model: its weights are {shapes[0]}, those "
                f"of the model to train {shapes[1]}; resume with the same model, or start anew"
            )
        self.encoder.load_state_dict(saved.state_dict())
        loss_file = Path(resume_from_checkpoint) / LOSS_FILE
        if self.args.learn_temperature:
            self.model.loss.load_state_dict(load_file(loss_file))

    def _load_best_model(self) -> None:
        logger.info(
            "Loading the best model from %s (%s %s).",
            self.state.best_model_checkpoint,
            self.args.metric_for_best_model,
            self.state.best_metric,
        )
        self._load_from_checkpoint(str(self.state.best_model_checkpoint))


def can_update_lazily(args: HybridTrainingArguments, model: ContrastiveModel) -> bool:
    """Tell whether a run has large tables and LazyAdamW can train them.

    It is for one process on the CPU: a GPU goes over a table in no time, several processes average
    dense gradients, and a compiled encoder makes them.
    """
    tables = [table.weight for table in large_tables(model.encoder)]
    return (
        bool(tables)
        and all(t.is_contiguous() and t.dtype in (torch.float32, torch.float64) for t in tables)
        and args.device.type == "cpu"
        and args.world_size == 1
        and not args.torch_compile
        and momentum_fades((args.adam_beta1, args.adam_beta2))
    )


def shares_negatives(args: HybridTrainingArguments) -> bool:
    """Tell whether processes see the passages of one another."""
    return args.gather_negatives and args.world_size > 1


def _some(rows: np.ndarray, most: int = 8) -> str:
    shown = ", ".join(map(str, rows[:most].tolist()))
    return shown if len(rows) <= most else f"{shown} and {len(rows) - most} more"


def average_gradients(model: nn.Module) -> None:
    """Replace every gradient by its mean over all processes, in one reduction."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat([p.grad.reshape(-1).float() for p in parameters if p.grad is not None])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for parameter, mean in zip(
        parameters, flat.split([p.numel() for p in parameters]), strict=True
    ):
        parameter.grad = mean.view_as(parameter).to(parameter.dtype)
