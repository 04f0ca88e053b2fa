"""Write packed directories and read them.

- `manifest`: `manifest.json`, the record of a packed directory.
- `manifest_file`: reads `manifest.json`; `sealed_json` has its checksum, and the check of its keys and types.
- `files`: the shard files of a packed directory as tables, checked against the manifest. `shard_file` reads one of
  them, `inside` refuses links out of the directory.
- `shard_cache`: copies of shards of object stores on a disk, in a folder of bounded size.
- `checks`: compares the checksum of each shard once, when it is first used.
- `verify`: the proof that packs hold their source; `shard_check` checks one shard by the `rules` of the manifest,
  `kept_check` its columns with one value for each sequence, `coverage` finds sequences and tokens that are missing or
  packed twice, and `row_set` has the rows that were seen. `pieces` tells what packs should hold of each row, and
  `source_digests` what is in it.
- `reader`: `open_shards` and `Shards`.
- `export`: packs as the files of other trainers; `megatron` makes the rows and metadata of Megatron-Bridge,
  `megatron_bin` the documents of Megatron-Core.
- `config`: the options of `write_shards`, checked before any data is opened.
- `counts`: what happened to the sequences of a source, in total and by file.
- `token_store`: tokens that one call of `write_shards` leaves to the next.
- `token_input`: the tokens that are packed, in memory or streamed; `memory` divides the memory that a call may take.
- `prepare`: tokens and their plan, before anything is written. `loss_counts` counts sequences and packs without loss.
- `streaming`: the pass over tokens that do not fit into memory, which fills a spool.
- `shard_writer`: writes shards, each while the next is gathered.
- `directory`: the output directory while it is written.
- `writer`: `write_shards`.
- `index_record`: the record of an index-only directory; `references` finds the files that it refers to and compares
  them with what was packed, and `index_tokens` gathers tokens from them.
- `index_prepare`: the rows of an index and their plan, before anything is written; `stretches` are rows that are
  planned together, so that few row groups are read for them.
- `index_writer`: index-only directories.
- `dry_run`: a packed directory that is prepared and not written.

`files`, `reader`, `verify` and `export` import nothing that writes shards.
"""
