"""The Rust core's bindings; `packsort` has their public faces."""

from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NO_LOSS",
    "PADDING",
    "SEPARATOR",
    "InOrder",
    "ListColumn",
    "Packing",
    "Pieces",
    "Plan",
    "__version__",
    "count_list_values",
    "count_objects",
    "cut_pieces",
    "fill_batch",
    "fill_blocks",
    "gather",
    "num_threads",
    "pack_costs",
    "price_patterns",
    "read_column_lists",
    "read_page_header",
    "sample_patterns",
    "schedule",
    "shuffled",
    "step_total",
]

__version__: str
NO_LOSS: int
PADDING: int
SEPARATOR: int

_Values = NDArray[np.int32] | "Pieces"
_Pack = tuple[_Values, _Values | None, NDArray[np.int32], NDArray[np.int64] | None]

def num_threads() -> int: ...
def count_list_values(
    repetition: bytes, definition: bytes, values: int, levels: tuple[int, int, bool], rows: int
) -> tuple[int, NDArray[np.int64], int]: ...
def read_page_header(data: bytes) -> tuple[int, int, int, int, int, bool, tuple[int, int]] | None: ...
def read_column_lists(
    file: bytes | str,
    at: int,
    size: int,
    codec: str,
    values: int,
    rows: int,
    levels: tuple[int, int, bool],
    width: int,
    memory: NDArray[np.uint8],
) -> NDArray[np.int64]: ...
def count_objects(text: bytes, max_depth: int) -> int | None: ...
def price_patterns(
    sizes: NDArray[np.uint32],
    capacity: int,
    max_sequences: int,
    counts: NDArray[np.uint64],
    duals: list[NDArray[np.float64]],
    judge: NDArray[np.float64],
) -> tuple[int, float, NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]: ...
def sample_patterns(
    sizes: NDArray[np.uint32], capacity: int, max_sequences: int, counts: NDArray[np.uint64], number: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]: ...
def pack_costs(
    offsets: NDArray[np.int64], lengths: NDArray[np.int32], linear: float, quadratic: float, whole_pack: bool
) -> NDArray[np.float64]: ...
def schedule(
    costs: NDArray[np.float64], world_size: int, accumulation: int, window: int, tail: str, seed: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], tuple[float, float], tuple[float, float]]: ...
def gather(
    column: Any,
    ids: NDArray[np.uint32] | NDArray[np.int64],
    starts: NDArray[np.int32] | None = None,
    lengths: NDArray[np.int32] | None = None,
    fillers: tuple[bytes, bytes] | None = None,
) -> NDArray[np.uint8]: ...
def cut_pieces(
    columns: list[ListColumn],
    ids: list[NDArray[np.int64]],
    lengths: list[NDArray[np.int32]],
    starts: list[NDArray[np.int32]] | None,
) -> list[list[Pieces]]: ...
def shuffled(len: int, seed: int, epoch: int, stream: int) -> NDArray[np.int64]: ...
def fill_batch(
    packs: list[_Pack],
    style: tuple[str, bool, int, int, bool, bool, bool],
    weights: tuple[str, float] | None,
    input_ids: NDArray[np.int64],
    labels: NDArray[np.int64],
    position_ids: NDArray[np.int64],
    cu_seqlens: NDArray[np.int32],
    *,
    unpadded: NDArray[np.int32] | None = None,
    loss_mask: NDArray[np.float32] | None = None,
    loss_weights: NDArray[np.float32] | None = None,
    segment_ids: NDArray[np.int32] | None = None,
    seq_idx: NDArray[np.int32] | None = None,
) -> tuple[int, int]: ...
def step_total(packs: list[_Pack], name: str) -> float: ...
def fill_blocks(
    cu_seqlens: NDArray[np.int32],
    width: int,
    block: int,
    counts: Sequence[NDArray[np.int32]],
    indices: Sequence[NDArray[np.int32]],
    window: int | None = None,
) -> None: ...

@final
class ListColumn:
    def __new__(cls, column: Any, fillers: tuple[bytes, bytes] | None = None) -> ListColumn: ...
    def lengths(self) -> NDArray[np.int64]: ...
    def gather(
        self,
        ids: NDArray[np.uint32] | NDArray[np.int64],
        starts: NDArray[np.int32] | None = None,
        lengths: NDArray[np.int32] | None = None,
    ) -> NDArray[np.uint8]: ...

@final
class Pieces:
    def __len__(self) -> int: ...
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]: ...

@final
class Plan:
    @staticmethod
    def make(
        lengths: Any,
        options: dict[str, Any],
        groups: tuple[NDArray[np.uint32], int, bool] | None,
        splittable: NDArray[np.bool_] | None,
        starts: tuple[NDArray[np.int64], NDArray[np.int32]] | None,
        seed: int | None,
        epoch: int,
    ) -> Plan: ...
    @staticmethod
    def from_counts(
        counts: tuple[NDArray[np.uint64], NDArray[np.uint64]], options: dict[str, Any], seed: int | None, epoch: int
    ) -> Plan: ...
    @staticmethod
    def from_parts(parts: dict[str, Any]) -> Plan: ...
    @property
    def num_groups(self) -> int: ...
    @property
    def num_packs(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    def sizes(self, group: int) -> tuple[NDArray[np.uint32], NDArray[np.uint64], int, int] | None: ...
    def group_packs(self, group: int) -> int: ...
    def with_packs(self, found: Sequence[tuple[Any, ...] | None], bound: int) -> Plan: ...
    def parts(self) -> dict[str, Any]: ...
    def facts(self) -> dict[str, Any]: ...
    def with_epoch(self, epoch: int) -> Plan: ...
    def num_split(self) -> int: ...
    def split_rows(self) -> NDArray[np.int64]: ...
    def num_fillers(self) -> tuple[int, int]: ...
    def lower_bound(self) -> int: ...
    def pack(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.int32]] | None: ...
    def list_packs(self, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[np.uint32] | NDArray[np.int64]]: ...
    def list_lengths(self, start: int, stop: int) -> NDArray[np.int32]: ...
    def list_starts(self, start: int, stop: int) -> NDArray[np.int32]: ...
    def numbers(self, lengths: Any, before: tuple[NDArray[np.uint64], NDArray[np.uint64]]) -> NDArray[np.int64]: ...
    def places(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]: ...

@final
class InOrder:
    def __new__(cls, max_length: int, window: int) -> InOrder: ...
    def add(self, number: int, length: int) -> list[int] | None: ...
    def close(self) -> list[int] | None: ...

@final
class Packing:
    def __new__(
        cls, sizes: NDArray[np.uint32], capacity: int, max_sequences: int, counts: NDArray[np.uint64]
    ) -> Packing: ...
    @property
    def left(self) -> NDArray[np.int64]: ...
    @property
    def packs(self) -> int: ...
    def copy(self) -> Packing: ...
    def take(
        self,
        offsets: NDArray[np.int64],
        items: NDArray[np.int32],
        copies: NDArray[np.int32],
        repeats: NDArray[np.int64],
    ) -> None: ...
    def finish(self) -> None: ...
    def finish_full(self, steps: int) -> None: ...
    def finish_within(self, packs: int, steps: int) -> tuple[bool, bool]: ...
    def patterns(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]: ...
