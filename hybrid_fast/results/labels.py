"""Labels of runs that are shown side by side: as short as possible, and distinct."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from hybrid_fast.common.hub import is_hub_name
from hybrid_fast.results.names import printable
from hybrid_fast.results.results import Results, RunInfo


def run_labels(runs: Sequence[Results]) -> list[str]:
    """Name each run by its kind, and by seed and model too where kinds alone are ambiguous."""
    return _labels([run.info for run in runs])


def family_labels(runs: Sequence[Results]) -> list[str]:
    """Name each run by what it shares with the runs that differ from it by their seed alone."""
    seen: Counter[tuple[object, ...]] = Counter()
    families = []
    for run in runs:
        name = (run.info.kind, run.info.model)
        seen[*name, run.info.seed] += 1
        families.append((*name, seen[*name, run.info.seed]))
    first = {
        family: replace(run.info, seed=None) for family, run in zip(families, runs, strict=True)
    }
    labels = dict(zip(first, _labels(list(first.values())), strict=True))
    return [labels[family] for family in families]


def family_names(runs: Sequence[Results]) -> list[str]:
    """Return kind and model of each run: equal where runs differ by their seed alone."""
    models = short_models(run.info.model for run in runs)
    parts = [(run.info.kind, run.info.model and models[run.info.model]) for run in runs]
    return [", ".join(printable(part) for part in row if part is not None) for row in parts]


def short_models(models: Iterable[str | None]) -> dict[str, str]:
    """Return a short name for each model: of a path, the shortest end that no other model has.

    Names of models on the hub, "organisation/name", stay whole, and so does a path that is itself
    the end of another.
    """
    parts = {model: PurePosixPath(model).parts for model in models if model}
    return {model: _short_model(model, list(parts.values())) for model in parts}


def _short_model(model: str, all_parts: Iterable[tuple[str, ...]]) -> str:
    parts = PurePosixPath(model).parts
    if len(parts) < 2 or is_hub_name(model):
        return model
    others = [other for other in all_parts if other != parts]
    for size in range(1, len(parts)):
        end = parts[-size:]
        if all(other[-size:] != end for other in others):
            return "/".join(end)
    return str(PurePosixPath(model))


def _labels(infos: Sequence[RunInfo]) -> list[str]:
    models = short_models(info.model for info in infos)
    names = [info.model and models[info.model] for info in infos]
    parts: dict[str, list[str | None]] = {
        "kind": [info.kind or name or "run" for info, name in zip(infos, names, strict=True)],
        "seed": [None if info.seed is None else f"seed {info.seed}" for info in infos],
        "model": [name if info.kind else None for info, name in zip(infos, names, strict=True)],
    }
    labels: list[str] = []
    for chosen in (("kind",), ("kind", "seed"), ("kind", "model"), ("kind", "model", "seed")):
        columns = zip(*(parts[part] for part in chosen), strict=True)
        labels = [", ".join(printable(part) for part in row if part is not None) for row in columns]
        if len(set(labels)) == len(infos):
            return labels
    return [f"{label} ({number})" for number, label in enumerate(labels, 1)]
