"""Read rows, from files or from memory.

- `source`: `open_source` and `Source`, rows of any kind behind one interface.
- `files`: from paths, folders and glob patterns to files, without strays and other splits.
- `formats`: readers of files, one format a module.
- `objects`, `hugging_face`, `selected`: readers of tables, of `datasets` objects, and of some rows of a table.
- `hub`: readers of data sets on the Hugging Face Hub, by their names.
- `renamed`: columns under the names that packsort looks for.
- `sliced`: some rows of a source.
- `lengths`: number of tokens of each row.
- `column_roles`: which columns are token columns, and `column_uses`: what became of those that are not packed.
- `disagreeing`: list columns that only some files have.
- `padding`: padding of an earlier step, and `loss_masks`: labels made of masks.
- `tokens`: token columns, read into memory and checked.
- `lazy_tokens`: token columns that are checked as they are read.
- `token_rules`: rules that token columns keep, and the words for breaking them.
"""
