"""Which checkpoints of a run are complete."""

from __future__ import annotations

from pathlib import Path

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR


def last_checkpoint(output_dir: str) -> Path:
    """Return the last complete checkpoint.

    Raises:
        ValueError: there is none.
    """
    checkpoints = complete_checkpoints(output_dir)
    if not checkpoints:
        raise ValueError(f"no complete checkpoint to resume from in {output_dir}")
    return checkpoints[-1]


def complete_checkpoints(output_dir: str) -> list[Path]:
    """Return the complete checkpoints in order: trainer_state.json is the last file written."""
    folders = [
        folder
        for folder in Path(output_dir).glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        if (folder / "trainer_state.json").is_file()
    ]
    return sorted(folders, key=lambda folder: int(folder.name.rsplit("-", 1)[1]))
