"""What to choose, and why, in words. What is measured is the paper's (Wang et al., arXiv 2410.08081)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packsort.comparison.results import AtLength, Method

# The paper's exception: its smaller model, of 8 billion weights, on 20,000 to 30,000 conversations.
_SMALL_MODEL = 10_000_000_000
_SMALL_DATASET = (20_000, 30_000)
# Below this saving in rows, packing is not worth a change.
_WORTHWHILE = 0.9
# Rows that greedy packing needs more than random packing for it to matter.
_LOOSE = 1.25
# Below this share of time, balancing ranks is not worth a change.
_BALANCED = 0.01
# What is known of it, and what is not.
LEARNING_RATE = (
    "With as many samples a step as a padded run, its learning rate is the natural one to start from. That it is the "
    "best one is not known.",
    "With as many packs a step as padding has rows, a step has several times the samples. The paper trained so, with 4 "
    "to 6.5 times the samples and the padded run's learning rate (1e-5), and with greedy packing the average of its "
    "benchmarks was better in every run.",
    "How learning rate and batch size go together under packing is not known: the paper finds that they are no longer "
    "proportional, and leaves it open. Rules that scale the one by the other are made for padded batches.",
)


@dataclass(frozen=True)
class Advice:
    """What to choose at one max_length.

    Attributes:
        choice: `padding`, `random` or `ffd`.
        reasons: why, and what to watch, one sentence or two each.
    """

    choice: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class MatchedBatch:
    """The batch of packs that holds as many samples as a padded one.

    Attributes:
        samples_per_step: of a padded run: batch_size x world_size.
        packs_per_step: packs, over all ranks, that hold as many on average.
        batch_size: whole packs on a rank that come nearest, 1 at least.
        samples_at_batch_size: samples of a step with that many.
        note: the same in words.
    """

    samples_per_step: int
    packs_per_step: float
    batch_size: int
    samples_at_batch_size: float
    note: str


def advise(
    methods: Mapping[str, Method],
    max_length: int,
    sequences: int,
    multi_turn: int | None,
    parameters: int | None,
    batch_size: int,
    world_size: int,
) -> Advice:
    """Chooses a method.

    Args:
        methods: figures, by name.
        max_length: their limit.
        sequences: number of sequences.
        multi_turn: of these multi-turn; None where turns are not known.
        parameters: of the model; None where not known.
        batch_size: rows on one rank in a step.
        world_size: ranks.
    """
    padding, shuffled, greedy = methods["padding"], methods["random"], methods["ffd"]
    choice, reasons = _choice(methods, max_length, sequences, multi_turn, parameters)
    if choice != "padding" or greedy.rows <= _WORTHWHILE * padding.rows:
        reasons += _few_steps(greedy, padding, batch_size * world_size)
    if choice != "padding":
        reasons += _greedy_against_random(greedy, shuffled, multi_turn)
        reasons += _balance(methods[choice], batch_size, world_size)
    if multi_turn == 0:
        reasons.append(
            "All conversations are single-turn: the paper saw packing of only single-turn conversations hurt few-shot "
            "benchmarks. Hold a padded run against it if you rely on few-shot prompts."
        )
    if greedy.truncated:
        share = greedy.tokens_lost / (greedy.tokens + greedy.tokens_lost)
        reasons.append(
            f"{_many(greedy.truncated, 'sequence')} longer than {max_length:,} "
            f"{'is' if greedy.truncated == 1 else 'are'} cut: {share:.1%} of all tokens are lost."
        )
    if greedy.dropped:
        lost = greedy.tokens_lost / (greedy.tokens + greedy.tokens_lost)
        reasons.append(
            f"{_many(greedy.dropped, 'sequence')} longer than {max_length:,} left out: {lost:.1%} of tokens."
        )
    return Advice(choice, tuple(reasons))


def _choice(
    methods: Mapping[str, Method], max_length: int, sequences: int, multi_turn: int | None, parameters: int | None
) -> tuple[str, list[str]]:
    padding, shuffled, greedy = methods["padding"], methods["random"], methods["ffd"]
    if greedy.rows > _WORTHWHILE * padding.rows:
        return "padding", [
            f"Padding: nearly every sequence fills a row of {max_length:,} by itself, so packing saves only "
            f"{1 - greedy.rows / padding.rows:.0%} of the rows."
        ]
    saved = (
        f"{padding.rows / greedy.rows:.1f} times fewer rows than padding, and an estimated "
        f"{greedy.with_masks.relative_time:.0%} of its time"
    )
    small = parameters is not None and parameters <= _SMALL_MODEL
    if small and sequences <= _SMALL_DATASET[1]:
        reason = (
            "Padding may be the better choice: the paper found that a small model (8B) on a small dataset (20 K to "
            "30 K conversations) can reach the same quality in less time with padding, though an epoch takes longer."
        )
        if sequences < _SMALL_DATASET[0]:
            reason += f" {sequences:,} sequences are fewer than it measured; that it holds here too is a guess."
        return "padding", [reason, f"Greedy packing would make {saved}: try it too, with a small batch."]
    if multi_turn == 0 and greedy.rows > _LOOSE * shuffled.rows:
        return "random", [
            f"Random packing: lengths fit badly into {max_length:,}, so greedy packing needs "
            f"{greedy.rows / shuffled.rows - 1:.0%} more rows, and there are no multi-turn conversations to break. A "
            "longer max_length would let greedy packing catch up and keep every sequence whole."
        ]
    reasons = [f"Greedy packing (ffd): {saved}; {greedy.efficiency:.2%} of the room in its rows is used."]
    if parameters is None and sequences <= _SMALL_DATASET[1]:
        reasons.append(
            "How large the model is was not said: for a small one (8B) on 20 K to 30 K conversations the paper found "
            "that padding may be the better choice."
        )
    return "ffd", reasons


def _few_steps(greedy: Method, padding: Method, rows_a_step: int) -> list[str]:
    if greedy.steps >= 100 or greedy.steps == padding.steps:
        return []
    return [
        f"Packed, an epoch has only {_many(greedy.steps, 'step')} of {_many(rows_a_step, 'row')} instead of "
        f"{padding.steps:,}: take fewer rows a step, or more epochs."
    ]


def _greedy_against_random(greedy: Method, shuffled: Method, multi_turn: int | None) -> list[str]:
    rows = greedy.rows - shuffled.rows
    more = f"{_many(rows, 'row')} fewer" if rows > 0 else f"{_many(-rows, 'row')} more" if rows < 0 else "as many rows"
    if greedy.truncated:
        more += " (it cuts nothing off)"
    text = f"Random packing would make {more} and split {_many(shuffled.split, 'sequence')}"
    if shuffled.broken is None:
        text += "; how many of them are multi-turn conversations is not known."
    elif multi_turn:
        text += (
            f", of them {_many(shuffled.broken, 'multi-turn conversation')}. The paper found greedy packing ahead of "
            "random packing most on following instructions, because conversations stay whole."
        )
    else:
        text += "."
    return [text]


def _balance(method: Method, batch_size: int, world_size: int) -> list[str]:
    """What ranks wait for each other, and what `packsort.schedule` saves of it."""
    before, after = method.with_masks, method.with_masks.scheduled
    if world_size == 1 or after is None:
        return []
    waited = f"Ranks wait {1 - before.utilization:.1%} of the time for the slowest"
    saved = 1 - after.cost / before.cost
    if saved < _BALANCED:
        return [f"{waited}: to balance them would save {saved:.1%}, which is hardly worth it."]
    each = f", accumulation={batch_size}" if batch_size > 1 else ""
    return [
        f"{waited}. In the order of `packsort.schedule(plan, {world_size}{each})` they wait {1 - after.utilization:.1%}"
        f", which saves {saved:.1%} of the time."
    ]


def match_batch(samples: float, batch_size: int, world_size: int) -> MatchedBatch:
    """The number of packs that hold as many samples as a padded step.

    Args:
        samples: in a pack, on average.
        batch_size: rows on a rank of the padded run.
        world_size: ranks.
    """
    padded = batch_size * world_size
    packs = padded / samples
    matched = max(1, round(packs / world_size))
    held = samples * matched * world_size
    if packs < 0.75 * world_size:
        note = (
            f"{_many(padded, 'sample')}, a padded step, fill {packs:,.1f} packs, fewer than the "
            f"{_many(world_size, 'rank')}: with one pack a rank a step has {held:,.0f}, {held / padded:,.1f} times as "
            "many. Fewer ranks or a shorter max_length would match."
        )
    else:
        note = (
            f"{_many(matched, 'pack')} a rank {'makes' if matched == 1 else 'make'} about {held:,.0f} samples a step, "
            f"where padding has {padded:,}."
        )
    if matched != batch_size:
        note += f" With {batch_size:,} packs a rank it has {samples * padded:,.0f}."
    return MatchedBatch(padded, packs, matched, held, note)


def choose_limit(at: Sequence[AtLength], tokens: int) -> tuple[str, ...]:
    """Which of several limits to take, in words."""
    if len(at) < 2:
        return ()
    ordered = sorted(at, key=lambda one: one.max_length)
    lost = {one.max_length: one.ffd.tokens_lost / tokens for one in ordered}
    listed = ", ".join(f"{share:.1%} at {limit:,}" for limit, share in lost.items())
    enough = next((limit for limit, share in lost.items() if share < 0.01), None)
    if not any(lost.values()):
        text = f"No sequence is longer than {ordered[0].max_length:,}: a longer row loses nothing and gains little"
    elif enough is not None:
        text = f"{enough:,} is the shortest of these that loses less than 1% of tokens to the limit ({listed})"
    else:
        text = f"Each of these loses 1% of tokens or more to the limit ({listed}): try a longer one"
    return (f"{text}. A longer row also means fewer, larger steps: see the batch that matches.",)


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
