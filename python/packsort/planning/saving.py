"""Save plans to Arrow IPC and load them.

A file holds the stored form of a plan's parts: arrays as columns with one row, and numbers as JSON in the schema's
metadata.
"""

from __future__ import annotations

import json
import os
import stat
from contextlib import nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

from packsort import _core
from packsort._arrow import from_numpy, to_numpy
from packsort._atomic import replace_file
from packsort._json import parse_object
from packsort._paths import printable
from packsort._stores import StorePath, place
from packsort.errors import DamagedError, SourceError, SourceNotFoundError
from packsort.planning.check_parts import check_parts
from packsort.planning.one_batch import read_one_batch
from packsort.planning.stored import fingerprint_of, from_stored, is_counted, to_stored

_KEY = b"packsort.plan"
_FORMAT = 1
_WAY_OUT = "restore it from a copy, or plan again"


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
    target = replace_file(place(path)) if isinstance(path, (str, os.PathLike)) else nullcontext(path)
    with target as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def load(path: str | os.PathLike[str], *, counted: bool = False) -> _core.Plan:
    """Load a plan that `save` wrote.

    The file is read once and not mapped, so nothing that another program does to it changes what was checked.

    Args:
        path: File to read.
        counted: Whether it is to hold a plan that was made from counts.

    Raises:
        SourceNotFoundError: There is no such file.
        SourceError: The file cannot be read, or holds a plan of the other kind.
        DamagedError: The file is no saved plan, or is truncated or changed.
    """
    name = f"`{printable(path)}`"
    content = _read(place(path), name)
    try:
        parts, fingerprint = _parse(content)
        check_parts(parts)
        if fingerprint_of(parts) != fingerprint:
            raise DamagedError("its fingerprint differs from that of its content, which was changed after it was saved")
        core = from_stored(parts)
    except DamagedError as error:
        raise DamagedError(f"{name} is not a saved plan, or is damaged ({error}): {_WAY_OUT}") from error
    # `pyarrow` names a column that is not UTF-8 by a UnicodeDecodeError, which is a ValueError.
    except (pa.ArrowException, ValueError, TypeError, KeyError, OSError) as error:
        raise DamagedError(f"{name} is not a saved plan, or is damaged ({error}): {_WAY_OUT}") from error
    if is_counted(parts) != counted:
        other = "lengths: load it with `load_plan`" if counted else "counts: load it with `CountedPlan.load`"
        raise SourceError(f"{name} is a plan made from {other}")
    return core


def _read(path: Path | StorePath, name: str) -> pa.Buffer:
    """Read a file; one that is no regular file, such as a named pipe, would be waited for.

    Raises:
        SourceNotFoundError: There is no such file.
        SourceError: It cannot be read.
        DamagedError: It is no regular file.
    """
    try:
        if not isinstance(path, StorePath) and not stat.S_ISREG(os.stat(path).st_mode):
            raise DamagedError(f"{name} is not a saved plan: it is no regular file")
        return pa.py_buffer(path.read_bytes())
    except FileNotFoundError:
        raise SourceNotFoundError(f"no saved plan {name}") from None
    except SourceError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise SourceError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _parse(content: pa.Buffer) -> tuple[dict[str, Any], Any]:
    """Return the parts of a plan, and the fingerprint that was saved with them.

    Raises:
        DamagedError, pyarrow.ArrowException, ValueError, TypeError, KeyError, OSError: It is no saved plan.
    """
    with pa.ipc.open_file(content) as file:
        schema = file.schema
        _check_columns(schema, file.num_record_batches)
    facts = parse_object((schema.metadata or {})[_KEY])
    batch = read_one_batch(content, schema)
    if type(version := facts.pop("format")) is not int or version != _FORMAT:
        raise DamagedError(f"its format version is not {_FORMAT}: install a newer packsort")
    fingerprint = facts.pop("fingerprint")
    arrays = {field.name: _array(batch.column(place)) for place, field in enumerate(schema)}
    if twice := facts.keys() & arrays.keys():
        raise DamagedError(f"it has `{min(twice)}` twice")
    return facts | arrays, fingerprint


def _check_columns(schema: pa.Schema, batches: int) -> None:
    """Check that a file has the columns of `save`, before any is read."""
    for field in schema:
        if not (types.is_large_list(field.type) and field.type.value_type in (pa.int64(), pa.uint32())):
            raise DamagedError("a column is no list of integers")
    if len(set(schema.names)) != len(schema.names) or batches != 1:
        raise DamagedError("it has a column twice, or no row")


def _array(column: pa.LargeListArray) -> NDArray[Any]:
    """Return the array that a column of one row holds."""
    column.validate(full=True)
    if len(column) != 1 or column.null_count or column.values.null_count:
        raise DamagedError("it has nulls, or more than one row")
    array = to_numpy(column.values)
    if to_numpy(column.offsets).tolist() != [0, len(array)]:
        raise DamagedError("a row is not the whole of its column")
    return array


def _one_row(array: NDArray[Any]) -> pa.LargeListArray:
    offsets = from_numpy(np.array([0, len(array)], np.int64))
    return pa.LargeListArray.from_arrays(offsets, from_numpy(array))
