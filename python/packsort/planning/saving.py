"""Save plans to Arrow IPC and load them.

A file holds the stored form of a plan's parts: arrays as columns with one row, and numbers as JSON in the schema's
metadata.
"""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort import _core
from packsort._arrow import from_numpy, to_numpy
from packsort._atomic import replace_file
from packsort.errors import DamagedError, SourceError, SourceNotFoundError
from packsort.planning.stored import fingerprint_of, from_stored, is_counted, to_stored

_KEY = b"packsort.plan"
_FORMAT = 1


def save(core: _core.Plan, path: str | os.PathLike[str] | BinaryIO) -> None:
    """Save a plan as an Arrow IPC file, complete or not at all, or write it to an open file.

    Raises:
        OutputError: The file cannot be written.
    """
    parts = to_stored(core)
    arrays = {name: value for name, value in parts.items() if isinstance(value, np.ndarray)}
    facts = {name: value for name, value in parts.items() if name not in arrays}
    facts |= {"format": _FORMAT, "fingerprint": fingerprint_of(parts)}
    columns = {name: _one_row(array) for name, array in arrays.items()}
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(facts)})
    target = replace_file(Path(path)) if isinstance(path, (str, os.PathLike)) else nullcontext(path)
    with target as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def load(path: str | os.PathLike[str], *, counted: bool = False) -> _core.Plan:
    """Load a plan that `save` wrote.

    Args:
        path: File to read.
        counted: Whether it is to hold a plan that was made from counts.

    Raises:
        SourceNotFoundError: There is no such file.
        SourceError: The file holds a plan of the other kind.
        DamagedError: The file is no saved plan, or is truncated or changed.
    """
    try:
        with pa.memory_map(os.fspath(path)) as file:
            table = pa.ipc.open_file(file).read_all()
            facts = json.loads(table.schema.metadata[_KEY])
            if facts.pop("format") != _FORMAT:
                raise DamagedError(f"`{os.fspath(path)}` is a plan of another format version than {_FORMAT}")
            fingerprint = facts.pop("fingerprint")
            arrays = {n: to_numpy(table[n].combine_chunks().values).copy() for n in table.column_names}
            parts = facts | arrays
            if fingerprint_of(parts) != fingerprint:
                raise DamagedError(f"`{os.fspath(path)}` was changed after it was saved: its fingerprint differs")
            if is_counted(parts) != counted:
                other = (
                    "counts: load it with `CountedPlan.load`" if not counted else "lengths: load it with `load_plan`"
                )
                raise SourceError(f"`{os.fspath(path)}` is a plan made from {other}")
            return from_stored(parts)
    except SourceError:  # which is a ValueError
        raise
    except FileNotFoundError:
        raise SourceNotFoundError(f"no saved plan `{os.fspath(path)}`") from None
    except (pa.ArrowException, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise DamagedError(f"`{os.fspath(path)}` is not a saved plan, or is damaged ({error})") from error


def _one_row(array: NDArray[Any]) -> pa.LargeListArray:
    offsets = from_numpy(np.array([0, len(array)], np.int64))
    return pa.LargeListArray.from_arrays(offsets, from_numpy(array))
