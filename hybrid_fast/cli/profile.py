"""The table of `--profile`: how long each part of training took."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from hybrid_fast.training.timing import StepTimer


def print_profile(
    timer: StepTimer, seconds: float, rates: dict[str, float], console: Console
) -> None:
    """Print the time of each part of a step, of everything else, and the rates.

    Args:
        timer: of the first process.
        seconds: duration of training.
        rates: see `Throughput`.
        console: where to print.
    """
    table = Table(title=f"{timer.num_updates} updates in {seconds:.1f} s")
    for heading in ("part", "seconds per update", "share"):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    rest = max(seconds - sum(timer.seconds.values()), 0.0)
    for part, total in {**timer.seconds, "other": rest}.items():
        table.add_row(part, f"{total / max(timer.num_updates, 1):.4f}", f"{total / seconds:.1%}")
    console.print(table)
    console.print(
        f"{rates['pairs_per_second']:,.1f} pairs/s, {rates['tokens_per_second']:,.0f} tokens/s "
        f"without padding; {rates['padding_share']:.1%} of the embedded tokens were padding"
    )
