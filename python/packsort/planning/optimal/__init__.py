"""The fewest packs, with proof: column generation on the histogram of what sequences take."""

from packsort.planning.optimal.groups import fewest_packs
from packsort.planning.optimal.search import Progress, Solution, solve

__all__ = ["Progress", "Solution", "fewest_packs", "solve"]
