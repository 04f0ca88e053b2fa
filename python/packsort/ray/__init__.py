"""Pack with Ray: a source that no machine holds becomes one packed directory.

- `pack`: packs a Ray dataset, or files, into the shards that `packsort.write_shards` writes of the same rows.

Inside:

- `blocks`: the source as blocks of rows, which stay where they are.
- `first_pass`, and its tasks in `survey`: lengths are counted, and the driver plans.
- `numbering`: which of all sequences a stretch of blocks holds.
- `second_pass`, and its tasks in `exchange` and `shards`: sequences go to their shards, which are written.
- `memory`: how much of the source a task handles.
- `remote`: tasks, and what passes through the driver.
- `kept`: columns with one value for each sequence that packs keep.
- `manifest`: the record of the packed directory.
"""

try:
    import ray as _ray  # noqa: F401
except ImportError as error:
    from packsort._install import pip_install as _pip_install

    raise ImportError(f"packsort.ray needs Ray: {_pip_install('packsort[ray]')}") from error

from packsort.ray.pack import pack

__all__ = ["pack"]


def __dir__() -> list[str]:
    return __all__
