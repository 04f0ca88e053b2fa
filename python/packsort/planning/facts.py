"""`PlanFacts`, what plans of lengths and plans of counts tell alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from packsort import _core
from packsort._lazy import lazy_property
from packsort.planning import stored

if TYPE_CHECKING:
    import pyarrow as pa


class PlanFacts:
    """Options and numbers of a plan.

    Args:
        core: The plan.
    """

    def __init__(self, core: _core.Plan) -> None:
        self._core = core

    @lazy_property
    def _facts(self) -> dict[str, Any]:
        return self._core.facts()

    @property
    def max_length(self) -> int:
        """Most tokens of a pack."""
        return self._fact("max_length")

    @property
    def strategy(self) -> str:
        """Rule that put sequences into packs, one of `packsort.options.Strategy`, or `given` for `Plan.from_packs`."""
        return str(self._facts["strategy"])

    @property
    def overlong(self) -> str:
        """Treatment of sequences longer than `max_length`: `error`, `drop`, `truncate` or `split`."""
        return str(self._facts["overlong"])

    @property
    def truncation_side(self) -> str:
        """Side on which truncated sequences lost tokens: `right` or `left`."""
        return str(self._facts["truncation_side"])

    @property
    def max_sequences(self) -> int | None:
        """Most sequences of a pack; None is any number."""
        most: int | None = self._facts["max_sequences"]
        return most

    @property
    def pad_to_multiple_of(self) -> int:
        """Every sequence occupies a multiple of this many tokens, padding included."""
        return self._fact("pad_to_multiple_of")

    @property
    def separator(self) -> bool:
        """Whether packs have room for one token between two sequences."""
        return bool(self._facts["separator"])

    @property
    def window(self) -> int | None:
        """Most sequences that `in_order` took another past; None for other strategies."""
        return self._fact("window") if self.strategy == "in_order" else None

    @property
    def seed(self) -> int | None:
        """Seed of the shuffle; None leaves packs unshuffled in epoch 0, those of `in_order` and `given` in all."""
        seed: int | None = self._facts["seed"]
        return seed

    @property
    def epoch(self) -> int:
        """Epoch of the shuffle."""
        return self._fact("epoch")

    @property
    def num_rows(self) -> int:
        """Number of lengths given, including those of dropped sequences."""
        return self._fact("num_rows")

    @property
    def num_packs(self) -> int:
        """Number of packs."""
        return self._fact("num_packs")

    @property
    def num_sequences(self) -> int:
        """Number of sequences in packs."""
        return self._fact("num_sequences")

    @property
    def num_patterns(self) -> int:
        """Number of patterns; 0 for `random`, whose packs have none."""
        return self._fact("num_patterns")

    @property
    def num_tokens(self) -> int:
        """Number of tokens of sequences in packs, without separators and padding."""
        return self._fact("num_tokens")

    @lazy_property
    def num_separators(self) -> int:
        """Number of separator tokens in packs."""
        return self._core.num_fillers()[0]

    @lazy_property
    def num_padding(self) -> int:
        """Number of padding tokens in packs, after sequences, for `pad_to_multiple_of`."""
        return self._core.num_fillers()[1]

    @property
    def num_dropped(self) -> int:
        """Number of sequences dropped because they are longer than `max_length`."""
        return self._fact("num_overlong") if self.overlong == "drop" else 0

    @property
    def num_empty(self) -> int:
        """Number of sequences dropped because they have no tokens."""
        return self._fact("num_empty")

    @property
    def num_truncated(self) -> int:
        """Number of sequences truncated because they are longer than `max_length`."""
        return self._fact("num_overlong") if self.overlong == "truncate" else 0

    @property
    def tokens_lost(self) -> int:
        """Number of tokens dropped or truncated."""
        return self._fact("tokens_lost")

    def _fact(self, name: str) -> int:
        return int(self._facts[name])

    @property
    def efficiency(self) -> float:
        """Tokens / (packs x max_length), from 0 to 1; 1.0 for a plan without packs."""
        return self.num_tokens / (self.num_packs * self.max_length) if self.num_packs else 1.0

    @lazy_property
    def lower_bound(self) -> int:
        """Number of packs that no plan of these sequences can go below.

        It is the largest of three bounds: ceil(tokens / max_length), the bound L2 of Martello and Toth (1990), and
        ceil(sequences / max_sequences). All three count separators and padding. The bounds of several groups add up.
        Cut sequences count as their pieces. Where both separators and multiples are asked for, the last sequence of a
        pack counts with a separator, as it does in the plan. For `optimal`, the bound that the linear program proved
        counts too.
        """
        return self._core.lower_bound()

    @property
    def gap(self) -> float:
        """Packs above `lower_bound`, as a fraction of it; 0.0 proves that no plan has fewer packs."""
        return (self.num_packs - self.lower_bound) / self.lower_bound if self.lower_bound else 0.0

    @lazy_property
    def patterns(self) -> pa.Table:
        """Lengths that share a pack, one row for each pattern and length, in the order in which packs are opened.

        Columns: `pattern` int32; `repeat` int64, the number of packs of this pattern; `length` int32, in tokens;
        `copies` int32, the number of sequences of this length in each pack. Empty for `random`. For `in_order`
        and `given`, every pack has a pattern of its own, with a row for each run of equal lengths.
        """
        from packsort.planning.patterns import pattern_table

        return pattern_table(self._core)

    @lazy_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that two plans share only if they put the same sequences into the same packs."""
        return stored.fingerprint_of(stored.to_stored(self._core))

    def __len__(self) -> int:
        return self.num_packs

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        shuffled = "" if self.seed is None else f", seed {self.seed}"
        epoch = f", epoch {self.epoch}" if self.epoch else ""
        return (
            f"{type(self).__name__}({self.num_sequences:,} sequences, {self.num_tokens:,} tokens -> "
            f"{self.num_packs:,} packs of {self.max_length:,}, efficiency {100 * self.efficiency:.2f} %, "
            f"{self.strategy}{shuffled}{epoch})"
        )
