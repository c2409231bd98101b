"""Reading results as a table on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from hybrid_fast.qa.scoring import GOLD, ReadingResults

_TITLES = {"exact_match": "EM", "f1": "F1", "answer_recall": "recall"}
_MEANS = {"mean": "mean", "mean_without_en": "mean without en"}


def print_reading(results: ReadingResults, console: Console | None = None) -> None:
    """Print scores by language and their means, for gold and retrieved passages side by side."""
    names = {"squad": "SQuAD 1.1", "mlqa": "MLQA"}
    caption = f"percent, rules of {names[results.rules]}"
    if results.settings["languages_beyond_rules"]:
        beyond = ", ".join(results.settings["languages_beyond_rules"])
        caption += f" (MLQA has none for {beyond}, where articles are kept)"
    if len(results.scores) > 1:
        caption += (
            "\ngold: the reader is given the passage with the answer; top k: it reads the k best "
            "passages of the pool\nrecall: one of these k contains the text of a gold answer"
        )
    table = Table(title="Reading", caption=caption)
    table.add_column("language")
    table.add_column("questions", justify="right")
    for setting, by_metric in results.scores.items():
        name = setting if setting == GOLD else f"top {setting.rpartition('@')[2]}"
        for metric in by_metric:
            table.add_column(f"{name}\n{_TITLES[metric]}", justify="right")
    rows = {code: (code, f"{n:,}") for code, n in results.counts["questions"].items()}
    rows |= {key: (title, "") for key, title in _MEANS.items()}
    for key, labels in rows.items():
        if key == "mean":
            table.add_section()
        values = [
            score[key] for by_metric in results.scores.values() for score in by_metric.values()
        ]
        table.add_row(*labels, *("-" if value is None else f"{value:.1f}" for value in values))
    (console or Console()).print(table)
