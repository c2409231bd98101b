"""Memory that the control groups of this process leave it: those of containers and batch systems.

A process may use what its own group and every group above it allow. What a group uses includes
pages of files that the kernel drops as soon as memory is asked for; the inactive ones count as
free, as Kubernetes counts them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIPS = Path("/proc/self/cgroup")


class _Files(NamedTuple):
    """Names of the files of a version of control groups."""

    limits: tuple[str, ...]
    used: str
    inactive: str  # a line of memory.stat


_VERSION_1 = _Files(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")
# Above memory.high a process is slowed down until it hardly moves.
_VERSION_2 = _Files(("memory.max", "memory.high"), "memory.current", "inactive_file")


def free_in_groups(root: Path = ROOT, memberships: Path = MEMBERSHIPS) -> int | None:
    """Return the bytes that the control groups leave this process; None without a limit.

    Args:
        root: where control groups are mounted.
        memberships: file with the groups of this process.
    """
    free = [
        bytes_left
        for files, folder in _groups(root, memberships)
        if (bytes_left := _free_in_group(folder, files)) is not None
    ]
    return min(free, default=None)


def _groups(root: Path, memberships: Path) -> Iterator[tuple[_Files, Path]]:
    """Yield the groups of this process, each with those above it."""
    for line in _read(memberships).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            yield from ((_VERSION_1, folder) for folder in _with_parents(root / "memory", path))
        elif not controllers:
            for mounted in (root, root / "unified"):
                yield from ((_VERSION_2, folder) for folder in _with_parents(mounted, path))


def _with_parents(mounted: Path, path: str) -> list[Path]:
    """Return the folders of a group and of those above it, up to where groups are mounted.

    A container may be shown its own group as the topmost, and yet its path on the host.
    """
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return [mounted.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _free_in_group(folder: Path, files: _Files) -> int | None:
    limits = [int(text) for name in files.limits if (text := _read(folder / name)).isdecimal()]
    used = _read(folder / files.used)
    if not limits or not used.isdecimal():
        return None
    statistics = dict(
        line.split(maxsplit=1) for line in _read(folder / "memory.stat").splitlines() if " " in line
    )
    reclaimable = int(statistics.get(files.inactive, 0))
    return max(min(limits) - max(int(used) - reclaimable, 0), 0)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
