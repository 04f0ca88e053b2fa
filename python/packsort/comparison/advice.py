"""Recommend a method, in words. Measured findings are the paper's (Wang et al., arXiv 2410.08081)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from packsort.comparison.config import ComparisonConfig
from packsort.comparison.results import Advice, AtLength, MatchedBatch, Method

# The paper's exception: its smaller model, of 8 billion weights, on 20,000 to 30,000 conversations.
_SMALL_MODEL = 10_000_000_000
_SMALL_DATASET = (20_000, 30_000)
# Packing that saves less than this share of the packs is not worth a change.
_WORTHWHILE = 0.9
# Greedy packing that needs this many times the packs of random packing wastes room that matters.
_LOOSE = 1.25
# A limit that loses this share of the tokens is too short.
_LOST = 0.01
# A limit that loses this share of the tokens of multi-turn conversations cost quality in docs/paper.md.
_MUCH_LOST = 0.1
_MUCH_LOST_HERE = (
    "In a study of small models on multi-turn conversations, greedy packing lost 12 % to 23 % of the tokens that way, "
    "and ended 0.07 nats above random packing, which cuts but loses none "
    "(docs/paper.md, single- and multi-turn conversations). A longer max_length, or conversations cut between turns, "
    "would keep them."
)
# A run of fewer steps than this learns with few updates.
_FEW_STEPS = 100
# Balancing that saves less than this share of the time is not worth a change.
_BALANCED = 0.01
LEARNING_RATE = (
    "With as many samples per step as a padded run, start from the padded run's learning rate. It is not known whether "
    "that is the best one.",
    "With as many packs per step as the padded run has sequences, a step has several times the samples. The paper "
    "trained this way, with 4 to 6.5 times the samples and the padded run's learning rate (1e-5). The average of its "
    "benchmarks was higher with greedy packing in every run.",
    "How learning rate and batch size go together under packing is not known for large models. The paper finds that "
    "they are no longer proportional. With 50 thousand weights, the least rate that was enough grew with the samples "
    "of a step, padded or packed, to the power of 0.83 (docs/paper.md).",
)
"""Advice on learning rates of packed runs."""


def advise(
    methods: Mapping[str, Method], max_length: int, sequences: int, multi_turn: int | None, config: ComparisonConfig
) -> Advice:
    """Recommend a method.

    Args:
        methods: Figures by name.
        max_length: Their limit.
        sequences: Number of sequences.
        multi_turn: Number of multi-turn conversations; None where turns are not known.
        config: Options of the comparison.
    """
    padding, shuffled, greedy = methods["padding"], methods["random"], methods["ffd"]
    choice, is_tentative, reasons = _choice(methods, max_length, sequences, multi_turn, config.model.parameters)
    if choice != "padding" or greedy.rows <= _WORTHWHILE * padding.rows:
        reasons += _few_steps(greedy, padding, config)
        reasons += _best_padding(methods, choice)
    if choice != "padding":
        reasons += _greedy_against_random(greedy, shuffled, multi_turn)
        reasons += _balance(methods[choice], config.batch_size, config.world_size)
    if multi_turn == 0:
        reasons.append(
            "All conversations are single-turn. In the paper, packing hurt few-shot benchmarks where all conversations "
            "were single-turn. If you rely on few-shot prompts, compare with a padded run."
        )
    share = greedy.tokens_lost / (shuffled.tokens + shuffled.tokens_lost)  # random packing has all tokens
    if greedy.truncated:
        verb = "is" if greedy.truncated == 1 else "are"
        reasons.append(
            f"{_many(greedy.truncated, 'sequence')} longer than {max_length:,} {verb} truncated: {share:.1%} of all "
            "tokens are lost."
        )
        if multi_turn and share >= _MUCH_LOST:
            reasons.append(_MUCH_LOST_HERE)
    if greedy.dropped:
        verb = "is" if greedy.dropped == 1 else "are"
        reasons.append(
            f"{_many(greedy.dropped, 'sequence')} longer than {max_length:,} {verb} dropped: {share:.1%} of all tokens "
            "are lost."
        )
    if config.overlong == "split_turns" and greedy.tokens_lost:
        reasons.append(f"Turns longer than {max_length:,} tokens are left out: {share:.1%} of all tokens are lost.")
    return Advice(choice, is_tentative, tuple(reasons))


def _choice(
    methods: Mapping[str, Method], max_length: int, sequences: int, multi_turn: int | None, parameters: int | None
) -> tuple[str, bool, list[str]]:
    """Return the choice, whether it is a guess, and the reasons for it."""
    padding, shuffled, greedy = methods["padding"], methods["random"], methods["ffd"]
    if greedy.rows > _WORTHWHILE * padding.rows:
        return (
            "padding",
            False,
            [
                f"Nearly every sequence fills a pack of {max_length:,} tokens by itself, so packing saves only "
                f"{1 - greedy.rows / padding.rows:.0%} of the packs."
            ],
        )
    saved = (
        f"{padding.rows / greedy.rows:.1f} times fewer packs than padding, in an estimated "
        f"{greedy.with_masks.relative_time:.0%} of its time"
    )
    small = parameters is not None and parameters <= _SMALL_MODEL
    if small and sequences <= _SMALL_DATASET[1]:
        reason = (
            "In the paper, a small model (8B) on a small dataset (20 K to 30 K "
            "conversations) reached the same quality in less time with padding, although an epoch takes longer."
        )
        if sequences < _SMALL_DATASET[0]:
            reason += f" It did not measure as few as {sequences:,} sequences, so that it holds here too is a guess."
        return "padding", True, [reason, f"Greedy packing would give {saved}. Try it too, with a small batch."]
    if multi_turn == 0 and greedy.rows > _LOOSE * shuffled.rows:
        return (
            "random",
            False,
            [
                f"The lengths fit badly into {max_length:,} tokens, so greedy packing needs "
                f"{greedy.rows / shuffled.rows - 1:.0%} more packs, and there are no multi-turn conversations to "
                "break. With a longer max_length, greedy packing would catch up and keep every sequence whole."
            ],
        )
    reasons = [f"Greedy packing (ffd) needs {saved}. Its packs are {greedy.efficiency:.2%} full."]
    if parameters is None and sequences <= _SMALL_DATASET[1]:
        reasons.append(
            "The size of the model is not known. For a small one (8B) on 20 K to 30 K conversations, padding may be "
            "the better choice according to the paper."
        )
    return "ffd", False, reasons


def _few_steps(greedy: Method, padding: Method, config: ComparisonConfig) -> list[str]:
    steps, padded = greedy.steps * config.epochs, padding.steps * config.epochs
    if steps >= _FEW_STEPS or steps == padded:
        return []
    packs = _many(config.batch_size * config.world_size, "pack")
    run = "an epoch" if config.epochs == 1 else f"a run of {config.epochs:,} epochs"
    return [
        f"Packed, {run} has only {_many(steps, 'step')} of {packs}, where padding has {padded:,}. Take fewer packs per "
        "step, or more epochs. Up to 16 cost small models some 0.25 nats (docs/paper.md)."
    ]


def _best_padding(methods: Mapping[str, Method], choice: str) -> list[str]:
    """Compare with the rival that a careful user has; docs/compare.md has the measured run."""
    best, greedy = (methods[name].with_masks.relative_time for name in ("padding_best", "ffd"))
    like = "batches of like length under a budget of tokens"
    measured = "measured on an H100: 1.04 to 1.17 times, docs/compare.md"
    if choice == "padding":
        return [
            f"If you pad, pad at its best, in {like}: an estimated {best:.0%} of the time of padding to the longest, "
            f"and {best / greedy:.2f} times that of greedy packing ({measured})."
        ]
    return [
        f"Padding at its best, in {like}, would take an estimated {best / greedy:.2f} times the time of greedy packing "
        f"({measured})."
    ]


def _greedy_against_random(greedy: Method, shuffled: Method, multi_turn: int | None) -> list[str]:
    packs = greedy.rows - shuffled.rows
    than = "fewer" if packs > 0 else "more"
    compared = f"{_many(abs(packs), 'pack')} {than}" if packs else "as many packs"
    if greedy.truncated:
        compared += " (it truncates nothing)"
    text = f"Random packing would give {compared} and split {_many(shuffled.split, 'sequence')}"
    if shuffled.broken is None:
        text += "; how many of them are multi-turn conversations is not known."
    elif multi_turn:
        text += (
            f", {_many(shuffled.broken, 'multi-turn conversation')} among them. In the paper, greedy packing was ahead "
            "of random packing most in following instructions, because conversations stay whole."
        )
    else:
        text += "."
    return [text]


def _balance(method: Method, batch_size: int, world_size: int) -> list[str]:
    """Say how long ranks wait for each other, and how much of it `packsort.schedule` saves."""
    before, after = method.with_masks, method.with_masks.scheduled
    if world_size == 1 or after is None:
        return []
    waited = f"Ranks wait {1 - before.utilization:.1%} of the time for the slowest one"
    saved = 1 - after.cost / before.cost
    if saved < _BALANCED:
        return [f"{waited}. Balancing them would save {saved:.1%}, which is hardly worth it."]
    each = f", accumulation={batch_size}" if batch_size > 1 else ""
    return [
        f"{waited}. In the order of `packsort.schedule(plan, {world_size}{each})` they wait {1 - after.utilization:.1%}"
        f", which saves {saved:.1%} of the time."
    ]


def match_batch(samples: float, batch_size: int, world_size: int) -> MatchedBatch:
    """Find the batch of packs with as many samples as a padded batch.

    Args:
        samples: Mean number of samples in a pack.
        batch_size: Sequences of one rank in a step of the padded run.
        world_size: Number of ranks.
    """
    padded = batch_size * world_size
    packs = padded / samples
    matched = max(1, round(packs / world_size))
    held = samples * matched * world_size
    if packs < 0.75 * world_size:
        note = (
            f"The {_many(padded, 'sample')} of a padded step fill {packs:,.1f} packs, fewer than the "
            f"{_many(world_size, 'rank')}. With one pack per rank, a step has {held:,.0f} samples, "
            f"{held / padded:,.1f} times as many. Fewer ranks or a shorter max_length would match."
        )
    else:
        verb = "gives" if matched == 1 else "give"
        note = (
            f"{_many(matched, 'pack')} per rank {verb} about {held:,.0f} samples per step, where padding has "
            f"{padded:,}."
        )
    if matched != batch_size:
        note += f" {_many(batch_size, 'pack')} per rank would give {samples * padded:,.0f}."
    return MatchedBatch(padded, packs, matched, held, note)


def choose_limit(at: Sequence[AtLength], tokens: int) -> tuple[int, tuple[str, ...]]:
    """Recommend one of several limits.

    Args:
        at: Figures at each limit.
        tokens: Tokens of all sequences.

    Returns:
        The limit, and the reason in words; no words where there is one limit.
    """
    ordered = sorted(at, key=lambda one: one.max_length)
    if len(ordered) < 2:
        return ordered[0].max_length, ()
    lost = {one.max_length: one.ffd.tokens_lost / tokens for one in ordered}
    listed = ", ".join(f"{share:.1%} at {limit:,}" for limit, share in lost.items())
    best = next((limit for limit, share in lost.items() if share < _LOST), ordered[-1].max_length)
    if not any(lost.values()):
        text = f"No sequence is longer than {ordered[0].max_length:,}, so a longer pack gains little"
    elif lost[best] < _LOST:
        text = f"{best:,} is the shortest of these that loses less than {_LOST:.0%} of tokens to the limit ({listed})"
    else:
        text = f"Each of these loses {_LOST:.0%} of tokens or more to the limit ({listed}); try a longer one"
    return best, (f"{text}. Longer packs also mean fewer, larger steps: see the batch that matches.",)


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
