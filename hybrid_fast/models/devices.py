"""The devices that models are loaded onto."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch


def check_device(device: str | torch.device) -> torch.device:
    """Return a device that can be used here.

    Args:
        device: such as "cpu", "cuda" or "cuda:1"; "auto" is an accelerator of this machine, under a
            launcher that of this process, or the CPU where there is none.

    Raises:
        ValueError: there is no such device.
    """
    if device == "auto":
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        if accelerator is None:
            return torch.device("cpu")
        local_rank = int(os.environ.get("LOCAL_RANK") or 0)
        return torch.device(accelerator.type, local_rank % torch.accelerator.device_count())
    try:
        return torch.empty(0, device=device).device
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device is {str(device)!r}, which cannot be used here ({reason}); give 'cpu', or "
            "'auto' for the accelerator of this machine if it has one"
        ) from error


def check_devices(devices: Sequence[str | torch.device]) -> tuple[str, ...]:
    """Return devices that can be used here, without use of them in this process.

    Raises:
        ValueError: there is none, or one is not there.
    """
    if not devices:
        raise ValueError("device is empty; name one for each process, such as ['cpu', 'cpu']")
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    counts = {"cpu": 1}
    if accelerator is not None:
        counts[accelerator.type] = torch.accelerator.device_count()
    for device in devices:
        try:
            place = torch.device(device)
        except RuntimeError:  # no such kind of device
            place = torch.device("meta")
        if (place.index or 0) >= counts.get(place.type, 0):
            there = " and ".join(f"{count} {kind}" for kind, count in counts.items())
            raise ValueError(f"device is {str(device)!r}, which is not here; there is {there}")
    return tuple(map(str, devices))
