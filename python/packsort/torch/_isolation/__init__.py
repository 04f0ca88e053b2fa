"""Parts of `check_isolation`, in the order of their use.

- `first_batch`: the first batch of a loader, which stays where it is.
- `segments`: the segment of each token of a batch.
- `preserve`: a model, its buffers and the random numbers, put back after the check.
- `runs`: logits of a model for a batch, and how they differ.
- `probe`: changes tokens, and judges what that changes.
- `place`: the module in which sequences first see each other.
- `remedies`: what would keep them apart, tried.
- `result`: what was found, and its words.
"""
