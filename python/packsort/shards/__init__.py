"""Write packed directories, and read them.

- `manifest`: `manifest.json`, what a packed directory holds and how it was made.
- `reader`: `open_shards` and `Shards`.
- `verify`: the proof that packs hold their source.
- `export`: packs in the files that other trainers read.
- `writer`: `write_shards`; `directory`: the output directory while it is written; `counts`: what became of sequences.

`reader`, `verify` and `export` import nothing that writes shards.
"""
