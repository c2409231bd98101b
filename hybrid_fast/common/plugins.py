"""What other packages offer through entry points."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points


def plugin_names(group: str) -> list[str]:
    """Return the names of what is offered, in order."""
    return sorted(entry_points(group=group).names)


def find_plugin(group: str, name: str, kind: str) -> EntryPoint:
    """Return the entry point of something that is offered.

    Args:
        group: of entry points.
        name: one of `plugin_names`.
        kind: what it is, for the message.

    Raises:
        ValueError: several packages offer different things under this name.
    """
    entries = list(entry_points(group=group, name=name))
    if len({entry.value for entry in entries}) > 1:
        packages = ", ".join(entry.dist.name for entry in entries if entry.dist)
        raise ValueError(
            f"{kind} {name!r} is offered by several packages ({packages}); uninstall all but one"
        )
    return entries[0]
