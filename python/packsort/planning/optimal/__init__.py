"""Find the fewest packs, with proof, by column generation on the histogram.

- `groups`: the search for a plan, one group after another.
- `search`: the search for one histogram.
- `program`: the linear program, solved by HiGHS.
"""
