"""The device that a model is loaded onto."""

from __future__ import annotations

import torch


def check_device(device: str | torch.device) -> torch.device:
    """Return a device that can be used here.

    Args:
        device: such as "cpu", "cuda" or "cuda:1"; "auto" is the accelerator of this machine, or the
            CPU where there is none.

    Raises:
        ValueError: there is no such device.
    """
    if device == "auto":
        return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    try:
        return torch.empty(0, device=device).device
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device is {str(device)!r}, which cannot be used here ({reason}); give 'cpu', or "
            "'auto' for the accelerator of this machine if it has one"
        ) from error
