"""Devices that batches are moved to."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch.utils.data import get_worker_info

from packsort.errors import OptionError
from packsort.torch._outer_loop import in_dataloader
from packsort.torch._tensor_walk import map_tensors


def find_device(device: Any) -> torch.device | Literal["auto"] | None:
    """Check the option `device`: a device that batches are moved to, `"auto"`, or None for the CPU.

    `"auto"` stays as it is until a pass starts. Only then do ranks have their own current device, and a loader that is
    pickled or forked for workers must not start CUDA.

    Raises:
        OptionError: PyTorch has no such device here.
    """
    if device is None:
        return None
    if isinstance(device, str) and device == "auto":
        return "auto"
    try:
        found = torch.device(device)
        if found.type == "cpu":
            return None
        if found.type == "cuda" and not torch.cuda.is_available():
            raise RuntimeError("CUDA is not available")
        # With its index: every thread has its own current device, so a bare `cuda` could be another device there.
        return torch.empty(0, device=found).device
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise OptionError(
            f"device must be 'auto' or one that PyTorch has here, got {str(device)!r} ({reason})"
        ) from None


def choose_device(device: torch.device | Literal["auto"] | None) -> torch.device | None:
    """Return the device of a pass that starts in this process, or None for the CPU.

    Args:
        device: The result of `find_device`. `"auto"` is the accelerator that is current in this process, or the CPU
            where there is none, and in a `DataLoader`, which pins and moves batches itself.
    """
    if device != "auto":
        return device
    return None if in_dataloader() or get_worker_info() is not None else _current_accelerator()


def _current_accelerator() -> torch.device | None:
    found = torch.accelerator.current_accelerator()
    if found is None:
        return None
    module: Any = torch.get_device_module(found)
    # A forked child cannot use a device that its parent has used.
    if getattr(module, "_is_in_bad_fork", bool)() or not module.is_available():
        return None
    return torch.empty(0, device=found).device


class DeviceMover:
    """Moves batches to a device; to a GPU on a stream of its own, during the training step.

    `start` is called where batches are made, `finish` where they are consumed.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    @property
    def pin_memory(self) -> bool:
        """Whether batches should be in page-locked memory."""
        return self._stream is not None

    def start(self, batch: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        """Start to move a batch; return it on the device, and the event of its arrival or None."""
        if self._stream is None:
            return self._moved(batch), None
        with torch.cuda.stream(self._stream):
            moved = self._moved(batch)
            # The host memory is released here; PyTorch keeps pinned blocks until the copies out of them are done.
            return moved, self._stream.record_event()

    def finish(self, moved: tuple[dict[str, Any], Any]) -> dict[str, Any]:
        """Return a moved batch for work on the current stream, which waits for it; the CPU does not wait."""
        batch, arrival = moved
        if arrival is not None:
            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(arrival)
            record(batch, stream)
        return batch

    def _moved(self, batch: dict[str, Any]) -> Any:
        return map_tensors(batch, lambda tensor: tensor.to(self.device, non_blocking=True))


def record(batch: dict[str, Any], stream: torch.cuda.Stream) -> None:
    """Keep the memory of every tensor in a batch until a stream is done with it.

    The memory comes from the stream of the copies. Without this it would be given to the next batch while the training
    step still reads it.
    """

    def recorded(tensor: torch.Tensor) -> torch.Tensor:
        tensor.record_stream(stream)
        return tensor

    map_tensors(batch, recorded)
