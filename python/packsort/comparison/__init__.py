"""Compare padding, random packing and greedy packing of the same sequences.

- `compare`: the call, and `Comparison`, its result.
- `config`: options, checked; `inputs`: lengths and turns; `tokenized`: those of rows that hold no tokens yet; `turns`.
- `at_length`: all methods at one limit; `packs`: their packs; `methods`: their figures; `models`: the cost of a model.
- `results`: the figures as plain data; `histograms`.
- `advice`: the recommendation and its reasons; `answer`: the same in one sentence, and bars of time.
- `figures`: the table; `text` shows it on a terminal, `fragment` in a notebook, `page` and `plots` in the HTML report.
"""
