"""Read token columns of a source, checked.

- `rows`: the protocol of token columns. `read` reads them into memory, and `streamed` batch by batch; `checked` checks
  the tokens of some rows.
- `lazy`: token columns that are checked as they are read.
- `survey`: token columns that are checked and not kept, for an index.
- `blocks`: token columns that stay in their files, and are gathered block by block.
- `list_checks`: lengths of a file's lists, checked against each other.
- `lengths`: number of tokens of each row.
- `roles`: which columns are token columns; `uses`: what became of those that are not packed.
- `disagreeing`: list columns that only some files have.
- `padding`: padding of an earlier step; `loss_masks`: labels made of masks.
- `rules`: rules that token columns keep, and the words for breaking them.
"""
