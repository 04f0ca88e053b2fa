"""Parts of `PackedStream`: reading, packing and resuming.

- `sources`: what a stream reads: a pass from the beginning, or from the place of a state.
- `feed`: the sequences of a pass, tokenized, limited and counted.
- `sequences`: one item at a time, in the types that packs have, and as tensors of a checkpoint.
- `kept`: values of columns with one for each sequence.
- `buffer`: the sequences that wait, and which of them share a pack.
- `epoch`: the epoch, shared with the workers of a `DataLoader`.
- `packer`: the packs of a pass, and its state.
"""
