"""The device that a model is loaded onto."""

from __future__ import annotations

import os

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
