"""Compare padding, random packing and greedy packing of the same sequences.

- `compare`: the call; `results`: what it returns.
- `rows`: the training rows of each method; `methods`: their figures; `models`: what a token costs.
- `turns`: which conversations have several turns; `histograms`; `advice`: what to choose, in words.
- `figures`, `plots`, `page`: tables, charts and the HTML report.
"""
