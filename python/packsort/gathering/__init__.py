"""List the packs of a plan and move their tokens.

- `pack`: `packsort.pack`, from token columns or text to packs in memory.
- `planned`: the plan of a source, with errors that name the file and the row.
- `fillers`: the tokens of padding and separators.
- `segments`: the segments of a range of packs.
- `places`: the packs of rows, the inverse of `segments`; `spool`: tokens on disk, grouped by shard, for sources bigger
  than memory.
- `gather`: the tokens of segments, from columns in memory or from columns that are checked as they are read.
"""
