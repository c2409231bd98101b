"""Progress of a run: a bar on a terminal, otherwise a line for each log of the Trainer."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from tqdm import tqdm  # type: ignore[import-untyped]
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hybrid_fast.cli.messages import say


def stage(text: str) -> None:
    """Name the work in progress, on a terminal only."""
    if sys.stderr.isatty():
        say(f"{text} ...")


class TrainingProgress(TrainerCallback):
    """Shows steps and metrics on stderr, in place of the Trainer's own bar and printed dicts.

    Args:
        title: label of the bar.
        log_lines: whether metrics are written as lines where there is no bar.
    """

    def __init__(self, title: str = "train", log_lines: bool = True) -> None:
        self.title = title
        self.log_lines = log_lines
        self.bar: tqdm | None = None

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the bar on the screen and start the next output on a new line."""
        if self.bar is not None:
            self.bar.close()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Create the bar."""
        self.bar = tqdm(
            desc=self.title,
            total=state.max_steps,
            initial=state.global_step,
            unit="step",
            disable=None if state.is_world_process_zero else True,
            dynamic_ncols=True,
        )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Advance the bar."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Show the loss, or the metrics of an evaluation."""
        metrics = _format_metrics(logs or {})
        if self.bar is None or not metrics or not state.is_world_process_zero:
            return
        if self.bar.disable:
            if self.log_lines:
                say(f"step {state.global_step} of {state.max_steps}: {metrics}")
        elif "loss" in metrics:
            self.bar.set_postfix_str(metrics)
        else:
            self.bar.write(f"step {state.global_step}: {metrics}", file=sys.stderr)


def _format_metrics(logs: dict[str, Any]) -> str:
    """Return loss and rates, or mAP and rank distance, as text; empty if there are none."""
    shown = {
        name.removeprefix("eval_").replace("_", " "): float(value)
        for name, value in logs.items()
        if name in ("loss", "eval_rank_distance") or name.endswith("_map")
    }
    texts = [f"{name} {value:.4g}" for name, value in shown.items()]
    if "pairs_per_second" in logs:
        texts.append(f"{logs['pairs_per_second']:,.0f} pairs/s")
        texts.append(f"{logs['tokens_per_second']:,.0f} tokens/s")
        texts.append(f"padding {logs['padding_share']:.0%}")
    return ", ".join(texts)
