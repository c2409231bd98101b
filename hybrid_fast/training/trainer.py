"""HybridTrainer: transformers' Trainer over hybrid batches and the contrastive loss.

The loop, checkpoints, logging and callbacks are the Trainer's. Ours are the batches (a step is a
pure function of its number, so resuming fetches unseen steps only), the loss over the negatives of
all processes, the evaluation by retrieval tasks, and how a model is saved.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hybrid_fast.data import AlignedTable, HybridBatchSampler
from hybrid_fast.evaluation.tasks import RetrievalTask
from hybrid_fast.models import BiEncoder
from hybrid_fast.models.transformer import TransformerBackbone
from hybrid_fast.ops import InfoNCELoss
from hybrid_fast.training.arguments import HybridTrainingArguments
from hybrid_fast.training.steps import Features, StepDataset, StepLoader

logger = logging.getLogger(__name__)
LOSS_FILE = "loss.safetensors"
PLAN_FILE = "plan.json"


class ContrastiveModel(nn.Module):
    """The encoder and the loss with its temperature: what is trained."""

    def __init__(self, encoder: BiEncoder, loss: InfoNCELoss) -> None:
        super().__init__()
        self.encoder = encoder
        self.loss = loss

    def forward(
        self, queries: Features, passages: Features, passage_ids: Tensor | None = None
    ) -> Tensor:
        """Return the loss of a local batch; see `StepDataset` for the arguments."""
        return self.loss(self.encoder(queries), self.encoder(passages), passage_ids=passage_ids)

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any] | None = None
    ) -> None:
        """Let the transformer recompute activations.

        Raises:
            ValueError: the encoder is static, which has none worth recomputing.
        """
        if not isinstance(self.encoder.backbone, TransformerBackbone):
            raise ValueError(
                "gradient_checkpointing serves transformer encoders only; leave it out"
            )
        self.encoder.backbone.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs)


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
        ValueError: options that the plan or the loss cannot serve.
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
        self.sampler = make_sampler(args, train_table)
        loss = InfoNCELoss(
            args.temperature,
            learnable=args.learn_temperature,
            symmetric=args.symmetric,
            margin=args.margin,
            negatives=args.negatives,
            process_group=dist.group.WORLD if args.world_size > 1 else None,
        )
        super().__init__(
            model=ContrastiveModel(model, loss),
            args=args,
            train_dataset=StepDataset(train_table, self.sampler, model, args.negatives_from),
            eval_dataset=evaluator,
            callbacks=callbacks,
            **kwargs,
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
                another plan.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = str(last_checkpoint(self.args.output_dir))
        if resume_from_checkpoint:
            self._check_plan(Path(resume_from_checkpoint))
        logger.info(
            "A query meets %d passages of its batch besides its own%s; gradient accumulation adds "
            "none.",
            self.sampler.batch_size - 1,
            f" (shared over {self.args.world_size} processes)" if self.args.world_size > 1 else "",
        )
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

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

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """Add the gradient of one local batch; the last of an update averages over processes."""
        model.train()
        inputs = self._prepare_inputs(inputs)
        # The bare model: the loss needs the embeddings of all processes before any gradient, and
        # one reduction at the end does what DDP's hooks would do bucket by bucket.
        with self.compute_loss_context_manager():
            loss = self.model(**inputs) / self.current_gradient_accumulation_steps
        self.accelerator.backward(loss)
        if self.args.world_size > 1 and self.accelerator.sync_gradients:
            average_gradients(self.model)
        return loss.detach()

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
            save_file(loss_state, folder / LOSS_FILE)

        if folder.name.startswith(PREFIX_CHECKPOINT_DIR):
            plan = json.dumps(self._plan_settings(), indent=1, ensure_ascii=False)
            (folder / PLAN_FILE).write_text(plan + "\n", encoding="utf-8")

    def _plan_settings(self) -> dict[str, Any]:
        """What must be the same for a resumed run to go on with the same batches."""
        names = ("batch_size", "kind", "alpha", "language_law", "pair_law", "source_weights")
        return {
            **{name: getattr(self.args, name) for name in names},
            "pairs": self.args.pairs,
            "seed": self.sampler.seed,
            "learn_temperature": self.args.learn_temperature,
            "table": self.train_dataset.table.fingerprint,
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


def make_sampler(args: HybridTrainingArguments, table: AlignedTable) -> HybridBatchSampler:
    """Return the plan of this process.

    Raises:
        ValueError: options that the plan cannot serve.
    """
    return HybridBatchSampler(
        table,
        batch_size=args.per_device_train_batch_size * args.world_size,
        kind=args.kind,
        alpha=args.alpha,
        language_law=args.language_law,
        pair_law=args.pair_law,
        source_weights=args.source_weights,
        pairs=args.pairs,
        seed=args.seed if args.data_seed is None else args.data_seed,
        rank=args.process_index,
        world_size=args.world_size,
    )


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


def last_checkpoint(output_dir: str) -> Path:
    """Return the last complete checkpoint: trainer_state.json is the last file written.

    Raises:
        ValueError: there is none.
    """
    folders = [
        folder
        for folder in Path(output_dir).glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        if (folder / "trainer_state.json").is_file()
    ]
    if not folders:
        raise ValueError(f"no complete checkpoint to resume from in {output_dir}")
    return max(folders, key=lambda folder: int(folder.name.rsplit("-", 1)[1]))
