"""Record of an index-only directory: the files that its packs refer to, and the columns that are read of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa

from packsort.schema import INPUT_IDS

SEQUENCES = "sequences.arrow"
"""Name of the file that holds the length of each row."""

_LIST = re.compile(r"(large_)?list<(\w+)>")
_VALUES = {
    str(kind): kind
    for kind in (
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.float16(), pa.float32(), pa.float64(), pa.bool_()),
    )
}


@dataclass(frozen=True)
class FileReference:
    """A file that packs are gathered from.

    Attributes:
        path: Path from the packed directory, with `/` between its parts.
        absolute: Path at the time of packing, which is tried where there is no file at `path`.
        rows: Rows in it.
        bytes: Its size.
        mtime_ns: Time of its last change, in nanoseconds since 1970.
        sample: Checksum of its beginning, its end, and stretches between them: `xxh3_128:` and 32 hexadecimal digits.
    """

    path: str
    absolute: str
    rows: int
    bytes: int
    mtime_ns: int
    sample: str


@dataclass(frozen=True)
class IndexRecord:
    """Source that the packs of an index-only directory are gathered from.

    Attributes:
        files: The files, in the order in which their rows are numbered.
        columns: Columns to read and their types, such as `list<int32>`: token columns, and masks that become labels.
        block_bytes: Most memory that the row groups of the packs of one shard take; 0 where files are mapped.
        bytes: Size of the file `sequences.arrow`.
        checksum: Its checksum, `xxh3_128:` and 32 hexadecimal digits.
    """

    files: tuple[FileReference, ...]
    columns: dict[str, str]
    block_bytes: int
    bytes: int
    checksum: str

    @property
    def is_mapped(self) -> bool:
        """Whether all files are mapped, so that packs may come in any order."""
        return not self.block_bytes

    @property
    def schema(self) -> pa.Schema:
        """The columns to read.

        Raises:
            ValueError: There is no `input_ids`, or a type is not known.
        """
        if next(iter(self.columns), None) != INPUT_IDS:
            raise ValueError(f"`index.columns` must begin with `{INPUT_IDS}`")
        return pa.schema([(name, _type_of(name, text)) for name, text in self.columns.items()])


def type_name(kind: pa.DataType) -> str:
    """Return the name of a type of lists, such as `list<int32>`.

    Args:
        kind: `list` or `large_list` of numbers or booleans.
    """
    return f"{'large_' if pa.types.is_large_list(kind) else ''}list<{kind.value_type}>"


def _type_of(name: str, text: str) -> pa.DataType:
    found = _LIST.fullmatch(text)
    value = None if found is None else _VALUES.get(found[2])
    if found is None or value is None:
        raise ValueError(f"`index.columns.{name}` is no type of token columns, got {text!r}")
    return (pa.large_list if found[1] else pa.list_)(value)
