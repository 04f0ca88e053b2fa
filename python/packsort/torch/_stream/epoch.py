"""The epoch of a stream, shared with the workers of a `DataLoader`."""

from __future__ import annotations

import torch


class SharedEpoch:
    """Epoch in shared memory: workers that persist from pass to pass see what the main process chooses.

    Example:
        >>> epoch = SharedEpoch()
        >>> epoch.value
        >>> epoch.value = 3
        >>> epoch.value
        3
    """

    def __init__(self) -> None:
        self._values = torch.zeros(2, dtype=torch.int64)  # whether there is an epoch, and its bits
        self._values.share_memory_()  # type: ignore[no-untyped-call]

    @property
    def value(self) -> int | None:
        """The epoch, or None if nobody has chosen one."""
        known, bits = self._values.tolist()
        return bits % 2**64 if known else None

    @value.setter
    def value(self, epoch: int) -> None:
        self._values[1] = epoch - 2**64 if epoch >= 2**63 else epoch
        self._values[0] = 1
