"""Give every rank the same work.

- `model_sizes`: sizes and weights of transformer models, from their configs.
- `costs`: `CostModel`, the cost of training on a sequence.
- `schedule`: the order of packs over ranks and steps.
"""
