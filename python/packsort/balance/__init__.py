"""Give every rank the same work.

- `costs`: `CostModel`, the cost of training on a sequence.
- `schedule`: `schedule`, which rank trains on which pack at which step.
"""
