"""What makes a plan, as a file holds it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from packsort import _core
from packsort._atomic import replace_file
from packsort.errors import DamagedError, SourceNotFoundError

Core = _core.Plan | _core.Concatenation

_KEY = b"packsort.plan"
_FORMAT = 1


def save(core: Core, path: str | os.PathLike[str]) -> None:
    """Writes a plan to one Arrow IPC file, complete or not at all."""
    parts = core.parts()
    arrays = {name: value for name, value in parts.items() if isinstance(value, np.ndarray)}
    facts = {name: value for name, value in parts.items() if name not in arrays}
    facts |= {"format": _FORMAT, "fingerprint": fingerprint_of(parts)}
    columns = {name: _one_row(array) for name, array in arrays.items()}
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(facts)})
    with replace_file(Path(path)) as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def load(path: str | os.PathLike[str]) -> Core:
    """Reads what `save` wrote.

    Raises:
        SourceNotFoundError: there is no such file.
        DamagedError: it is not a saved plan, or is truncated or changed.
    """
    try:
        with pa.memory_map(os.fspath(path)) as file:
            table = pa.ipc.open_file(file).read_all()
            facts = json.loads(table.schema.metadata[_KEY])
            if facts.pop("format") != _FORMAT:
                raise DamagedError(f"`{os.fspath(path)}` is a plan of another format version than {_FORMAT}")
            fingerprint = facts.pop("fingerprint")
            arrays = {n: table[n].combine_chunks().values.to_numpy().copy() for n in table.column_names}
            parts = facts | arrays
            if fingerprint_of(parts) != fingerprint:
                raise DamagedError(f"`{os.fspath(path)}` was changed after it was saved: its fingerprint differs")
            return from_parts(parts)
    except FileNotFoundError:
        raise SourceNotFoundError(f"no saved plan `{os.fspath(path)}`") from None
    except (pa.ArrowException, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedError(f"`{os.fspath(path)}` is not a saved plan, or is damaged ({error})") from error


def from_parts(parts: dict[str, Any]) -> Core:
    """The inverse of `parts`."""
    kind = _core.Concatenation if parts["strategy"] == "random" else _core.Plan
    return kind.from_parts(parts)


def fingerprint_of(parts: dict[str, Any]) -> str:
    """32 hexadecimal digits of all parts."""
    digest = xxhash.xxh3_128()
    for name, value in sorted(parts.items()):
        digest.update(f"{name}:{getattr(value, 'dtype', value)};".encode())
        if isinstance(value, np.ndarray):
            digest.update(value.data)
    return digest.hexdigest()


def _one_row(array: NDArray[Any]) -> pa.LargeListArray:
    return pa.LargeListArray.from_arrays(pa.array([0, len(array)], pa.int64()), pa.array(array))
