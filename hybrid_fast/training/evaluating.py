"""The part of HybridTrainer that evaluates: retrieval tasks, shared by all ranks."""

from __future__ import annotations

from functools import partial
from typing import Any, NoReturn

from hybrid_fast.evaluation.on_ranks import evaluate_on_ranks
from hybrid_fast.evaluation.tasks import RetrievalTask
from hybrid_fast.training import inputs
from hybrid_fast.training.arguments import HybridTrainingArguments
from hybrid_fast.training.collectives import all_ranks, from_first_rank
from hybrid_fast.training.resuming import ResumingTrainer


class EvaluatingTrainer(ResumingTrainer):
    """Evaluates retrieval tasks in place of losses."""

    args: HybridTrainingArguments

    def evaluate(
        self,
        eval_dataset: RetrievalTask | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Evaluate a retrieval task, by default the trainer's own, and log its metrics.

        Raises:
            TypeError: it is no task.
            ValueError: there is no task to evaluate.
        """
        task = eval_dataset if eval_dataset is not None else self.eval_dataset
        if task is None:
            raise ValueError("there is no task to evaluate; give HybridTrainer an evaluator")
        inputs.check_evaluator(task)
        values = self._evaluate_task(task)
        if self.is_in_train:
            inputs.check_reported(self.args, values)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in values.items()}
        self.log(metrics)
        control = self.control  # type: ignore[has-type]
        self.control = self.callback_handler.on_evaluate(self.args, self.state, control, metrics)
        return metrics

    def predict(self, *_: Any, **__: Any) -> NoReturn:
        """Raise a TypeError: an encoder predicts no labels."""
        raise TypeError(
            "HybridTrainer has no predictions; encode with trainer.encoder.encode_queries and "
            "encode_passages, or evaluate a task with trainer.evaluate(task)"
        )

    def _evaluate_task(self, task: RetrievalTask) -> dict[str, float]:
        training = self.model.training
        size = self.args.per_device_eval_batch_size
        evaluate = partial(task.evaluate, self.encoder, batch_size=size)
        results = evaluate_on_ranks(task, evaluate, all_ranks())
        self.model.train(training)
        # All ranks take the values of one, since they decide on what all do next.
        return from_first_rank(lambda: {} if results is None else results.flat())
