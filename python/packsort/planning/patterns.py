"""Table of a plan's patterns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from packsort import _core
from packsort._arrow import empty_table, from_numpy

_SCHEMA = pa.schema({"pattern": pa.int32(), "repeat": pa.int64(), "length": pa.int32(), "copies": pa.int32()})


def pattern_table(core: _core.Plan) -> pa.Table:
    """Return lengths that share a pack, one row for each pattern and length; `Plan.patterns` describes the columns.

    Example:
        >>> import packsort
        >>> packsort.plan([4, 4, 3, 3], max_length=7).patterns.to_pylist()
        [{'pattern': 0, 'repeat': 2, 'length': 4, 'copies': 1}, {'pattern': 0, 'repeat': 2, 'length': 3, 'copies': 1}]
    """
    parts = core.parts()
    if parts["strategy"] == "random":
        return empty_table(_SCHEMA)
    slots = np.diff(parts["slot_offsets"])
    columns = {
        "pattern": np.repeat(np.arange(len(slots), dtype=np.int32), slots),
        "repeat": np.repeat(parts["repeats"], slots).astype(np.int64),
        "length": parts["class_lengths"][parts["slot_classes"]].astype(np.int32),
        "copies": parts["slot_copies"].astype(np.int32),
    }
    return pa.table({name: from_numpy(column) for name, column in columns.items()}, schema=_SCHEMA)
