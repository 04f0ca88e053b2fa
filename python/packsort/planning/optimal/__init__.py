"""The fewest packs, with proof: column generation on the histogram of what sequences take."""

from packsort.planning.optimal.groups import Progress, fewest_packs
from packsort.planning.optimal.search import Solution, solve

__all__ = ["Progress", "Solution", "fewest_packs", "solve"]
