"""Decide which sequences share a pack.

- `build`: `plan`, from lengths and options to a plan.
- `plan`: `Plan`, what it holds and tells; `facts`, what every plan tells.
- `given`: plans of packs that the caller made.
- `counted`: `plan_counts` and `CountedPlan`, from counts of lengths alone; `length_counts`, counts, checked.
- `lengths`: lengths of any kind, checked; `length_arrays` those of NumPy and lists, `length_columns` those of Arrow.
- `constraints`: groups, flags and piece starts, checked; `constraint_columns`: those in Arrow columns.
- `overlong`: the sequences that are longer than a pack, counted.
- `patterns`: the patterns of a plan as a table.
- `stored`, `saving`: the parts of a plan that are stored, and files of them.
- `optimal`: the search for the fewest packs.
"""
