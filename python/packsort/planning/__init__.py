"""Which sequences share a pack, decided on the histogram of their lengths."""

from packsort.planning.checks import check_max_length
from packsort.planning.making import plan
from packsort.planning.plans import Ids, Plan, load_plan

__all__ = ["Ids", "Plan", "check_max_length", "load_plan", "plan"]
