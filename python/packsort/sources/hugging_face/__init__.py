"""Read rows of Hugging Face data sets.

- `datasets`: readers of `datasets` objects.
- `selected`: reader of some rows of a table, such as those of a shuffled dataset.
- `hub`: readers of data sets on the Hub, by their names.
"""
