"""Decide which sequences share a pack.

- `build`: `plan`, from lengths and options to a plan.
- `plan`: `Plan`, what it holds and tells.
- `lengths`, `constraints`: columns of lengths, groups and flags, checked.
- `overlong`: the sequences that are longer than a pack, counted.
- `saving`: plans as Arrow IPC files.
- `optimal`: the search for the fewest packs.
"""
