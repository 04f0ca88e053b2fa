"""Pad or pack, and how: `packsort.compare`, what it finds, and its report.

`comparing` has the call and `results` what it returns. `rows` makes the rows of each method, `methods` counts them,
`advice` says what to choose. `figures`, `plots` and `page` show it.
"""

from packsort.comparison.advice import Advice, MatchedBatch
from packsort.comparison.comparing import compare
from packsort.comparison.histograms import Histogram
from packsort.comparison.models import Model
from packsort.comparison.results import AtLength, Comparison, Method, Spread, Steps, Work

__all__ = [
    "Advice",
    "AtLength",
    "Comparison",
    "Histogram",
    "MatchedBatch",
    "Method",
    "Model",
    "Spread",
    "Steps",
    "Work",
    "compare",
]
