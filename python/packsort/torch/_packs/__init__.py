"""Packs that a loader reads, by number and epoch.

- `protocol`: the interface that the two kinds of packs share.
- `directory`: packs of a packed directory.
- `planned`: packs of token columns, planned and gathered on the fly.
- `packing_options`: options of packing on the fly, checked before any data is opened.
- `open_packs`: opens any source as packs.
"""
