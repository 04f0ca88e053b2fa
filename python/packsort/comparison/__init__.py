"""Compare padding, random packing and greedy packing of the same sequences.

- `compare`: the call, and `Comparison`, its result with a report.
- `results`: the figures of a comparison as plain data; `histograms`.
- `packs`: the packs of each method; `methods`: their figures; `models`: the cost of a model.
- `tokenized`: lengths of rows that hold no tokens yet.
- `turns`: conversations with several turns.
- `advice`: the recommendation, in words.
- `figures`, `plots`, `page`: tables, plots and the HTML report.
"""
