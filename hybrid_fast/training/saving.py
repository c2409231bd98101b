"""Saving, loading and pushing of the model in training: the part of HybridTrainer that does it.

Whatever fails after a step, the model is saved first.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn
from transformers import Trainer
from transformers.trainer_utils import HubStrategy
from transformers.utils import PushInProgress

from hybrid_fast.common.errors import PartlyDoneError, describe, kept
from hybrid_fast.models import BiEncoder
from hybrid_fast.training import checkpoints, hub
from hybrid_fast.training.arguments import HybridTrainingArguments
from hybrid_fast.training.cached_step import CachedStep
from hybrid_fast.training.cpu_ways import CpuWays
from hybrid_fast.training.divergence import DivergenceError
from hybrid_fast.training.weights import has_foreign_code, load_weights, save_weights

logger = logging.getLogger(__name__)


class SavingTrainer(Trainer):
    """A Trainer of a ContrastiveModel, without its steps.

    Attributes:
        settings: of the run, which checkpoints keep.
        languages: of the training table.
        cached_step: whose token budget checkpoints keep.
        cpu_ways: which checkpoints keep too.
        trained_from: number of updates before this call of `train`; None before its first step.
    """

    args: HybridTrainingArguments
    settings: dict[str, Any]
    languages: tuple[str, ...]
    cached_step: CachedStep
    cpu_ways: CpuWays
    trained_from: int | None = None
    push_in_progress: PushInProgress | None = None
    is_in_train: bool

    @property
    def encoder(self) -> BiEncoder:
        """The model being trained."""
        return self.model.encoder

    def check_saving(self) -> None:
        """Check before training that a model of others' code can be saved and read back.

        Raises:
            ValueError: it cannot.
        """
        if self.args.should_save and has_foreign_code(self.model):
            with tempfile.TemporaryDirectory(prefix=".", dir=self.args.output_dir) as folder:
                try:
                    save_weights(self.model, Path(folder))
                    load_weights(self.model, Path(folder))
                except Exception as error:
                    raise ValueError(
                        "the encoder can be trained, but not saved and loaded again: "
                        f"{describe(error)}"
                    ) from error

    @contextmanager
    def saved_on_failure(self) -> Iterator[None]:
        """Save the model if anything but a divergence ends training after a step.

        A rank that does not save it raises the reason alone: it cannot know where the model is.
        """
        self.trained_from = None
        try:
            yield
        except DivergenceError:
            raise
        except Exception as error:
            step = self.state.global_step
            if self.trained_from in (None, step) or not self.args.should_save:
                raise  # no update was made, or another rank saves it
            folder = self._save_as_it_is(step)
            if folder is None:
                raise
            raise PartlyDoneError(
                f"training ended after step {step} of {self.state.max_steps}, and the model is in "
                f"{folder}: {describe(error)}"
            ) from error
        finally:
            self.is_in_train = False

    def keep_ended(self) -> None:
        """Say where training that a signal ended goes on from; save it if nothing else has.

        A signal may come after the last update, when no checkpoint is due any more.
        """
        step, saved = self.state.global_step, True
        if self.args.world_size == 1 and not self.args.load_best_model_at_end:
            saved = self._save_as_it_is(step) is not None
        if saved:
            logger.info(
                "Training ended after step %d of %d; its checkpoint is in %s. Go on with --resume "
                "on the command line, train(resume_from_checkpoint=True) in Python.",
                step,
                self.state.max_steps,
                self.args.output_dir,
            )

    def _save_as_it_is(self, step: int) -> Path | None:
        """Save a checkpoint of this step, or, since other ranks may be gone, the model alone.

        Returns:
            Its folder; None, and a line in the log, if it cannot be saved.
        """
        folder = checkpoints.checkpoint_folder(self.args.output_dir, step)
        if checkpoints.is_complete(folder):
            return folder
        try:
            if self.args.world_size == 1:
                self._save_checkpoint(self.model, trial=None)
            else:
                folder = folder.with_name(f"model-{step}")
                self._save(str(folder))
        except Exception as error:
            logger.error("The model could not be saved in %s: %s", folder, describe(error))
            return None
        return folder

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None
    ) -> None:
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        is_checkpoint = checkpoints.is_checkpoint(folder)
        save_weights(
            self.model, folder, merge_adapter=self.args.merge_adapter and not is_checkpoint
        )
        if is_checkpoint:
            settings = {**self.settings, "schedule": type(self.lr_scheduler).__qualname__}
            checkpoints.save_settings(settings, self.cached_step.budget, folder)
            checkpoints.save_ways(self.cpu_ways.agreed, folder)

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: nn.Module | None = None
    ) -> None:
        load_weights(self.model, Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        folder = str(self.state.best_model_checkpoint)
        logger.info(
            "Loading the best model from %s (%s %s).",
            folder,
            self.args.metric_for_best_model,
            self.state.best_metric,
        )
        self._load_from_checkpoint(folder)

    def push_to_hub(self, commit_message: str | None = "End of training", **options: Any) -> Any:
        """Save the model in `output_dir` and upload it with its card, as transformers.Trainer does.

        Raises:
            PartlyDoneError: it is saved, and could not be uploaded.
        """
        self.save_model(_internal_call=True)
        with kept(f"the model is in {self.args.output_dir}"):
            return super().push_to_hub(commit_message, **options)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if not self.is_world_process_zero() or self.args.hub_strategy == HubStrategy.END:
            return
        if not self.args.hub_always_push and hub.is_running(self.push_in_progress):
            return
        self._finish_current_push()  # which reads the files that are written now
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        try:
            self._save()
            self.create_model_card()
            self.push_in_progress = hub.push_in_background(
                self.args, str(self.hub_model_id), Path(checkpoint_folder), self.state.global_step
            )
        except Exception as error:  # the checkpoint is written, and training goes on
            logger.warning("The model was not pushed to the hub: %s", describe(error))

    def _finish_current_push(self) -> None:
        super()._finish_current_push()
        hub.warn_of_failures(self.push_in_progress)

    def create_model_card(
        self,
        language: str | list[str] | None = None,
        license: str | None = None,
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        **metadata: Any,
    ) -> None:
        """Write README.md into `output_dir`; arguments as of transformers.Trainer."""
        if not self.is_world_process_zero():
            return
        # After training the weights are those of the best model, if it was asked for.
        loaded = self.args.load_best_model_at_end and not self.is_in_train
        step = self.state.best_global_step if loaded else None
        card = hub.model_card(
            self.args,
            name=model_name or Path(self.args.hub_model_id or self.args.output_dir).name,
            languages=language or list(self.languages),
            scores=hub.last_scores(self.state.log_history, step),
            tags=[tags] if isinstance(tags, str) else tags or [],
            base_model=finetuned_from or hub.base_model(self.encoder),
            license=license,
            **metadata,
        )
        card.save(Path(self.args.output_dir) / "README.md")
