"""Save plans to Arrow IPC and load them.

A file holds the stored form of a plan's parts: arrays as columns with one row, and numbers as JSON in the schema's
metadata. Fingerprints and pickles are of the stored form too. It keeps the option names of version 0.1, so that files
and fingerprints stay valid.

What only files need is imported where it is used, because `import packsort` imports this module.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort import _core
from packsort._arrow import from_numpy, to_numpy
from packsort.errors import DamagedError, SourceNotFoundError

_KEY = b"packsort.plan"
_FORMAT = 1


def save(core: _core.Plan, path: str | os.PathLike[str]) -> None:
    """Save a plan as an Arrow IPC file, complete or not at all.

    Raises:
        OutputError: The file cannot be written.
    """
    import json
    from pathlib import Path

    from packsort._atomic import replace_file

    parts = to_stored(core)
    arrays = {name: value for name, value in parts.items() if isinstance(value, np.ndarray)}
    facts = {name: value for name, value in parts.items() if name not in arrays}
    facts |= {"format": _FORMAT, "fingerprint": fingerprint_of(parts)}
    columns = {name: _one_row(array) for name, array in arrays.items()}
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(facts)})
    with replace_file(Path(path)) as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def load(path: str | os.PathLike[str]) -> _core.Plan:
    """Load a plan that `save` wrote.

    Raises:
        SourceNotFoundError: There is no such file.
        DamagedError: The file is no saved plan, or is truncated or changed.
    """
    import json

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
            return from_stored(parts)
    except FileNotFoundError:
        raise SourceNotFoundError(f"no saved plan `{os.fspath(path)}`") from None
    except (pa.ArrowException, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise DamagedError(f"`{os.fspath(path)}` is not a saved plan, or is damaged ({error})") from error


def to_stored(core: _core.Plan) -> dict[str, Any]:
    """Return the parts of a plan under the names and values that are stored."""
    parts = {_STORED_NAMES.get(name, name): value for name, value in core.parts().items()}
    parts["keep_end"] = parts["keep_end"] == "left"
    # Version 0.1 knew no empty sequences: plans without any are stored, and have fingerprints, as it wrote them.
    del parts["empty"]
    if not parts["num_empty"]:
        del parts["num_empty"]
    parts["max_sequences"] = parts["max_sequences"] or 0
    return parts


def from_stored(stored: dict[str, Any]) -> _core.Plan:
    """Restore a plan from its stored parts.

    Raises:
        DamagedError: The parts contradict each other.
    """
    parts = {_NAMES.get(name, name): value for name, value in stored.items()}
    parts["num_empty"] = parts.get("num_empty", 0)
    parts["empty"] = "drop" if parts["num_empty"] else "error"
    parts["truncation_side"] = "left" if parts["truncation_side"] else "right"
    parts["max_sequences"] = parts["max_sequences"] or None
    return _core.Plan.from_parts(parts)


_STORED_NAMES = {
    "truncation_side": "keep_end",
    "num_packs_multiple_of": "packs_multiple",
    "pad_to_multiple_of": "pad_multiple",
    "separator": "separated",
    "items": "order",
}
_NAMES = {stored: name for name, stored in _STORED_NAMES.items()}


def fingerprint_of(parts: dict[str, Any]) -> str:
    """Return the XXH3-128 digest of the stored parts of a plan as 32 hexadecimal digits."""
    import xxhash

    digest = xxhash.xxh3_128()
    for name, value in sorted(parts.items()):
        digest.update(f"{name}:{getattr(value, 'dtype', value)};".encode())
        if isinstance(value, np.ndarray):
            digest.update(value.data)
    return digest.hexdigest()


def _one_row(array: NDArray[Any]) -> pa.LargeListArray:
    offsets = from_numpy(np.array([0, len(array)], np.int64))
    return pa.LargeListArray.from_arrays(offsets, from_numpy(array))
